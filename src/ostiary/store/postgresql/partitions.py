"""The partitions of the table of calls, one a day.

Making and dropping one takes a lock that two processes must not want at once: both are done under an advisory lock, each
in a short transaction of its own that holds nothing else.
"""

import re
from collections.abc import Iterable
from typing import Final, LiteralString, final

from ostiary.store.postgresql.database import Database, Tx

_LOCK_KEY: Final = 0x6F73746961727901
_LOCK: Final = "SELECT pg_advisory_xact_lock(%s)"
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_NAME: Final = re.compile(r"calls_(\d{4})_(\d{2})_(\d{2})")
_LIST: Final = (
    "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
    "WHERE inhparent = to_regclass('calls') ORDER BY child.relname"
)


@final
class Partitions:
    """Which days have a partition. What this process has made or seen is not asked for again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: frozenset[str] = frozenset()

    def days(self) -> list[str]:
        """The days there are, in order."""
        with self._database.read() as tx:
            matches = [_NAME.fullmatch(str(name)) for (name,) in tx.rows(_LIST)]
        return ["-".join(match.groups()) for match in matches if match is not None]

    def make(self, days: Iterable[str]) -> None:
        """See to it that these days (YYYY-MM-DD) have one."""
        missing = frozenset(days) - self._known
        if not missing:
            return
        there = frozenset(self.days())
        for day in sorted(missing - there):
            with self._database.write() as tx:
                tx.rows(_LOCK, (_LOCK_KEY,))
                tx.run(_statement("CREATE TABLE IF NOT EXISTS calls_{0} PARTITION OF calls FOR VALUES IN ('{1}')", day))
        self._known = there | missing

    def forget(self) -> None:
        """Look again before the next use."""
        self._known = frozenset()

    def drop_before(self, day: str) -> int:
        """Drop those of days before this one, with the calls in them; how many there were."""
        gone = [one for one in self.days() if one < day]
        for one in gone:
            with self._database.write() as tx:
                tx.rows(_LOCK, (_LOCK_KEY,))
                tx.run(_statement("DROP TABLE IF EXISTS calls_{0}", one))
        self._known -= frozenset(gone)
        return len(gone)


def make_in(tx: Tx, days: Iterable[str]) -> None:
    """Make these days' partitions in a transaction that has just made the table."""
    for day in days:
        tx.run(_statement("CREATE TABLE calls_{0} PARTITION OF calls FOR VALUES IN ('{1}')", day))


def _statement(form: str, day: str) -> LiteralString:
    """A statement that names a day: one of digits and dashes, which is all that makes it more than a constant."""
    assert _DAY.fullmatch(day), "a day is YYYY-MM-DD"
    return form.format(day.replace("-", "_"), day)
