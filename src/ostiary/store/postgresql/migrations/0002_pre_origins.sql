-- Which journals project into this database, when their replica was last seen, and which were declared lost.
CREATE TABLE origins (
    origin     text COLLATE "C" PRIMARY KEY,
    seen_ns    bigint NOT NULL,
    retired_ns bigint NOT NULL DEFAULT 0,
    retired_by text NOT NULL DEFAULT '',
    reason     text NOT NULL DEFAULT ''
);
