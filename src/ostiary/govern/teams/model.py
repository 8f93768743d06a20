"""A team."""

from enum import StrEnum

import msgspec

from ostiary.core.principal import EnvironmentName, TeamId, TenantId


class Environment(StrEnum):
    """Where a team's software runs. Fixed at the team's creation."""

    SANDBOX = "sandbox"
    STAGING = "staging"
    PRODUCTION = "production"


class Team(msgspec.Struct, frozen=True):
    """`name` is what principals and records carry as the team (`TeamId`), unique in its tenant and never used again;
    `id` identifies the row and is "" for a team of the file. `models` may hold "*". `disabled_ns` is 0 in use."""

    id: str
    tenant: TenantId
    name: TeamId
    environment: EnvironmentName
    models: tuple[str, ...]
    max_tokens: int | None = None
    tool_depth: int | None = None
    created_ns: int = 0
    disabled_ns: int = 0
    managed_by: str = "api"
