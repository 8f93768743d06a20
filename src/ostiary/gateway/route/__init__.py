"""Which targets are tried, in which order."""
