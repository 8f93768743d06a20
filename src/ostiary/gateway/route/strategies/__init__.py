"""One routing strategy a file."""
