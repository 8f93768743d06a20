"""Who is asking: the tenant, team and key behind a credential, and what it may do."""

from enum import StrEnum
from typing import NewType

import msgspec

TenantId = NewType("TenantId", str)
TeamId = NewType("TeamId", str)
KeyId = NewType("KeyId", str)
EnvironmentName = NewType("EnvironmentName", str)


class Priority(StrEnum):
    """How urgent a caller's calls are where not all can be served at once; the most urgent first."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BATCH = "batch"


class Deployment(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which deployment of the caller's software makes a call; a key may carry it, a call may state it."""

    service: str = ""
    version: str = ""
    commit: str = ""


class Principal(msgspec.Struct, frozen=True, cache_hash=True):
    """An authenticated caller. `models` is the key's own allow-list; None means the team's list alone decides;
    `priority` the key's own, None: the team's. `project` is the part of the team's work that the key is for, empty for
    none."""

    tenant: TenantId
    team: TeamId
    environment: EnvironmentName
    key_id: KeyId
    key_name: str
    models: frozenset[str] | None = None
    deployment: Deployment = Deployment()
    priority: Priority | None = None
    project: str = ""
