-- Alerts of budgets, and where each stands with those who are to hear of it. `id` is the same for the same share of the
-- same period, whichever journal tells of it.
CREATE TABLE alerts (
    id    TEXT PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    body  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_by_time ON alerts (at_ns);

CREATE TABLE alert_deliveries (
    alert_id TEXT NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    channel  TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_ns  INTEGER NOT NULL,
    done_ns  INTEGER NOT NULL DEFAULT 0,
    given_up INTEGER NOT NULL DEFAULT 0,
    reason   TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (alert_id, channel)
) STRICT, WITHOUT ROWID;
