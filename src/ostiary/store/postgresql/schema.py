"""The schema: which version the database has, which this program can work with, and the way from one to the other.

Nothing migrates by itself: `ostiary migrate` does. Each step is one transaction under an advisory lock, which also writes
down that it was done: killed anywhere, the database has a version, never half of one; run again, it goes on from there;
two at once do each step once.

Steps expand or contract (`migrations`). A program works with every schema from its own newest expanding step on, also
with later ones it does not know, up to the first contracting step it does not know. So a database is migrated first, then
programs are replaced one after the other, and only then are contracting steps taken.
"""

import re
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Final

import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import STORE_MIGRATION_WAIT_SECONDS
from ostiary.core.port import Clock
from ostiary.govern.migration import Migration, Plan
from ostiary.store.postgresql.database import Database, Tx

_FILE: Final = re.compile(r"(\d{4})_(pre|post)_([a-z0-9_]+)\.sql")
_LOCK_KEY: Final = 0x6F73746961727900
"""The advisory lock of schema changes in this database: "ostiary" in ASCII."""

_THERE: Final = "SELECT to_regclass('migrations') IS NOT NULL"
_CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS migrations (version integer PRIMARY KEY, title text NOT NULL, "
    "contracts boolean NOT NULL, applied_ns bigint NOT NULL)"
)
_APPLIED: Final = "SELECT version, contracts FROM migrations ORDER BY version"
_APPLY: Final = "INSERT INTO migrations (version, title, contracts, applied_ns) VALUES (%s, %s, %s, %s)"
_WAIT: Final = f"SET LOCAL lock_timeout = {STORE_MIGRATION_WAIT_SECONDS * 1_000:.0f}"
_UNBOUNDED: Final = "SET LOCAL statement_timeout = 0"
_LOCK: Final = "SELECT pg_advisory_xact_lock(%s)"


class Step(msgspec.Struct, frozen=True):
    """A migration and its statements."""

    migration: Migration
    sql: str


def steps() -> list[Step]:
    """Every step this program ships, in order."""
    found: list[Step] = []
    for entry in resources.files("ostiary.store.postgresql.migrations").iterdir():
        match = _FILE.fullmatch(entry.name)
        if match is not None:
            migration = Migration(int(match[1]), match[3].replace("_", " "), contracts=match[2] == "post")
            found.append(Step(migration, entry.read_text(encoding="utf-8")))
    found.sort(key=lambda step: step.migration.version)
    assert [step.migration.version for step in found] == list(range(1, len(found) + 1)), "migrations have gaps"
    return found


def check(database: Database) -> None:
    """Return where this program can work with the database's schema.

    Raises OperatorError store.unavailable that says what to do where it cannot.
    """
    known = [step.migration for step in steps()]
    with database.read() as tx:
        applied = _applied(tx)
    version = max(applied, default=0)
    if version == 0:
        raise OperatorError(
            Code.STORE_UNAVAILABLE, f"The database {database.name} has no schema of Ostiary yet: run `ostiary migrate`."
        )
    needed = max(step.version for step in known if not step.contracts)
    if version < needed:
        raise OperatorError(
            Code.STORE_UNAVAILABLE,
            f"The database {database.name} has schema {version}, this version of Ostiary needs {needed}: back it up and "
            "run `ostiary migrate`.",
        )
    _refuse_newer(database, applied, known[-1].version)


def plan(database: Database, *, contract: bool = False) -> Plan:
    """What `migrate` would do. Raises OperatorError store.unavailable, also for a schema that is too new."""
    with database.read() as tx:
        applied = _applied(tx)
    known = [step.migration for step in steps()]
    _refuse_newer(database, applied, known[-1].version)
    version = max(applied, default=0)
    pending = [step for step in known if step.version > version]
    # A new database holds nothing that an older program uses.
    due = len(pending) if contract or version == 0 else _expanding(pending)
    return Plan(database.name, version, tuple(pending[:due]), tuple(pending[due:]))


def migrate(
    database: Database, clock: Clock, *, contract: bool = False, told: Callable[[Migration], None] = lambda _: None
) -> Plan:
    """Take every step that is due, telling of each that is done; gives what was planned.

    Raises OperatorError store.unavailable: what was done until then stays, and is gone on from the next time.
    """
    planned = plan(database, contract=contract)
    due = {step.version for step in planned.due}
    for step in steps():
        if step.migration.version in due and _take(database, clock, step):
            told(step.migration)
    return planned


def version(tx: Tx) -> int:
    """The version of the schema there is; 0 where there is none."""
    return max(_applied(tx), default=0)


def take_up_to(tx: Tx, clock: Clock, newest: int) -> None:
    """Make a schema as it was at version `newest`, in a transaction that found none."""
    tx.run(_WAIT)
    tx.rows(_LOCK, (_LOCK_KEY,))
    tx.run(_UNBOUNDED)
    tx.run(_CREATE)
    for step in steps():
        if step.migration.version <= newest:
            tx.script(step.sql)
            tx.run(_APPLY, (step.migration.version, step.migration.title, step.migration.contracts, clock.now_ns()))


def _take(database: Database, clock: Clock, step: Step) -> bool:
    """Take one step; False where another process did meanwhile."""
    migration = step.migration
    with database.write(bounded=False) as tx:
        tx.run(_WAIT)
        tx.rows(_LOCK, (_LOCK_KEY,))
        tx.run(_UNBOUNDED)
        tx.run(_CREATE)
        if max(_applied(tx), default=0) >= migration.version:
            return False
        tx.script(step.sql)
        tx.run(_APPLY, (migration.version, migration.title, migration.contracts, clock.now_ns()))
        return True


def _applied(tx: Tx) -> dict[int, bool]:
    """The versions there are, and whether each contracts."""
    there = tx.row(_THERE)
    if there is None or not there[0]:
        return {}
    return {int(version or 0): bool(contracts) for version, contracts in tx.rows(_APPLIED)}


def _expanding(pending: Sequence[Migration]) -> int:
    """How many of the steps come before the first one that contracts."""
    return next((index for index, step in enumerate(pending) if step.contracts), len(pending))


def _refuse_newer(database: Database, applied: dict[int, bool], newest: int) -> None:
    beyond = [version for version, contracts in applied.items() if contracts and version > newest]
    if beyond:
        raise OperatorError(
            Code.STORE_UNAVAILABLE,
            f"The database {database.name} has schema {max(applied)}, which took away what this version of Ostiary "
            f"(schema {newest}) uses: install the newer version again, or put back the backup made before.",
        )
