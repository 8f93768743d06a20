"""Creating, listing, changing and disabling teams."""

from collections.abc import Iterable

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import MAX_TOKENS_MAX, TOOL_DEPTH_MAX
from ostiary.core.port import Clock, Ids
from ostiary.core.principal import EnvironmentName, TeamId, TenantId
from ostiary.govern.actor import Actor, Permission
from ostiary.govern.change import Change
from ostiary.govern.name import check_name
from ostiary.govern.overlay import Overlay
from ostiary.govern.teams.model import Environment, Team
from ostiary.govern.teams.ports import TeamStore
from ostiary.govern.tenants.ports import TenantStore


class TeamService:
    """Teams of the file and of the database together; only the latter can be changed."""

    def __init__(self, store: TeamStore, tenants: TenantStore, overlay: Overlay, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._tenants = tenants
        self._overlay = overlay
        self._clock = clock
        self._ids = ids

    def create(
        self,
        actor: Actor,
        tenant: str,
        name: str,
        environment: str,
        models: Iterable[str],
        *,
        max_tokens: int | None = None,
        tool_depth: int | None = None,
    ) -> Team:
        """A new team of a tenant that is in use.

        Raises CallerError: object.invalid, object.exists, object.file_owned, object.not_found (the tenant),
        auth.forbidden.
        """
        actor.require(Permission.TEAMS_WRITE, tenant)
        check_name("name", name)
        if environment not in frozenset(Environment):
            words = ", ".join(Environment)
            raise CallerError(
                Code.OBJECT_INVALID,
                f"There is no environment {environment!r}; it is one of: {words}.",
                param="environment",
            )
        self._check_tenant(tenant)
        if (tenant, name) in self._overlay.teams:
            raise self._overlay.refuse(f"The team {tenant}/{name}")
        team = Team(
            id=self._ids.new(),
            tenant=TenantId(tenant),
            name=TeamId(name),
            environment=EnvironmentName(environment),
            models=_models(models),
            max_tokens=_bound("max_tokens", max_tokens, MAX_TOKENS_MAX, least=1),
            tool_depth=_bound("tool_depth", tool_depth, TOOL_DEPTH_MAX, least=0),
            created_ns=self._clock.now_ns(),
        )
        self._store.create(team, self._change(actor, "team.create", team, team.created_ns))
        return team

    def list(self, actor: Actor, tenant: str | None = None) -> list[Team]:
        """Teams the actor may see, by tenant and name."""
        wanted = tenant if tenant is not None else actor.tenant
        actor.require(Permission.TEAMS_READ, wanted)
        of_file = [
            Team(
                id="",
                tenant=TenantId(owner),
                name=TeamId(name),
                environment=EnvironmentName(team.environment),
                models=team.models,
                max_tokens=team.max_tokens,
                tool_depth=team.tool_depth,
                managed_by="file",
            )
            for (owner, name), team in self._overlay.teams.items()
            if wanted in (None, owner)
        ]
        rows = self._store.list(None if wanted is None else TenantId(wanted))
        return sorted([*of_file, *rows], key=lambda team: (team.tenant, team.name))

    def allow_models(self, actor: Actor, tenant: str, name: str, models: Iterable[str]) -> Team:
        """Replace the list of models a team may use. Keys keep their own lists; what counts is in both."""
        actor.require(Permission.TEAMS_WRITE, tenant)
        team = self._in_use(tenant, name)
        changed = Team(
            id=team.id,
            tenant=team.tenant,
            name=team.name,
            environment=team.environment,
            models=_models(models),
            max_tokens=team.max_tokens,
            tool_depth=team.tool_depth,
            created_ns=team.created_ns,
        )
        if not self._store.update(changed, self._change(actor, "team.allow_models", changed, self._clock.now_ns())):
            raise _not_found(tenant, name)
        return changed

    def disable(self, actor: Actor, tenant: str, name: str) -> None:
        """Take a team and so all its keys out of use; its records stay."""
        actor.require(Permission.TEAMS_WRITE, tenant)
        team = self._in_use(tenant, name)
        now = self._clock.now_ns()
        if not self._store.disable(team.tenant, team.id, now, self._change(actor, "team.disable", team, now)):
            raise _not_found(tenant, name)

    def _in_use(self, tenant: str, name: str) -> Team:
        if (tenant, name) in self._overlay.teams:
            raise self._overlay.refuse(f"The team {tenant}/{name}")
        team = self._store.find(TenantId(tenant), TeamId(name))
        if team is None or team.disabled_ns:
            raise _not_found(tenant, name)
        return team

    def _check_tenant(self, tenant: str) -> None:
        if tenant in self._overlay.tenants:
            return
        found = self._tenants.find(TenantId(tenant))
        if found is None or found.disabled_ns:
            raise CallerError(Code.OBJECT_NOT_FOUND, f"There is no tenant {tenant!r}.", param="tenant")

    def _change(self, actor: Actor, action: str, team: Team, at_ns: int) -> Change:
        detail: dict[str, str | int | list[str] | None] = {
            "name": team.name,
            "environment": team.environment,
            "models": list(team.models),
        }
        return Change(self._ids.new(), at_ns, actor.name, action, team.tenant, team.id, detail)


def _not_found(tenant: str, name: str) -> CallerError:
    return CallerError(Code.OBJECT_NOT_FOUND, f"There is no team {name!r} in tenant {tenant!r}.")


def _models(models: Iterable[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(models))
    if any(not name or len(name) > 256 for name in names):
        raise CallerError(Code.OBJECT_INVALID, "A model's name has 1 to 256 characters.", param="models")
    return names


def _bound(field: str, value: int | None, most: int, *, least: int) -> int | None:
    if value is not None and not least <= value <= most:
        raise CallerError(Code.OBJECT_INVALID, f"{field} must be from {least} to {most}.", param=field)
    return value
