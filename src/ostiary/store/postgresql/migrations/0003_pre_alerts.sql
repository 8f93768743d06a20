-- Alerts of budgets, and where each stands with those who are to hear of it. `id` is the same for the same share of the
-- same period, whichever journal tells of it.
CREATE TABLE alerts (
    id    text COLLATE "C" PRIMARY KEY,
    at_ns bigint NOT NULL,
    body  text NOT NULL
);
CREATE INDEX alerts_by_time ON alerts (at_ns);

CREATE TABLE alert_deliveries (
    alert_id text COLLATE "C" NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    channel  text COLLATE "C" NOT NULL,
    attempts bigint NOT NULL,
    next_ns  bigint NOT NULL,
    done_ns  bigint NOT NULL DEFAULT 0,
    given_up boolean NOT NULL DEFAULT false,
    reason   text NOT NULL DEFAULT '',
    PRIMARY KEY (alert_id, channel)
);
