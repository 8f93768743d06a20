"""What the database remembers of the installation it belongs to."""

from typing import Final

from ostiary.store.postgresql.database import Database

_GET: Final = "SELECT value FROM installation WHERE name = %s"
_PUT: Final = "INSERT INTO installation (name, value) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING"


class PostgresqlInstallation:
    """Facts that are written once and never change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recall(self, name: str) -> str | None:
        """The value of this fact, or None where none is known."""
        with self._database.read() as tx:
            row = tx.row(_GET, (name,))
        return None if row is None else str(row[0])

    def remember(self, name: str, value: str) -> str:
        """The value of this fact: the one given where none was known yet, else the one known."""
        with self._database.write() as tx:
            tx.run(_PUT, (name, value))
            row = tx.row(_GET, (name,))
        assert row is not None
        return str(row[0])
