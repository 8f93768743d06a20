-- The first schema. A tenant's id is its name; keys and usage refer to teams by (tenant, name), because a team may
-- stand in the configuration file and have no row. Times are wall-clock nanoseconds since 1970, 0 for never.

CREATE TABLE installation (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Goes up by one with every change that the publisher must see.
CREATE TABLE revision (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO revision (one, value) VALUES (1, 0);

CREATE TABLE tenants (
    id          TEXT PRIMARY KEY,
    created_ns  INTEGER NOT NULL,
    disabled_ns INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE teams (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    name        TEXT NOT NULL,
    environment TEXT NOT NULL,
    models      TEXT NOT NULL,
    max_tokens  INTEGER,
    tool_depth  INTEGER,
    created_ns  INTEGER NOT NULL,
    disabled_ns INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    team        TEXT NOT NULL,
    environment TEXT NOT NULL,
    name        TEXT NOT NULL,
    models      TEXT,
    deployment  TEXT NOT NULL,
    created_ns  INTEGER NOT NULL,
    expires_ns  INTEGER NOT NULL DEFAULT 0,
    revoked_ns  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX keys_by_name ON keys (tenant_id, team, name) WHERE revoked_ns = 0;

CREATE TABLE key_secrets (
    digest     BLOB PRIMARY KEY CHECK (length(digest) = 32),
    tenant_id  TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    hint       TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL DEFAULT 0,
    FOREIGN KEY (tenant_id, key_id) REFERENCES keys (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX key_secrets_by_key ON key_secrets (tenant_id, key_id);

-- Who changed what: written in the transaction of the change, delivered to the audit journal from here.
CREATE TABLE outbox (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    at_ns        INTEGER NOT NULL,
    actor        TEXT NOT NULL,
    action       TEXT NOT NULL,
    tenant_id    TEXT NOT NULL,
    object_id    TEXT NOT NULL,
    detail       TEXT NOT NULL,
    delivered_ns INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE offsets (
    consumer TEXT NOT NULL,
    origin   TEXT NOT NULL,
    segment  INTEGER NOT NULL,
    offset   INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (consumer, origin)
) STRICT, WITHOUT ROWID;

CREATE TABLE calls (
    tenant_id          TEXT NOT NULL,
    origin             TEXT NOT NULL,
    sequence           INTEGER NOT NULL,
    at_ns              INTEGER NOT NULL,
    day                TEXT NOT NULL,
    environment        TEXT NOT NULL,
    team               TEXT NOT NULL,
    key_id             TEXT NOT NULL,
    asked              TEXT NOT NULL,
    served             TEXT NOT NULL,
    provider           TEXT NOT NULL,
    operation          TEXT NOT NULL,
    outcome            TEXT NOT NULL,
    status             INTEGER NOT NULL,
    error              TEXT NOT NULL,
    stream             INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cached_tokens      INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens   INTEGER NOT NULL,
    estimated          INTEGER NOT NULL,
    cost_nano          INTEGER NOT NULL,
    currency           TEXT NOT NULL,
    total_ms           REAL NOT NULL,
    first_content_ms   REAL NOT NULL,
    request_id         TEXT NOT NULL,
    PRIMARY KEY (tenant_id, origin, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX calls_by_day ON calls (day, tenant_id, team);

CREATE TABLE usage_daily (
    tenant_id          TEXT NOT NULL,
    day                TEXT NOT NULL,
    environment        TEXT NOT NULL,
    team               TEXT NOT NULL,
    key_id             TEXT NOT NULL,
    asked              TEXT NOT NULL,
    served             TEXT NOT NULL,
    provider           TEXT NOT NULL,
    currency           TEXT NOT NULL,
    requests           INTEGER NOT NULL,
    succeeded          INTEGER NOT NULL,
    failed             INTEGER NOT NULL,
    denied             INTEGER NOT NULL,
    cancelled          INTEGER NOT NULL,
    aborted            INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cached_tokens      INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens   INTEGER NOT NULL,
    cost_nano          INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, day, environment, team, key_id, asked, served, provider, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE open_calls (
    origin     TEXT NOT NULL,
    sequence   INTEGER NOT NULL,
    at_ns      INTEGER NOT NULL,
    tenant_id  TEXT NOT NULL,
    team       TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    asked      TEXT NOT NULL,
    request_id TEXT NOT NULL,
    PRIMARY KEY (origin, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE refusals (
    minute INTEGER NOT NULL,
    source TEXT NOT NULL,
    code   TEXT NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (minute, source, code)
) STRICT, WITHOUT ROWID;

CREATE TABLE gaps (
    origin   TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    from_ns  INTEGER NOT NULL,
    to_ns    INTEGER NOT NULL,
    calls    INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (origin, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE recoveries (
    origin    TEXT NOT NULL,
    sequence  INTEGER NOT NULL,
    at_ns     INTEGER NOT NULL,
    bytes_cut INTEGER NOT NULL,
    aborted   INTEGER NOT NULL,
    PRIMARY KEY (origin, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE unreadable (
    origin   TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    PRIMARY KEY (origin, sequence)
) STRICT, WITHOUT ROWID;
