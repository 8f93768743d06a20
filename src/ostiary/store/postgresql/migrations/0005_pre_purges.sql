-- The last purge of kept answers by tag: nothing that was asked for before change `number` is given any more.
CREATE TABLE purges (
    tenant_id text COLLATE "C" NOT NULL,
    tag       text COLLATE "C" NOT NULL,
    at_ns     bigint NOT NULL,
    number    bigint NOT NULL,
    PRIMARY KEY (tenant_id, tag)
);
