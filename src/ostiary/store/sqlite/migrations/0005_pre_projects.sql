-- The part of a team's work that a key is for.
ALTER TABLE keys ADD COLUMN project TEXT NOT NULL DEFAULT '';
