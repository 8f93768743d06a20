"""The stores in PostgreSQL. Imported by its name and only where PostgreSQL is configured: it needs an extra."""

from collections.abc import Callable

from ostiary.bootstrap.storage import Storage
from ostiary.core.port import Clock
from ostiary.govern.migration import Migration, Plan
from ostiary.store.postgresql import schema
from ostiary.store.postgresql.alerts import PostgresqlAlerts
from ostiary.store.postgresql.database import Database
from ostiary.store.postgresql.installation import PostgresqlInstallation
from ostiary.store.postgresql.keys import PostgresqlKeys
from ostiary.store.postgresql.origins import PostgresqlOrigins
from ostiary.store.postgresql.outbox import PostgresqlOutbox
from ostiary.store.postgresql.teams import PostgresqlTeams
from ostiary.store.postgresql.tenants import PostgresqlTenants
from ostiary.store.postgresql.usage import PostgresqlUsage


def opened(url: str, clock: Clock) -> Storage:
    """The stores. Raises OperatorError store.unavailable, also where the schema is not one this program can use."""
    database = Database(url, clock)
    try:
        schema.check(database)
    except BaseException:
        database.close()
        raise
    return Storage(
        database=database,
        installation=PostgresqlInstallation(database),
        outbox=PostgresqlOutbox(database),
        tenants=PostgresqlTenants(database),
        teams=PostgresqlTeams(database),
        keys=PostgresqlKeys(database),
        usage=PostgresqlUsage(database),
        origins=PostgresqlOrigins(database),
        alerts=PostgresqlAlerts(database),
        shared=True,
    )


def planned(url: str, clock: Clock, *, contract: bool) -> Plan:
    """What `migrated` would do. Raises OperatorError store.unavailable."""
    database = Database(url, clock)
    try:
        return schema.plan(database, contract=contract)
    finally:
        database.close()


def migrated(url: str, clock: Clock, *, contract: bool, told: Callable[[Migration], None]) -> Plan:
    """Take every step that is due. Raises OperatorError store.unavailable; what was done until then stays."""
    database = Database(url, clock)
    try:
        return schema.migrate(database, clock, contract=contract, told=told)
    finally:
        database.close()
