"""The data plane: the life of one request. Read `exchange.py` first."""
