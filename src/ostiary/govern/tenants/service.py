"""Creating, listing and disabling tenants."""

from ostiary.core.error import CallerError, Code
from ostiary.core.port import Clock, Ids
from ostiary.core.principal import TenantId
from ostiary.govern.actor import Actor, Permission
from ostiary.govern.change import Change
from ostiary.govern.name import check_name
from ostiary.govern.overlay import Overlay
from ostiary.govern.tenants.model import Tenant
from ostiary.govern.tenants.ports import TenantStore


class TenantService:
    """Tenants of the file and of the database together; only the latter can be changed."""

    def __init__(self, store: TenantStore, overlay: Overlay, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._overlay = overlay
        self._clock = clock
        self._ids = ids

    def create(self, actor: Actor, name: str) -> Tenant:
        """Raises CallerError: object.invalid, object.exists, object.file_owned, auth.forbidden."""
        actor.require(Permission.TENANTS_WRITE)
        check_name("name", name)
        if name in self._overlay.tenants:
            raise self._overlay.refuse(f"The tenant {name}")
        tenant = Tenant(TenantId(name), created_ns=self._clock.now_ns())
        self._store.create(tenant, self._change(actor, "tenant.create", tenant.id, tenant.created_ns))
        return tenant

    def list(self, actor: Actor) -> list[Tenant]:
        """Those the actor may see, by name."""
        actor.require(Permission.TENANTS_READ, actor.tenant)
        of_file = [Tenant(TenantId(name), managed_by="file") for name in self._overlay.tenants]
        return sorted((t for t in [*of_file, *self._store.list()] if actor.sees(t.id)), key=lambda t: t.id)

    def disable(self, actor: Actor, name: str) -> None:
        """Take a tenant out of use; its records stay. Raises CallerError object.not_found or object.file_owned."""
        actor.require(Permission.TENANTS_WRITE, name)
        if name in self._overlay.tenants:
            raise self._overlay.refuse(f"The tenant {name}")
        now = self._clock.now_ns()
        if not self._store.disable(TenantId(name), now, self._change(actor, "tenant.disable", name, now)):
            raise CallerError(Code.OBJECT_NOT_FOUND, f"There is no tenant {name!r}.")

    def _change(self, actor: Actor, action: str, tenant: str, at_ns: int) -> Change:
        return Change(self._ids.new(), at_ns, actor.name, action, tenant, tenant)
