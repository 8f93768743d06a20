"""The cheap refusals."""
