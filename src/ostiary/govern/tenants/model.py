"""A tenant."""

import msgspec

from ostiary.core.principal import TenantId


class Tenant(msgspec.Struct, frozen=True):
    """`managed_by` is file or api. `disabled_ns` is 0 while it is in use."""

    id: TenantId
    created_ns: int = 0
    disabled_ns: int = 0
    managed_by: str = "api"
