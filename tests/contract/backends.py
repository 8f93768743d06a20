"""The backends that the contract suites judge. A backend gives its stores on an empty place and can be opened again;
`other` opens the same place as another process would."""

import itertools

from ostiary.bootstrap.system import SystemClock
from ostiary.store.postgresql import database as postgresql_database
from ostiary.store.postgresql import schema
from ostiary.store.postgresql.alerts import PostgresqlAlerts
from ostiary.store.postgresql.installation import PostgresqlInstallation
from ostiary.store.postgresql.keys import PostgresqlKeys
from ostiary.store.postgresql.origins import PostgresqlOrigins
from ostiary.store.postgresql.outbox import PostgresqlOutbox
from ostiary.store.postgresql.purges import PostgresqlPurges
from ostiary.store.postgresql.reviews import PostgresqlReviews
from ostiary.store.postgresql.teams import PostgresqlTeams
from ostiary.store.postgresql.tenants import PostgresqlTenants
from ostiary.store.postgresql.usage import PostgresqlUsage
from ostiary.store.sqlite.alerts import SqliteAlerts
from ostiary.store.sqlite.database import Database
from ostiary.store.sqlite.installation import SqliteInstallation
from ostiary.store.sqlite.keys import SqliteKeys
from ostiary.store.sqlite.origins import SqliteOrigins
from ostiary.store.sqlite.outbox import SqliteOutbox
from ostiary.store.sqlite.purges import SqlitePurges
from ostiary.store.sqlite.reviews import SqliteReviews
from ostiary.store.sqlite.teams import SqliteTeams
from ostiary.store.sqlite.tenants import SqliteTenants
from ostiary.store.sqlite.usage import SqliteUsage
from tests import postgresql

BACKENDS = ["sqlite", "postgresql"]


class Sqlite:
    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "test.db"
        self._open()

    def _open(self):
        self.database = Database.open(self.path)
        self.installation = SqliteInstallation(self.database)
        self.tenants = SqliteTenants(self.database)
        self.teams = SqliteTeams(self.database)
        self.keys = SqliteKeys(self.database)
        self.usage = SqliteUsage(self.database)
        self.outbox = SqliteOutbox(self.database)
        self.origins = SqliteOrigins(self.database)
        self.alerts = SqliteAlerts(self.database)
        self.purges = SqlitePurges(self.database)
        self.reviews = SqliteReviews(self.database)

    def other(self):
        return Sqlite(self.folder)

    def reopen(self):
        self.database.close()
        self._open()

    def close(self):
        self.database.close()

    end = close


class Postgresql:
    def __init__(self, folder, name=None):
        del folder
        postgresql.need()
        self.schema = postgresql.new_schema() if name is None else name
        self.url = postgresql.url(self.schema)
        if name is None:
            made = postgresql_database.Database(self.url, SystemClock())
            schema.migrate(made, SystemClock())
            made.close()
        self._open()

    def _open(self):
        self.database = postgresql_database.Database(self.url, SystemClock())
        schema.check(self.database)
        self.installation = PostgresqlInstallation(self.database)
        self.tenants = PostgresqlTenants(self.database)
        self.teams = PostgresqlTeams(self.database)
        self.keys = PostgresqlKeys(self.database)
        self.usage = PostgresqlUsage(self.database)
        self.outbox = PostgresqlOutbox(self.database)
        self.origins = PostgresqlOrigins(self.database)
        self.alerts = PostgresqlAlerts(self.database)
        self.purges = PostgresqlPurges(self.database)
        self.reviews = PostgresqlReviews(self.database)

    def other(self):
        return Postgresql(None, self.schema)

    def reopen(self):
        self.database.close()
        self._open()

    def close(self):
        self.database.close()

    def end(self):
        self.close()
        postgresql.drop_schema(self.schema)


def backend(name, folder):
    return {"sqlite": Sqlite, "postgresql": Postgresql}[name](folder)


class CountingIds:
    """Ids in order."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self) -> str:
        return f"00000000-0000-7000-8000-{next(self._numbers):012d}"
