"""Tenants, tiers, teams, projects and keys of the operator's file as rows of a snapshot, with what each of them may take."""

from typing import Final

from ostiary.bootstrap.near import near
from ostiary.bootstrap.scopes import budget_row, limit_row
from ostiary.control.reference import resolve
from ostiary.core.error import OperatorError
from ostiary.core.principal import Deployment, Priority
from ostiary.settings import (
    BudgetSettings,
    EachTeamSettings,
    KeySettings,
    LimitSettings,
    Loaded,
    TeamSettings,
    TierOfTeamsSettings,
    check_supplied_key,
)
from ostiary.snapshot.keys import KeyEntry
from ostiary.snapshot.tables import BudgetedRow, LimitedRow, Residency, TeamRow

Path_ = tuple[str | int, ...]
_NO_TIER: Final = EachTeamSettings()


class Tenants:
    """Compiles them; `limits` and `budgets` fill as it goes. Every method raises OperatorError config.invalid."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.limits: list[LimitedRow] = []
        self.budgets: list[BudgetedRow] = []

    def error(self, path: Path_, reason: str) -> OperatorError:
        return self.loaded.error(path, reason)

    def run(self) -> tuple[tuple[TeamRow, ...], tuple[tuple[str, KeyEntry], ...]]:
        teams: list[TeamRow] = []
        keys: list[tuple[str, KeyEntry]] = []
        seen: set[tuple[str, str]] = set()
        names: set[str] = set()
        secrets: dict[str, Path_] = {}
        tiers = self.tiers()
        for i, tenant in enumerate(self.settings.tenants):
            if tenant.name in names:
                raise self.error(("tenants", i, "name"), f"the tenant `{tenant.name}` is there twice")
            names.add(tenant.name)
            self.scope(("tenants", i), f"tenant/{tenant.name}", tenant.limits, tenant.budget)
            for j, team in enumerate(tenant.teams):
                path: Path_ = ("tenants", i, "teams", j)
                if (tenant.name, team.name) in seen:
                    raise self.error((*path, "name"), f"the team `{team.name}` is there twice")
                seen.add((tenant.name, team.name))
                self.model_names((*path, "models"), team.models)
                teams.append(
                    TeamRow(
                        tenant=tenant.name,
                        name=team.name,
                        environment=team.environment,
                        models=tuple(team.models),
                        max_tokens=team.max_tokens,
                        tool_depth=team.tool_depth,
                        passthrough=self.provider_names((*path, "passthrough"), team.passthrough),
                        regions=tuple(one.lower() for one in team.regions),
                        residency=None if team.residency is None else Residency(team.residency),
                        priority=Priority(team.priority),
                        weight=team.weight,
                        tier=team.tier or "",
                    )
                )
                tier = self.tier(path, team, tiers)
                self.scope(
                    path, f"team/{tenant.name}/{team.name}", team.limits or tier.limits, team.budget or tier.budget
                )
                self.projects(path, tenant.name, team)
                if team.each_user is not None:
                    each = team.each_user
                    self.scope((*path, "each_user"), f"user/{tenant.name}/{team.name}", each.limits, each.budget)
                for k, key in enumerate(team.keys):
                    here = (*path, "keys", k)
                    text, entry = self.key(here, tenant.name, team, key)
                    if text in secrets:
                        raise self.error((*here, "secret"), "the same key is used twice")
                    secrets[text] = here
                    self.scope(here, f"key/{tenant.name}/{entry.key_id}", key.limits, key.budget)
                    keys.append((text, entry))
        return tuple(teams), tuple(keys)

    def scope(self, path: Path_, name: str, limits: LimitSettings | None, budget: BudgetSettings | None) -> None:
        """Keep what is limited and budgeted of one scope."""
        if limits is not None:
            self.limits.append(LimitedRow(name, limit_row(limits)))
        if budget is not None:
            try:
                self.budgets.append(BudgetedRow(name, budget_row(budget)))
            except ValueError as error:
                raise self.error((*path, "budget"), str(error)) from error

    def key(self, path: Path_, tenant: str, team: TeamSettings, key: KeySettings) -> tuple[str, KeyEntry]:
        try:
            text = resolve(key.secret, self.loaded.base)
        except ValueError as error:
            raise self.error((*path, "secret"), str(error)) from error
        problem = check_supplied_key(text)
        if problem is not None:
            raise self.error((*path, "secret"), problem)
        if key.models is not None:
            self.model_names((*path, "models"), key.models)
        deployment = key.deployment
        return text, KeyEntry(
            key_id=f"file.{tenant}.{team.name}.{key.name}",
            key_name=key.name,
            tenant=tenant,
            team=team.name,
            environment=team.environment,
            models=None if key.models is None else tuple(key.models),
            deployment=Deployment(deployment.service, deployment.version, deployment.commit),
            priority=None if key.priority is None else Priority(key.priority),
            project=self.project((*path, "project"), team, key.project),
        )

    def model_names(self, path: Path_, names: list[str]) -> None:
        known = self.settings.models
        for i, name in enumerate(names):
            wild = f"{name.partition('/')[0]}/*"
            if name != "*" and name not in known and wild not in known and not name.endswith("/*"):
                raise self.error((*path, i), f"no model `{name}`{near(name, known)}")

    def provider_names(self, path: Path_, names: list[str]) -> tuple[str, ...]:
        known = self.settings.providers
        for i, name in enumerate(names):
            if name != "*" and name not in known:
                raise self.error((*path, i), f"no provider `{name}`{near(name, known)}")
        return tuple(names)

    # --- tiers and projects -------------------------------------------------------------------------------

    def tiers(self) -> dict[str, TierOfTeamsSettings]:
        found: dict[str, TierOfTeamsSettings] = {}
        for i, tier in enumerate(self.settings.tiers):
            if tier.name in found:
                raise self.error(("tiers", i, "name"), f"the tier `{tier.name}` is there twice")
            found[tier.name] = tier
            self.scope(("tiers", i), f"tier/{tier.name}", tier.limits, None)
        return found

    def tier(self, path: Path_, team: TeamSettings, known: dict[str, TierOfTeamsSettings]) -> EachTeamSettings:
        """What a team's tier gives to each of its teams."""
        if team.tier is None:
            return _NO_TIER
        if team.tier not in known:
            raise self.error((*path, "tier"), f"no tier `{team.tier}`{near(team.tier, known)}")
        return known[team.tier].each_team

    def projects(self, path: Path_, tenant: str, team: TeamSettings) -> None:
        seen: set[str] = set()
        for i, project in enumerate(team.projects):
            here: Path_ = (*path, "projects", i)
            if project.name in seen:
                raise self.error((*here, "name"), f"the project `{project.name}` is there twice")
            seen.add(project.name)
            self.scope(here, f"project/{tenant}/{team.name}/{project.name}", project.limits, project.budget)

    def project(self, path: Path_, team: TeamSettings, name: str | None) -> str:
        known = [one.name for one in team.projects]
        if name is not None and name not in known:
            raise self.error(path, f"no project `{name}` in this team{near(name, known)}")
        return name or ""
