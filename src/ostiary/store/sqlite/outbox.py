"""Changes waiting to be delivered, and those that were."""

from typing import Final

import msgspec

from ostiary.core.row import Row
from ostiary.govern.change import Change
from ostiary.store.sqlite.database import Database

_SINCE: Final = (
    "SELECT number, id, at_ns, actor, action, tenant_id, object_id, detail FROM outbox "
    "WHERE number > ? ORDER BY number LIMIT ?"
)
_LAST: Final = "SELECT max(number) FROM outbox"
_WAITING: Final = "SELECT number FROM outbox WHERE delivered_ns = 0 LIMIT 1"
_FIRST: Final = (
    "SELECT number, id, at_ns, actor, action, tenant_id, object_id, detail, claimed_by, claimed_until_ns FROM outbox "
    "WHERE delivered_ns = 0 ORDER BY number LIMIT ?"
)
_CLAIM: Final = (
    "UPDATE outbox SET claimed_by = ?, claimed_until_ns = ? WHERE delivered_ns = 0 AND number BETWEEN ? AND ?"
)
_RELEASE: Final = "UPDATE outbox SET claimed_until_ns = 0 WHERE delivered_ns = 0 AND claimed_by = ?"
_DELIVERED: Final = "UPDATE outbox SET delivered_ns = ? WHERE number <= ? AND delivered_ns = 0"


class SqliteOutbox:
    """The changes in the order in which they were made; numbers only grow."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, number: int, count_max: int = 1_000) -> list[tuple[int, Change]]:
        """Changes after `number`, with theirs."""
        with self._database.read() as tx:
            rows = tx.rows(_SINCE, (number, count_max))
        return [_numbered(row) for row in rows]

    def last(self) -> int:
        """The number of the last change; 0 where there is none."""
        with self._database.read() as tx:
            row = tx.row(_LAST)
        return 0 if row is None else int(row[0] or 0)

    def waiting(self) -> bool:
        """See the port."""
        with self._database.read() as tx:
            return tx.row(_WAITING) is not None

    def claim(self, by: str, now_ns: int, until_ns: int, count_max: int) -> list[tuple[int, Change]]:
        """See the port."""
        with self._database.write() as tx:
            rows = tx.rows(_FIRST, (count_max,))
            if not rows or any(row[8] not in ("", by) and int(row[9] or 0) > now_ns for row in rows):
                return []
            tx.run(_CLAIM, (by, until_ns, rows[0][0], rows[-1][0]))
        return [_numbered(row) for row in rows]

    def release(self, by: str) -> None:
        """See the port."""
        with self._database.write() as tx:
            tx.run(_RELEASE, (by,))

    def delivered(self, number: int, at_ns: int) -> None:
        """Everything up to `number` was delivered."""
        with self._database.write() as tx:
            tx.run(_DELIVERED, (at_ns, number))


def _numbered(row: Row) -> tuple[int, Change]:
    return int(row[0] or 0), Change(
        id=str(row[1]),
        at_ns=int(row[2] or 0),
        actor=str(row[3]),
        action=str(row[4]),
        tenant=str(row[5]),
        object_id=str(row[6]),
        detail=msgspec.json.decode(str(row[7])),
    )
