"""What tenants need of a store."""

from typing import Protocol

from ostiary.core.principal import TenantId
from ostiary.govern.change import Change
from ostiary.govern.tenants.model import Tenant


class TenantStore(Protocol):
    """Rows of tenants. A write is durable on return, together with its change; OperatorError store.unavailable
    where the store cannot be used, and then nothing was written."""

    def create(self, tenant: Tenant, change: Change) -> None:
        """Raises CallerError object.exists where the name was ever used."""
        ...

    def find(self, tenant: TenantId) -> Tenant | None: ...
    def list(self) -> list[Tenant]: ...

    def disable(self, tenant: TenantId, at_ns: int, change: Change) -> bool:
        """False where there is none in use, and then nothing is written."""
        ...
