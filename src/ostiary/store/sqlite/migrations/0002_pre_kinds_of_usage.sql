-- Every kind of usage of a call, so that a price list of any kind can be applied to it later. `whole` is 0 for calls
-- kept before these columns were: of those it is not known whether they had any of it.
ALTER TABLE calls ADD COLUMN cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN input_audio_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN output_audio_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN input_image_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN output_image_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN images INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN audio_milliseconds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN characters INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN search_units INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;
