"""Port `TeamStore` on PostgreSQL."""

from typing import Final

import msgspec

from ostiary.core.principal import TeamId, TenantId
from ostiary.core.row import Row
from ostiary.govern.change import Change
from ostiary.govern.teams.model import Team
from ostiary.store.postgresql.database import Database, unique

_INSERT: Final = (
    "INSERT INTO teams (tenant_id, id, name, environment, models, max_tokens, tool_depth, created_ns) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)
# In the order of the struct's fields.
_SELECT: Final = (
    "SELECT id, tenant_id, name, environment, models, max_tokens, tool_depth, created_ns, disabled_ns FROM teams"
)
_FIND: Final = _SELECT + " WHERE tenant_id = %s AND name = %s"
_LIST: Final = _SELECT + " ORDER BY tenant_id, name"
_LIST_TENANT: Final = _SELECT + " WHERE tenant_id = %s ORDER BY name"
_UPDATE: Final = "UPDATE teams SET models = %s, max_tokens = %s, tool_depth = %s WHERE tenant_id = %s AND id = %s AND disabled_ns = 0"
_DISABLE: Final = "UPDATE teams SET disabled_ns = %s WHERE tenant_id = %s AND id = %s AND disabled_ns = 0"


class PostgresqlTeams:
    """See the port for what holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, team: Team, change: Change) -> None:
        values = (
            team.tenant,
            team.id,
            team.name,
            team.environment,
            _encode(team.models),
            team.max_tokens,
            team.tool_depth,
            team.created_ns,
        )
        with self._database.write() as tx:
            with unique(f"There is or was a team {team.name!r} in tenant {team.tenant!r}."):
                tx.run(_INSERT, values)
            tx.changed(change)

    def find(self, tenant: TenantId, name: TeamId) -> Team | None:
        with self._database.read() as tx:
            row = tx.row(_FIND, (tenant, name))
        return None if row is None else _team(row)

    def list(self, tenant: TenantId | None = None) -> list[Team]:
        with self._database.read() as tx:
            rows = tx.rows(_LIST) if tenant is None else tx.rows(_LIST_TENANT, (tenant,))
        return [_team(row) for row in rows]

    def update(self, team: Team, change: Change) -> bool:
        with self._database.write() as tx:
            values = (_encode(team.models), team.max_tokens, team.tool_depth, team.tenant, team.id)
            done = tx.run(_UPDATE, values) == 1
            if done:
                tx.changed(change)
            return done

    def disable(self, tenant: TenantId, team_id: str, at_ns: int, change: Change) -> bool:
        with self._database.write() as tx:
            done = tx.run(_DISABLE, (at_ns, tenant, team_id)) == 1
            if done:
                tx.changed(change)
            return done


def _encode(models: tuple[str, ...]) -> str:
    return msgspec.json.encode(models).decode()


def _team(row: Row) -> Team:
    fields = dict(zip(Team.__struct_fields__, row, strict=False))
    return msgspec.convert({**fields, "models": msgspec.json.decode(str(row[4]))}, Team)
