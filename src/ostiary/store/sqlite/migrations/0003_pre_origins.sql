-- Which journals project into this database, when their replica was last seen, and which were declared lost.
CREATE TABLE origins (
    origin     TEXT PRIMARY KEY,
    seen_ns    INTEGER NOT NULL,
    retired_ns INTEGER NOT NULL DEFAULT 0,
    retired_by TEXT NOT NULL DEFAULT '',
    reason     TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
