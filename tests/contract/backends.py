"""The backends that the contract suites judge. A backend gives its stores on an empty place and can be opened again."""

import itertools
from pathlib import Path

from ostiary.store.sqlite.database import Database
from ostiary.store.sqlite.keys import SqliteKeys
from ostiary.store.sqlite.outbox import SqliteOutbox
from ostiary.store.sqlite.teams import SqliteTeams
from ostiary.store.sqlite.tenants import SqliteTenants
from ostiary.store.sqlite.usage import SqliteUsage

BACKENDS = ["sqlite"]


class Sqlite:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "test.db"
        self._open()

    def _open(self) -> None:
        self.database = Database.open(self.path)
        self.tenants = SqliteTenants(self.database)
        self.teams = SqliteTeams(self.database)
        self.keys = SqliteKeys(self.database)
        self.usage = SqliteUsage(self.database)
        self.outbox = SqliteOutbox(self.database)

    def reopen(self) -> None:
        self.database.close()
        self._open()

    def close(self) -> None:
        self.database.close()


def backend(name: str, folder: Path) -> Sqlite:
    return {"sqlite": Sqlite}[name](folder)


class CountingIds:
    """Ids in order."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self) -> str:
        return f"00000000-0000-7000-8000-{next(self._numbers):012d}"
