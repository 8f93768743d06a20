"""The migrations, in order: `NNNN_pre_title.sql`. Each runs in one transaction and is never edited once released."""
