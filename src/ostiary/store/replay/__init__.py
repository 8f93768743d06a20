"""Answers of calls with an idempotency key, kept in files."""
