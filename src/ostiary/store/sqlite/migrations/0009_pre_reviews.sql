-- Calls handed over to a person. `question` and `decision` are sealed; the former is given up when the call is decided, the
-- whole row when it has ended. `until` is in seconds since 1970.
CREATE TABLE reviews (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    at_ns       INTEGER NOT NULL,
    until       INTEGER NOT NULL,
    callback    TEXT NOT NULL,
    body        TEXT NOT NULL,
    question    BLOB NOT NULL,
    verdict     TEXT NOT NULL DEFAULT '',
    decision    BLOB NOT NULL DEFAULT x'',
    decided_ns  INTEGER NOT NULL DEFAULT 0,
    decided_by  TEXT NOT NULL DEFAULT '',
    recorded_ns INTEGER NOT NULL DEFAULT 0,
    attempts    INTEGER NOT NULL DEFAULT 0,
    next_ns     INTEGER NOT NULL DEFAULT 0,
    notified_ns INTEGER NOT NULL DEFAULT 0,
    given_up    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX reviews_by_time ON reviews (at_ns);
CREATE INDEX reviews_by_request ON reviews (request_id);
CREATE INDEX reviews_by_ticket ON reviews (id);
CREATE INDEX reviews_by_record ON reviews (recorded_ns);
