"""Tenants, their teams and the keys that the operator supplies."""

from typing import Annotated, Literal

from msgspec import Meta

from ostiary.core.limit import MAX_TOKENS_MAX, TEAM_WEIGHT_COUNT_MAX, TOOL_DEPTH_MAX
from ostiary.settings.limit import BudgetSettings, EachUserSettings, LimitSettings
from ostiary.settings.section import EnvironmentWord, Name, PriorityWord, Section


class DeploymentSettings(Section, frozen=True, kw_only=True):
    """The deployment a key belongs to."""

    service: str = ""
    version: str = ""
    commit: str = ""


class ProjectSettings(Section, frozen=True, kw_only=True):
    """A part of a team's work with limits and a budget of its own; keys say which they are for."""

    name: Name
    limits: LimitSettings | None = None
    budget: BudgetSettings | None = None


class EachTeamSettings(Section, frozen=True, kw_only=True):
    """What each team of a tier has where it says nothing else."""

    limits: LimitSettings | None = None
    budget: BudgetSettings | None = None


class TierOfTeamsSettings(Section, frozen=True, kw_only=True):
    """A level of service: what all its teams may take together, and what each of them has that says nothing else."""

    name: Name
    limits: LimitSettings | None = None
    each_team: EachTeamSettings = EachTeamSettings()


class KeySettings(Section, frozen=True, kw_only=True):
    """A key the operator supplies: any form of at least 24 characters."""

    name: Name
    secret: str
    project: Name | None = None
    models: list[str] | None = None
    limits: LimitSettings | None = None
    budget: BudgetSettings | None = None
    deployment: DeploymentSettings = DeploymentSettings()
    priority: PriorityWord | None = None


class TeamSettings(Section, frozen=True, kw_only=True):
    """A team: its environment, the models it may use, its keys."""

    name: Name
    environment: EnvironmentWord = "production"
    models: list[str] = []
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS_MAX)] | None = None
    tool_depth: Annotated[int, Meta(ge=0, le=TOOL_DEPTH_MAX)] | None = None
    passthrough: list[str] = []
    regions: list[Name] = []
    residency: Literal["private"] | None = None
    limits: LimitSettings | None = None
    budget: BudgetSettings | None = None
    each_user: EachUserSettings | None = None
    priority: PriorityWord = "standard"
    weight: Annotated[int, Meta(ge=1, le=TEAM_WEIGHT_COUNT_MAX)] = 1
    tier: Name | None = None
    projects: list[ProjectSettings] = []
    keys: list[KeySettings] = []


class TenantSettings(Section, frozen=True, kw_only=True):
    """A tenant and its teams."""

    name: Name
    limits: LimitSettings | None = None
    budget: BudgetSettings | None = None
    teams: list[TeamSettings] = []
