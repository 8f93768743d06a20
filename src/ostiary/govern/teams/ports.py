"""What teams need of a store."""

from typing import Protocol

from ostiary.core.principal import TeamId, TenantId
from ostiary.govern.change import Change
from ostiary.govern.teams.model import Team


class TeamStore(Protocol):
    """Rows of teams. A write is durable on return, together with its change; OperatorError store.unavailable
    where the store cannot be used, and then nothing was written."""

    def create(self, team: Team, change: Change) -> None:
        """Raises CallerError object.exists where the tenant ever had a team of this name."""
        ...

    def find(self, tenant: TenantId, name: TeamId) -> Team | None: ...

    def list(self, tenant: TenantId | None = None) -> list[Team]:
        """Disabled ones included."""
        ...

    def update(self, team: Team, change: Change) -> bool:
        """Set models and bounds of the team in use with this tenant and id; False where there is none."""
        ...

    def disable(self, tenant: TenantId, team_id: str, at_ns: int, change: Change) -> bool:
        """False where there is none in use, and then nothing is written."""
        ...
