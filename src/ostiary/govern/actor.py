"""Who acts on the installation, and what they may do."""

from enum import StrEnum
from typing import Final

import msgspec

from ostiary.core.error import CallerError, Code


class Permission(StrEnum):
    """noun:verb. `write` includes creating and removing, not reading."""

    TENANTS_READ = "tenants:read"
    TENANTS_WRITE = "tenants:write"
    TEAMS_READ = "teams:read"
    TEAMS_WRITE = "teams:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    USAGE_READ = "usage:read"
    AUDIT_READ = "audit:read"
    AUDIT_WRITE = "audit:write"
    CACHE_READ = "cache:read"
    CACHE_PURGE = "cache:purge"
    REVIEWS_READ = "reviews:read"
    REVIEWS_CONTENT = "reviews:content"
    REVIEWS_DECIDE = "reviews:decide"


ALL_PERMISSIONS: Final = frozenset(Permission)


class Actor(msgspec.Struct, frozen=True):
    """A person or program. `tenant` confines it to one tenant: others look as if they did not exist."""

    name: str
    permissions: frozenset[Permission]
    tenant: str | None = None

    def require(self, permission: Permission, tenant: str | None = None) -> None:
        """Return where the actor may do this, in `tenant` or, without one, in the whole installation.

        Raises CallerError auth.forbidden without the permission, object.not_found for a tenant that is not its own.
        """
        if permission not in self.permissions:
            raise CallerError(Code.AUTH_FORBIDDEN, f"This needs the permission {permission}.")
        if self.tenant is None:
            return
        if tenant is None:
            raise CallerError(Code.AUTH_FORBIDDEN, f"This needs the permission {permission} in every tenant.")
        if tenant != self.tenant:
            raise CallerError(Code.OBJECT_NOT_FOUND, f"There is no tenant {tenant!r}.")

    def sees(self, tenant: str) -> bool:
        """Whether objects of this tenant exist for the actor."""
        return self.tenant is None or tenant == self.tenant


def operator(name: str) -> Actor:
    """Someone with a shell in the installation: everything, everywhere."""
    return Actor(name, ALL_PERMISSIONS)
