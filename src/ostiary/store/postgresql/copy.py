"""The rows of every table, as COPY gives them: read in one snapshot while others write, put back in one transaction."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ostiary.core.error import Code, OperatorError
from ostiary.core.port import Clock
from ostiary.store.postgresql import schema
from ostiary.store.postgresql.database import Database
from ostiary.store.postgresql.partitions import make_in

# In this order rows find what they refer to.
TABLES: Final = (
    "installation",
    "revision",
    "tenants",
    "teams",
    "keys",
    "key_secrets",
    "outbox",
    "offsets",
    "origins",
    "purges",
    "usage_daily",
    "usage_projects",
    "open_calls",
    "refusals",
    "gaps",
    "recoveries",
    "unreadable",
    "alerts",
    "alert_deliveries",
    "reviews",
    "calls",
)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_MADE_WITH_ROWS: Final = "DELETE FROM revision"
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_COLUMNS: Final = (
    "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped "
    "ORDER BY attnum"
)
_DAYS: Final = "SELECT DISTINCT day FROM calls"
_ORDER: Final = "COPY (SELECT {columns} FROM {table}) TO STDOUT"
_BACK: Final = "COPY {table} ({columns}) FROM STDIN"


def dump(database: Database, folder: Path) -> tuple[int, dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Put the rows of every table into `folder`, a file for each, all as they were at one moment. Gives the version of
    the schema, the columns of each table, and the days of which there are calls.

    Raises OperatorError store.unavailable.
    """
    columns: dict[str, tuple[str, ...]] = {}
    with database.read(bounded=False) as tx:
        version = schema.version(tx)
        for table in TABLES:
            names = tuple(str(name) for (name,) in tx.rows(_COLUMNS, (table,)))
            if not names:
                continue  # a schema older than this table
            columns[table] = names
            tx.copy_out(_ORDER.format(table=_plain(table), columns=_listed(names)), folder / table)
        days = tuple(sorted(str(day) for (day,) in tx.rows(_DAYS)))
    return version, columns, days


def load(
    database: Database,
    clock: Clock,
    folder: Path,
    *,
    version: int,
    columns: Mapping[str, Sequence[str]],
    days: Sequence[str],
) -> None:
    """Make the schema as it was at `version` and fill it, all or nothing. `days` are those of which there are calls.

    Raises OperatorError store.unavailable; config.invalid where the database holds tables of Ostiary already, or the
    backup a table that this version does not know.
    """
    for table, names in columns.items():
        if table not in TABLES or not names or not all(name and set(name) <= _PLAIN for name in names):
            raise OperatorError(Code.CONFIG_INVALID, f"The backup holds the table {table!r}, which is not known here.")
    if not all(_DAY.fullmatch(day) for day in days):
        raise OperatorError(Code.CONFIG_INVALID, "The backup names a day that is none.")
    with database.write(bounded=False) as tx:
        if schema.version(tx):
            raise _in_use(database)
        schema.take_up_to(tx, clock, version)
        tx.script(_MADE_WITH_ROWS)
        make_in(tx, days)
        for table in (name for name in TABLES if name in columns):
            tx.copy_in(_BACK.format(table=_plain(table), columns=_listed(columns[table])), folder / table)
            # The server does so by itself within minutes. Until then it takes every table for small: with many keys
            # each look for one would read them all.
            tx.script(f"ANALYZE {_plain(table)}")


def check_empty(database: Database) -> None:
    """Raises OperatorError: config.invalid where the database holds tables of Ostiary, store.unavailable."""
    with database.read() as tx:
        if schema.version(tx):
            raise _in_use(database)


def _in_use(database: Database) -> OperatorError:
    return OperatorError(
        Code.CONFIG_INVALID,
        f"The database {database.name} holds tables of Ostiary already. A backup is restored into an empty one.",
    )


def _plain(name: str) -> str:
    assert set(name) <= _PLAIN
    return name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{_plain(name)}"' for name in names)
