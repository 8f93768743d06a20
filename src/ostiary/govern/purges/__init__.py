"""Purges: kept answers that are not to be given again."""
