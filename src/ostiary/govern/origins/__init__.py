"""The journals that project into this database, and those that never will again."""
