"""Port `PurgeStore` on PostgreSQL."""

from typing import Final

from ostiary.govern.change import Change
from ostiary.govern.purges.model import Purge
from ostiary.store.postgresql.database import Database

_PUT: Final = (
    "INSERT INTO purges (tenant_id, tag, at_ns, number) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (tenant_id, tag) DO UPDATE SET at_ns = excluded.at_ns, number = excluded.number"
)
_FORGET: Final = "DELETE FROM purges WHERE at_ns < %s"
_LIST: Final = "SELECT tenant_id, tag, at_ns, number FROM purges WHERE at_ns >= %s ORDER BY number DESC LIMIT %s"


class PostgresqlPurges:
    """See the port for what holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def purge(self, purge: Purge, change: Change, forget_before_ns: int) -> int:
        with self._database.write() as tx:
            tx.run(_FORGET, (forget_before_ns,))
            # The number is known once the change stands; from there on other changes wait for this transaction's end.
            number = tx.changed(change)
            tx.run(_PUT, (purge.tenant, purge.tag, purge.at_ns, number))
            return number

    def list(self, since_ns: int, count_max: int) -> list[Purge]:
        with self._database.read() as tx:
            rows = tx.rows(_LIST, (since_ns, count_max))
        return [Purge(str(tenant), str(tag), int(at_ns or 0), int(number or 0)) for tenant, tag, at_ns, number in rows]
