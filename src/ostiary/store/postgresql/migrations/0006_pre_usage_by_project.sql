-- Whose part of the work, which feature and which person (a digest) a call was for, as its closing record says; '' where
-- it says nothing, and for calls kept before these columns were.
ALTER TABLE calls ADD COLUMN project text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN feature text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN end_user text COLLATE "C" NOT NULL DEFAULT '';

-- The sums of `usage_daily` once more, for calls that have a project alone. What a row there holds beyond those here is of
-- no project: so programs that do not know this table go on adding to the other, and nothing is counted wrongly.
CREATE TABLE usage_projects (
    tenant_id          text COLLATE "C" NOT NULL,
    day                text COLLATE "C" NOT NULL,
    environment        text COLLATE "C" NOT NULL,
    team               text COLLATE "C" NOT NULL,
    key_id             text COLLATE "C" NOT NULL,
    asked              text COLLATE "C" NOT NULL,
    served             text COLLATE "C" NOT NULL,
    provider           text COLLATE "C" NOT NULL,
    currency           text COLLATE "C" NOT NULL,
    project            text COLLATE "C" NOT NULL,
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
    PRIMARY KEY (day, tenant_id, project, environment, team, key_id, asked, served, provider, currency)
);
