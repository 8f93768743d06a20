-- The part of a team's work that a key is for.
ALTER TABLE keys ADD COLUMN project text COLLATE "C" NOT NULL DEFAULT '';
