-- Calls handed over to a person. `question` and `decision` are sealed; the former is given up when the call is decided, the
-- whole row when it has ended. `until` is in seconds since 1970.
CREATE TABLE reviews (
    tenant_id   text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    request_id  text COLLATE "C" NOT NULL,
    at_ns       bigint NOT NULL,
    until       bigint NOT NULL,
    callback    text COLLATE "C" NOT NULL,
    body        text NOT NULL,
    question    bytea NOT NULL,
    verdict     text NOT NULL DEFAULT '',
    decision    bytea NOT NULL DEFAULT '',
    decided_ns  bigint NOT NULL DEFAULT 0,
    decided_by  text NOT NULL DEFAULT '',
    recorded_ns bigint NOT NULL DEFAULT 0,
    attempts    bigint NOT NULL DEFAULT 0,
    next_ns     bigint NOT NULL DEFAULT 0,
    notified_ns bigint NOT NULL DEFAULT 0,
    given_up    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX reviews_by_time ON reviews (at_ns);
CREATE INDEX reviews_by_request ON reviews (request_id);
CREATE INDEX reviews_by_ticket ON reviews (id);
CREATE INDEX reviews_by_record ON reviews (recorded_ns);
