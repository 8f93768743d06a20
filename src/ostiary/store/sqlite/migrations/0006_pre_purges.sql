-- The last purge of kept answers by tag: nothing that was asked for before change `number` is given any more.
CREATE TABLE purges (
    tenant_id TEXT NOT NULL,
    tag       TEXT NOT NULL,
    at_ns     INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, tag)
) STRICT, WITHOUT ROWID;
