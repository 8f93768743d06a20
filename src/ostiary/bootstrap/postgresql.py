"""The stores in PostgreSQL. Imported by its name and only where PostgreSQL is configured: it needs an extra."""

from collections.abc import Callable
from pathlib import Path

from ostiary.bootstrap.storage import Copied, Storage
from ostiary.core.error import Code, OperatorError
from ostiary.core.port import Clock
from ostiary.govern.migration import Migration, Plan
from ostiary.store.archive.manifest import Manifest, Table
from ostiary.store.postgresql import copy, schema
from ostiary.store.postgresql.alerts import PostgresqlAlerts
from ostiary.store.postgresql.database import Database
from ostiary.store.postgresql.installation import PostgresqlInstallation
from ostiary.store.postgresql.keys import PostgresqlKeys
from ostiary.store.postgresql.origins import PostgresqlOrigins
from ostiary.store.postgresql.outbox import PostgresqlOutbox
from ostiary.store.postgresql.purges import PostgresqlPurges
from ostiary.store.postgresql.reviews import PostgresqlReviews
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
        purges=PostgresqlPurges(database),
        reviews=PostgresqlReviews(database),
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


def copied(url: str, clock: Clock, folder: Path) -> Copied:
    """Copy every table's rows, as they are at one moment. Raises OperatorError store.unavailable."""
    database = Database(url, clock)
    try:
        schema.check(database)
        version, columns, days = copy.dump(database, folder)
    finally:
        database.close()
    return Copied("postgresql", version, tuple(Table(name, names) for name, names in columns.items()), days)


def check_place(url: str, clock: Clock, newest: int) -> None:
    """Raises OperatorError: config.invalid where the database is in use or the backup's schema is newer than known."""
    known = schema.steps()[-1].migration.version
    if newest > known:
        raise OperatorError(
            Code.CONFIG_INVALID,
            f"The backup has schema {newest}, this version of Ostiary knows {known}: restore it with the newer version.",
        )
    database = Database(url, clock)
    try:
        copy.check_empty(database)
    finally:
        database.close()


def restored(url: str, clock: Clock, folder: Path, manifest: Manifest) -> None:
    """Make the schema of the backup and fill it in one transaction, then take the steps it lacks.

    Raises OperatorError: config.invalid, store.unavailable."""
    database = Database(url, clock)
    try:
        columns = {table.name: table.columns for table in manifest.tables}
        copy.load(database, clock, folder, version=manifest.schema, columns=columns, days=manifest.days)
        schema.migrate(database, clock)
    finally:
        database.close()
