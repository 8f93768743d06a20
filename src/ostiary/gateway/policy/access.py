"""May this principal make this call? Declarative rules, compiled into nothing but look-ups; pure.

A fallback model is asked about again with the same function before its targets join the plan.
"""

from typing import Final, TypedDict

import msgspec

from ostiary.core.decision import Allow, Decision, Deny
from ostiary.core.error import Code
from ostiary.core.label import Sensitivity
from ostiary.core.limit import MAX_TOKENS_MAX, TOOL_DEPTH_MAX
from ostiary.core.principal import Principal
from ostiary.snapshot.index import Index, allows
from ostiary.snapshot.tables import BudgetedRow, LimitedRow, ModelRow, Residency

_KEPT_MAX: Final = 8_192
"""How many pairs of principal and model are remembered at once."""


class Ask(msgspec.Struct, frozen=True):
    """What the rules look at. `max_tokens` and `tool_depth` are what the call itself holds."""

    model: str
    label: Sensitivity
    max_tokens: int | None = None
    tool_depth: int = 0


class Grant(msgspec.Struct, frozen=True):
    """What one principal may do with one model it may use: bounds on tool rounds and output tokens, and the answer
    where a call keeps them. `private` says that some target is the company's own. `limits` and `budgets` are those of
    all scopes the call belongs to; `each_limit` and `each_budget` hold for each end user on its own. `regions` and
    `private_only` are what the team binds its calls to. `raised` says that some budget has increases. `cap` bounds the
    output of calls that set no bound themselves (None: nothing does)."""

    model: ModelRow
    tool_depth_max: int
    max_tokens_max: int
    private: bool
    allow: Allow
    limits: tuple[LimitedRow, ...] = ()
    budgets: tuple[BudgetedRow, ...] = ()
    each_limit: LimitedRow | None = None
    each_budget: BudgetedRow | None = None
    regions: tuple[str, ...] = ()
    private_only: bool = False
    raised: bool = False
    cap: int | None = None

    def limits_of(self, end_user: str) -> tuple[LimitedRow, ...]:
        """The limits of a call that names this end user (empty: none; the nameless share one)."""
        each = self.each_limit
        return self.limits if each is None else (*self.limits, LimitedRow(f"{each.scope}/{end_user}", each.limit))

    def budgets_of(self, end_user: str) -> tuple[BudgetedRow, ...]:
        """The budgets of a call that names this end user (empty: none; the nameless share one)."""
        each = self.each_budget
        return self.budgets if each is None else (*self.budgets, BudgetedRow(f"{each.scope}/{end_user}", each.budget))

    def decide(self, ask: Ask) -> Decision:
        """Allow with the cap that holds for output tokens, or Deny with its reason."""
        if ask.label is Sensitivity.REGULATED and not self.private:
            return Deny(
                Code.POLICY_SENSITIVITY, f"Regulated data may not go to any target of `{_shown(ask.model)}`.", "model"
            )
        if ask.tool_depth > self.tool_depth_max:
            return Deny(
                Code.POLICY_TOOL_DEPTH,
                f"The conversation holds {ask.tool_depth} consecutive tool rounds; "
                f"at most {self.tool_depth_max} are allowed.",
                "messages",
            )
        if ask.max_tokens is not None and ask.max_tokens > self.max_tokens_max:
            return Deny(
                Code.POLICY_MAX_TOKENS,
                f"{ask.max_tokens} output tokens were asked for; at most {self.max_tokens_max} are allowed here.",
                "max_tokens",
            )
        return self.allow


