"""May this principal make this call? Declarative rules, compiled into nothing but look-ups; pure.

A fallback model is asked about again with the same function before its targets join the plan.
"""

import msgspec

from ostiary.core.decision import Allow, Decision, Deny
from ostiary.core.error import Code
from ostiary.core.label import Sensitivity
from ostiary.core.limit import MAX_TOKENS_MAX, TOOL_DEPTH_MAX
from ostiary.core.principal import Principal
from ostiary.snapshot.index import Index, allows
from ostiary.snapshot.tables import ModelRow, Residency


class Ask(msgspec.Struct, frozen=True):
    """What the rules look at. `max_tokens` and `tool_depth` are what the call itself holds."""

    model: str
    label: Sensitivity
    max_tokens: int | None = None
    tool_depth: int = 0


def decide(index: Index, principal: Principal, ask: Ask) -> Decision:
    """Allow with the cap that holds for output tokens, or Deny with its reason.

    A model that is not there and one that is not allowed to the caller's environment look the same.
    """
    model = index.model(ask.model)
    team = index.teams.get((principal.tenant, principal.team))
    if team is None:
        return Deny(Code.POLICY_MODEL_NOT_ALLOWED, "The key's team no longer exists.")
    if model is None or (model.environments and principal.environment not in model.environments):
        return Deny(Code.MODEL_NOT_FOUND, f"The model `{_shown(ask.model)}` does not exist here.", "model")
    if not may_use(principal, team.models, ask.model):
        return Deny(Code.POLICY_MODEL_NOT_ALLOWED, f"This key may not use the model `{_shown(ask.model)}`.", "model")
    if ask.label is Sensitivity.REGULATED and not private_targets(index, model):
        return Deny(
            Code.POLICY_SENSITIVITY, f"Regulated data may not go to any target of `{_shown(ask.model)}`.", "model"
        )
    depth = TOOL_DEPTH_MAX if team.tool_depth is None else min(team.tool_depth, TOOL_DEPTH_MAX)
    if ask.tool_depth > depth:
        return Deny(
            Code.POLICY_TOOL_DEPTH,
            f"The conversation holds {ask.tool_depth} consecutive tool rounds; at most {depth} are allowed.",
            "messages",
        )
    cap = model.max_tokens
    if team.max_tokens is not None and (cap is None or team.max_tokens < cap):
        cap = team.max_tokens
    bound = MAX_TOKENS_MAX if cap is None else cap
    if ask.max_tokens is not None and ask.max_tokens > bound:
        return Deny(
            Code.POLICY_MAX_TOKENS,
            f"{ask.max_tokens} output tokens were asked for; at most {bound} are allowed here.",
            "max_tokens",
        )
    return Allow(max_tokens_cap=cap)


def may_use(principal: Principal, team_models: tuple[str, ...], model: str) -> bool:
    """Whether both the team's list and the key's own, where it has one, name the model."""
    return allows(team_models, model) and (principal.models is None or allows(principal.models, model))


def private_targets(index: Index, model: ModelRow) -> bool:
    """Whether any target of a model is private."""
    return any(index.providers[target.provider].residency is Residency.PRIVATE for target in model.targets)


def _shown(name: str) -> str:
    return name if len(name) <= 80 else name[:80] + "…"
