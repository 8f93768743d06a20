"""Port `OriginStore` on SQLite."""

from collections.abc import Sequence
from typing import Final

from ostiary.core.row import Row
from ostiary.govern.change import Change
from ostiary.govern.origins.model import Origin, Retirement
from ostiary.govern.usage.model import OpenCall
from ostiary.store.sqlite.database import Database

_LIST: Final = (
    "SELECT n.origin, coalesce(o.seen_ns, 0), coalesce(p.records, 0), coalesce(o.retired_ns, 0), "
    "coalesce(o.retired_by, ''), coalesce(o.reason, '') "
    "FROM (SELECT origin FROM origins UNION SELECT origin FROM offsets) n "
    "LEFT JOIN origins o ON o.origin = n.origin "
    "LEFT JOIN (SELECT origin, max(sequence) AS records FROM offsets GROUP BY origin) p ON p.origin = n.origin "
    "ORDER BY n.origin"
)
_SEEN: Final = (
    "INSERT INTO origins (origin, seen_ns) VALUES (?, ?) "
    "ON CONFLICT (origin) DO UPDATE SET seen_ns = max(origins.seen_ns, excluded.seen_ns)"
)
_KNOW: Final = (
    "INSERT INTO origins (origin, seen_ns) SELECT ?, 0 WHERE EXISTS (SELECT 1 FROM offsets WHERE origin = ?) "
    "ON CONFLICT (origin) DO NOTHING"
)
_RETIRE: Final = (
    "UPDATE origins SET retired_ns = ?, retired_by = ?, reason = ? WHERE origin = ? AND retired_ns = 0 AND seen_ns <= ?"
)
_OPEN: Final = (
    "SELECT sequence, at_ns, tenant_id, team, key_id, asked, request_id FROM open_calls "
    "WHERE origin = ? ORDER BY sequence"
)


class SqliteOrigins:
    """See the port for what holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_calls(self, name: str) -> list[OpenCall]:
        with self._database.read() as tx:
            rows = tx.rows(_OPEN, (name,))
        return [OpenCall(int(row[0] or 0), int(row[1] or 0), *(str(word) for word in row[2:])) for row in rows]

    def seen(self, names: Sequence[str], at_ns: int) -> None:
        with self._database.write() as tx:
            tx.run_many(_SEEN, [(name, at_ns) for name in sorted(names)])

    def retire(self, name: str, retirement: Retirement, silent_since_ns: int, change: Change) -> Origin | None:
        with self._database.write() as tx:
            tx.run(_KNOW, (name, name))
            values = (retirement.at_ns, retirement.by, retirement.reason, name, silent_since_ns)
            done = tx.run(_RETIRE, values) == 1
            found = next((origin for row in tx.rows(_LIST) if (origin := _origin(row)).name == name), None)
            if done:
                tx.changed(change)
        return found if found is not None and found.retirement is not None else None

    def list(self) -> list[Origin]:
        with self._database.read() as tx:
            return [_origin(row) for row in tx.rows(_LIST)]


def _origin(row: Row) -> Origin:
    name, seen_ns, records, retired_ns, by, reason = row
    retirement = Retirement(int(retired_ns), str(by), str(reason)) if retired_ns else None
    return Origin(str(name), int(seen_ns or 0), int(records or 0), retirement)
