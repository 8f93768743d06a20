-- The first schema. A tenant's id is its name; keys and usage refer to teams by (tenant, name), because a team may
-- stand in the configuration file and have no row. Times are wall-clock nanoseconds since 1970, 0 for never. Names are
-- compared and ordered by their bytes, whatever the database's locale is. JSON stands in text: it is kept as it was
-- written, and text may hold any character, which jsonb may not.

CREATE TABLE installation (
    name  text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

-- Goes up by one with every change that the publisher must see. Whoever makes a change holds this row until it is
-- committed, so that changes are numbered in the order in which others come to see them.
CREATE TABLE revision (
    one   integer PRIMARY KEY CHECK (one = 1),
    value bigint NOT NULL
);
INSERT INTO revision (one, value) VALUES (1, 0);

CREATE TABLE tenants (
    id          text COLLATE "C" PRIMARY KEY,
    created_ns  bigint NOT NULL,
    disabled_ns bigint NOT NULL DEFAULT 0
);

CREATE TABLE teams (
    tenant_id   text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    environment text NOT NULL,
    models      text NOT NULL,
    max_tokens  bigint,
    tool_depth  bigint,
    created_ns  bigint NOT NULL,
    disabled_ns bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);

CREATE TABLE keys (
    tenant_id   text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    team        text COLLATE "C" NOT NULL,
    environment text NOT NULL,
    name        text COLLATE "C" NOT NULL,
    models      text,
    deployment  text NOT NULL,
    created_ns  bigint NOT NULL,
    expires_ns  bigint NOT NULL DEFAULT 0,
    revoked_ns  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX keys_by_name ON keys (tenant_id, team, name) WHERE revoked_ns = 0;

CREATE TABLE key_secrets (
    digest     bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    tenant_id  text COLLATE "C" NOT NULL,
    key_id     text COLLATE "C" NOT NULL,
    hint       text COLLATE "C" NOT NULL,
    created_ns bigint NOT NULL,
    expires_ns bigint NOT NULL DEFAULT 0,
    FOREIGN KEY (tenant_id, key_id) REFERENCES keys (tenant_id, id)
);
CREATE INDEX key_secrets_by_key ON key_secrets (tenant_id, key_id);

-- Who changed what: written in the transaction of the change. The number is that of the revision it made.
CREATE TABLE outbox (
    number       bigint PRIMARY KEY,
    id           text NOT NULL UNIQUE,
    at_ns        bigint NOT NULL,
    actor        text NOT NULL,
    action       text NOT NULL,
    tenant_id    text NOT NULL,
    object_id    text NOT NULL,
    detail       text NOT NULL,
    delivered_ns bigint NOT NULL DEFAULT 0
);

CREATE TABLE offsets (
    consumer text COLLATE "C" NOT NULL,
    origin   text COLLATE "C" NOT NULL,
    segment  bigint NOT NULL,
    byte     bigint NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (consumer, origin)
);

-- One row per call, one partition per day, made when the day is near: `calls_2026_01_02`. A day is given up by
-- dropping its partition.
CREATE TABLE calls (
    origin                text COLLATE "C" NOT NULL,
    sequence              bigint NOT NULL,
    at_ns                 bigint NOT NULL,
    day                   text COLLATE "C" NOT NULL,
    tenant_id             text COLLATE "C" NOT NULL,
    environment           text COLLATE "C" NOT NULL,
    team                  text COLLATE "C" NOT NULL,
    key_id                text COLLATE "C" NOT NULL,
    asked                 text COLLATE "C" NOT NULL,
    served                text COLLATE "C" NOT NULL,
    provider              text COLLATE "C" NOT NULL,
    operation             text COLLATE "C" NOT NULL,
    outcome               text COLLATE "C" NOT NULL,
    status                integer NOT NULL,
    error                 text NOT NULL,
    stream                boolean NOT NULL,
    input_tokens          bigint NOT NULL,
    output_tokens         bigint NOT NULL,
    cached_tokens         bigint NOT NULL,
    cache_write_tokens    bigint NOT NULL,
    reasoning_tokens      bigint NOT NULL,
    estimated             boolean NOT NULL,
    cost_nano             bigint NOT NULL,
    currency              text COLLATE "C" NOT NULL,
    total_ms              double precision NOT NULL,
    first_content_ms      double precision NOT NULL,
    request_id            text NOT NULL,
    cache_write_1h_tokens bigint NOT NULL,
    input_audio_tokens    bigint NOT NULL,
    output_audio_tokens   bigint NOT NULL,
    input_image_tokens    bigint NOT NULL,
    output_image_tokens   bigint NOT NULL,
    images                bigint NOT NULL,
    audio_milliseconds    bigint NOT NULL,
    characters            bigint NOT NULL,
    search_units          bigint NOT NULL,
    whole                 boolean NOT NULL,
    PRIMARY KEY (origin, sequence, day)
) PARTITION BY LIST (day);
CREATE INDEX calls_by_team ON calls (tenant_id, team);

-- Sums outlive the calls they are of. Numeric where many large numbers meet, which cannot overflow.
CREATE TABLE usage_daily (
    tenant_id          text COLLATE "C" NOT NULL,
    day                text COLLATE "C" NOT NULL,
    environment        text COLLATE "C" NOT NULL,
    team               text COLLATE "C" NOT NULL,
    key_id             text COLLATE "C" NOT NULL,
    asked              text COLLATE "C" NOT NULL,
    served             text COLLATE "C" NOT NULL,
    provider           text COLLATE "C" NOT NULL,
    currency           text COLLATE "C" NOT NULL,
    requests           bigint NOT NULL,
    succeeded          bigint NOT NULL,
    failed             bigint NOT NULL,
    denied             bigint NOT NULL,
    cancelled          bigint NOT NULL,
    aborted            bigint NOT NULL,
    input_tokens       numeric NOT NULL,
    output_tokens      numeric NOT NULL,
    cached_tokens      numeric NOT NULL,
    cache_write_tokens numeric NOT NULL,
    reasoning_tokens   numeric NOT NULL,
    cost_nano          numeric NOT NULL,
    PRIMARY KEY (day, tenant_id, environment, team, key_id, asked, served, provider, currency)
);

CREATE TABLE open_calls (
    origin     text COLLATE "C" NOT NULL,
    sequence   bigint NOT NULL,
    at_ns      bigint NOT NULL,
    tenant_id  text NOT NULL,
    team       text NOT NULL,
    key_id     text NOT NULL,
    asked      text NOT NULL,
    request_id text NOT NULL,
    PRIMARY KEY (origin, sequence)
);

CREATE TABLE refusals (
    minute bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    code   text COLLATE "C" NOT NULL,
    count  bigint NOT NULL,
    PRIMARY KEY (minute, source, code)
);

CREATE TABLE gaps (
    origin   text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    from_ns  bigint NOT NULL,
    to_ns    bigint NOT NULL,
    calls    bigint NOT NULL,
    reason   text NOT NULL,
    PRIMARY KEY (origin, sequence)
);

CREATE TABLE recoveries (
    origin    text COLLATE "C" NOT NULL,
    sequence  bigint NOT NULL,
    at_ns     bigint NOT NULL,
    bytes_cut bigint NOT NULL,
    aborted   bigint NOT NULL,
    PRIMARY KEY (origin, sequence)
);

CREATE TABLE unreadable (
    origin   text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    kind     integer NOT NULL,
    PRIMARY KEY (origin, sequence)
);