class Grants:
    """The rules of one snapshot, worked out once for each principal and model. A call holds one from start to end."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._kept: dict[tuple[Principal, str], Grant] = {}

    def find(self, principal: Principal, model: str) -> Grant | Deny:
        """What the principal may do with the model, or why nothing."""
        key = (principal, model)
        found: Grant | Deny | None = self._kept.get(key)
        if found is None:
            found = grant(self.index, principal, model)
            if isinstance(found, Grant):  # what is denied may be any name a caller makes up
                if len(self._kept) >= _KEPT_MAX:
                    self._kept.clear()
                self._kept[key] = found
        return found

    def passthrough(self, principal: Principal, provider: str, model: str) -> Grant | Deny:
        """Whether the principal may reach a provider's own paths, with the model a body names (empty: none)."""
        index = self.index
        team = index.teams.get((principal.tenant, principal.team))
        row = index.passthrough(provider, model)
        if team is None or row is None or not ("*" in team.passthrough or provider in team.passthrough):
            return Deny(
                Code.POLICY_PASSTHROUGH, f"This key's team has no passthrough to a provider `{_shown(provider)}`."
            )
        if model and not any(
            target.provider == provider and target.model in (model, "*")
            for one in index.snapshot.models
            if isinstance(self.find(principal, one.name.replace("*", model)), Grant)
            for target in one.targets
        ):
            return Deny(
                Code.POLICY_MODEL_NOT_ALLOWED, f"This key may not use the model `{_shown(model)}` there.", "model"
            )
        return Grant(
            model=row,
            tool_depth_max=TOOL_DEPTH_MAX,
            max_tokens_max=MAX_TOKENS_MAX,
            private=private_targets(index, row),
            allow=Allow(),
            regions=team.regions,
            private_only=team.residency is Residency.PRIVATE,
            **_scopes(index, principal, ""),
        )


def grant(index: Index, principal: Principal, name: str) -> Grant | Deny:
    """The rules that do not look into the call.

    A model that is not there and one that is not allowed to the caller's environment look the same.
    """
    model = index.model(name)
    team = index.teams.get((principal.tenant, principal.team))
    if team is None:
        return Deny(Code.POLICY_MODEL_NOT_ALLOWED, "The key's team no longer exists.")
    if model is None or (model.environments and principal.environment not in model.environments):
        return Deny(Code.MODEL_NOT_FOUND, f"The model `{_shown(name)}` does not exist here.", "model")
    if not may_use(principal, team.models, name):
        return Deny(Code.POLICY_MODEL_NOT_ALLOWED, f"This key may not use the model `{_shown(name)}`.", "model")
    cap = model.max_tokens
    if team.max_tokens is not None and (cap is None or team.max_tokens < cap):
        cap = team.max_tokens
    scopes = _scopes(index, principal, name)
    return Grant(
        model=model,
        tool_depth_max=TOOL_DEPTH_MAX if team.tool_depth is None else min(team.tool_depth, TOOL_DEPTH_MAX),
        max_tokens_max=MAX_TOKENS_MAX if cap is None else cap,
        private=private_targets(index, model),
        allow=Allow(max_tokens_cap=cap),
        regions=team.regions,
        private_only=team.residency is Residency.PRIVATE,
        cap=_held_at(cap, model) if scopes["budgets"] or scopes["each_budget"] is not None else cap,
        **scopes,
    )


def _held_at(cap: int | None, model: ModelRow) -> int | None:
    """The cap under a budget: a hold is only as good as the bound it stands on."""
    default = model.default_max_tokens
    return default if default is not None and (cap is None or default < cap) else cap


class _Scopes(TypedDict):
    limits: tuple[LimitedRow, ...]
    budgets: tuple[BudgetedRow, ...]
    each_limit: LimitedRow | None
    each_budget: BudgetedRow | None
    raised: bool


def _scopes(index: Index, principal: Principal, model: str) -> _Scopes:
    """The limits and budgets that a call of the principal falls under."""
    tenant, team = principal.tenant, principal.team
    row = index.teams.get((tenant, team))
    names = (
        f"tenant/{tenant}",
        f"team/{tenant}/{team}",
        f"project/{tenant}/{team}/{principal.project}",
        f"key/{tenant}/{principal.key_id}",
        f"model/{model}",
        f"tier/{row.tier if row else ''}",
    )
    each = f"user/{tenant}/{team}"
    budgets = tuple(index.budgets[name] for name in names if name in index.budgets)
    each_budget = index.budgets.get(each)
    return {
        "limits": tuple(index.limits[name] for name in names if name in index.limits),
        "budgets": budgets,
        "each_limit": index.limits.get(each),
        "each_budget": each_budget,
        "raised": any(one.budget.increases for one in (*budgets, each_budget) if one is not None),
    }


def may_use(principal: Principal, team_models: tuple[str, ...], model: str) -> bool:
    """Whether both the team's list and the key's own, where it has one, name the model."""
    return allows(team_models, model) and (principal.models is None or allows(principal.models, model))


def private_targets(index: Index, model: ModelRow) -> bool:
    """Whether any target of a model is private."""
    return any(index.providers[target.provider].residency is Residency.PRIVATE for target in model.targets)


def _shown(name: str) -> str:
    return name if len(name) <= 80 else name[:80] + "…"
