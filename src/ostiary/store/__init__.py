"""Adapters: one folder per backend, one file per port, judged by shared contract suites (tests/contract)."""
