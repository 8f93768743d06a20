"""Redis and Valkey: counters that workers and replicas share. Imported only where the configuration asks for it."""
