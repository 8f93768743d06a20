"""Port `TenantStore` on PostgreSQL."""

from typing import Final

from ostiary.core.principal import TenantId
from ostiary.core.row import Row
from ostiary.govern.change import Change
from ostiary.govern.tenants.model import Tenant
from ostiary.store.postgresql.database import Database, unique

_INSERT: Final = "INSERT INTO tenants (id, created_ns) VALUES (%s, %s)"
_FIND: Final = "SELECT id, created_ns, disabled_ns FROM tenants WHERE id = %s"
_LIST: Final = "SELECT id, created_ns, disabled_ns FROM tenants ORDER BY id"
_DISABLE: Final = "UPDATE tenants SET disabled_ns = %s WHERE id = %s AND disabled_ns = 0"


class PostgresqlTenants:
    """See the port for what holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, tenant: Tenant, change: Change) -> None:
        with self._database.write() as tx:
            with unique(f"There is or was a tenant {tenant.id!r}."):
                tx.run(_INSERT, (tenant.id, tenant.created_ns))
            tx.changed(change)

    def find(self, tenant: TenantId) -> Tenant | None:
        with self._database.read() as tx:
            row = tx.row(_FIND, (tenant,))
        return None if row is None else _tenant(row)

    def list(self) -> list[Tenant]:
        with self._database.read() as tx:
            return [_tenant(row) for row in tx.rows(_LIST)]

    def disable(self, tenant: TenantId, at_ns: int, change: Change) -> bool:
        with self._database.write() as tx:
            done = tx.run(_DISABLE, (at_ns, tenant)) == 1
            if done:
                tx.changed(change)
            return done


def _tenant(row: Row) -> Tenant:
    tenant, created_ns, disabled_ns = row
    return Tenant(TenantId(str(tenant)), int(created_ns or 0), int(disabled_ns or 0))
