"""The PostgreSQL backend: native SQL, one file per port. Needs the extra `postgresql`.

A few connections per process, made when they are needed and again when they break; each transaction has one of its own,
with bounds on how long a statement and the wait for a lock may take. Nothing is left set on a session, so a pooler that
hands sessions from client to client can stand in between.
"""
