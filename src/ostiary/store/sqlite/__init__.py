"""The SQLite backend: one database file, native SQL, one file per port.

One connection per process, used under a lock and in short transactions: writers never overlap, and a second process
(a command beside the server) waits for the busy timeout. WAL, synchronous=FULL: a commit survives power loss.
"""
