-- Which replica is taking a change into its journal, and until when nobody else does.
ALTER TABLE outbox ADD COLUMN claimed_by text NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN claimed_until_ns bigint NOT NULL DEFAULT 0;
CREATE INDEX outbox_undelivered ON outbox (number) WHERE delivered_ns = 0;
