-- Whose part of the work, which feature and which person (a digest) a call was for, as its closing record says; '' where
-- it says nothing, and for calls kept before these columns were.
ALTER TABLE calls ADD COLUMN project TEXT NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN feature TEXT NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN end_user TEXT NOT NULL DEFAULT '';

-- The sums of `usage_daily` once more, for calls that have a project alone. What a row there holds beyond those here is of
-- no project: so programs that do not know this table go on adding to the other, and nothing is counted wrongly.
CREATE TABLE usage_projects (
    tenant_id          TEXT NOT NULL,
    day                TEXT NOT NULL,
    environment        TEXT NOT NULL,
    team               TEXT NOT NULL,
    key_id             TEXT NOT NULL,
    asked              TEXT NOT NULL,
    served             TEXT NOT NULL,
    provider           TEXT NOT NULL,
    currency           TEXT NOT NULL,
    project            TEXT NOT NULL,
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
    PRIMARY KEY (tenant_id, day, project, environment, team, key_id, asked, served, provider, currency)
) STRICT, WITHOUT ROWID;
