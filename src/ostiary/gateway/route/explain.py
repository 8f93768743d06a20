"""Why a call goes where it goes, in words: the plan itself, and for every target what kept it in, out, or in its place.

Pure, and the same rules as on the way of a call: it asks `plan`, and knows nothing better.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ostiary.core.call import Operation
from ostiary.core.error import REASONS, Code
from ostiary.core.event import CONDITION_FAILED
from ostiary.core.label import Sensitivity
from ostiary.gateway.route.plan import (
    CONDITION,
    NOT_PRIVATE,
    REGION,
    REGION_UNKNOWN,
    Dropped,
    Plan,
    Scene,
    Strategy,
    plan,
)
from ostiary.snapshot.index import Index, Target
from ostiary.snapshot.tables import DegradedAnswerRow, ModelRow

OPERATION: Final = "operation"
BEHIND: Final = "one target is enough"
"""Of a fallback model only the target that comes first joins the plan."""

_CODES: Final = frozenset(map(str, Code))
_LIVE: Final = {
    "least-latency": "by the time to the first byte, which only a running worker knows",
    "least-busy": "by the calls under way, which only a running worker knows",
}
_WORDS: Final = {
    OPERATION: "its provider has no endpoint for this operation",
    NOT_PRIVATE: "regulated data, and what a team binds so, goes to private targets alone",
    REGION_UNKNOWN: "the model or the team is bound to regions, and where its provider runs is not known",
    BEHIND: BEHIND,
}


class Candidate(msgspec.Struct, frozen=True):
    """One target of the model or of a fallback. `place` is its turn, from 1, or None where it is left out, then for
    `reason`; `why` says that, or what put it in its place, in words. `on` are the failures after which a fallback's is
    tried."""

    model: str
    target: str
    residency: str
    region: str
    place: int | None
    reason: str
    why: str
    on: tuple[str, ...] = ()


class Explained(msgspec.Struct, frozen=True):
    """A plan in words. `checks` is what answers are checked for before they are given, `instead` what may be said in place
    of the failures in `instead_on`, in this order: a text, what a webhook says, a hand-over to a person."""

    model: str
    strategy: str
    candidates: tuple[Candidate, ...]
    checks: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    instead_on: tuple[str, ...] = ()


def explain(
    index: Index,
    model: ModelRow,
    fallbacks: Sequence[tuple[ModelRow, tuple[Code, ...]]],
    *,
    operation: Operation,
    label: Sensitivity,
    strategies: Mapping[str, Strategy],
    scene: Scene,
) -> Explained:
    """The plan of such a call, with every target it might have had, those that are tried first."""
    route = plan(index, model, fallbacks, operation=operation, label=label, strategies=strategies, scene=scene)
    found: list[Candidate] = []
    for row, codes in ((model, ()), *fallbacks):
        offered = {target.name: target for target in index.targets(row, operation)}
        for one in row.targets:
            name = f"{one.provider}/{one.model}"
            provider = index.providers[one.provider]
            reason, why = OPERATION, _WORDS[OPERATION]
            place = None
            if name in offered:
                place = _place(route, row, name)
                reason, why = _told(route, offered[name], offered, place, scene)
            found.append(
                Candidate(
                    row.name, name, provider.residency, provider.region, place, reason, why, tuple(map(str, codes))
                )
            )
    order = sorted(found, key=lambda one: (one.place is None, one.place or 0))
    ready = model.degraded
    return Explained(
        model.name,
        model.strategy,
        tuple(order),
        _checks(model),
        () if ready is None else tuple(map(_kind, ready.answers)),
        () if ready is None else tuple(map(str, ready.on)),
    )


def _checks(model: ModelRow) -> tuple[str, ...]:
    row = model.checks
    if row is None:
        return ()
    return (*(("schema",) if row.schema else ()), *(("quality",) if row.quality is not None else ()))


def _kind(answer: DegradedAnswerRow) -> str:
    if answer.handover is not None:
        return "handover"
    return "text" if answer.webhook is None else "webhook"


def _place(route: Plan, row: ModelRow, name: str) -> int | None:
    for place, target in enumerate(route.targets, start=1):
        if target.name == name and target.model.name == row.name:
            return place
    return None


def _told(
    route: Plan, target: Target, offered: Mapping[str, Target], place: int | None, scene: Scene
) -> tuple[str, str]:
    if place is not None:
        left = {one.target for one in route.dropped}
        return "", _order(target, [one for name, one in offered.items() if name not in left], scene)
    for one in route.dropped:
        if one.target == target.name:
            return one.reason, _words(one, target)
    return BEHIND, f"{BEHIND}: of a fallback the first is tried"


def _words(dropped: Dropped, target: Target) -> str:
    reason = dropped.reason
    if reason == REGION:
        return f"the model or the team is bound to other regions than `{target.provider.region}`"
    if reason == CONDITION:
        return f"its condition does not hold: {target.when}"
    if reason == CONDITION_FAILED:
        return f"its condition cannot be answered for this call: {target.when}"
    if reason in _WORDS:
        return _WORDS[reason]
    if reason in _CODES:
        limit = "" if dropped.limit is None else f" The limit is {dropped.limit} tokens."
        return REASONS[Code(reason)].cause + limit
    return reason


def _order(target: Target, rivals: Sequence[Target], scene: Scene) -> str:
    """What puts a target in its place, by the strategy of its model."""
    strategy = target.model.strategy
    if len(rivals) < 2:
        return "the only one left"
    total = sum(one.weight for one in rivals)
    share = f"weight {target.weight} of {total}" if total else "weight 0"
    match strategy:
        case "weighted":
            return f"{share}: first for {_percent(target.weight, total)} of calls, by chance"
        case "sticky" | "split":
            return f"{share}: first for {_percent(target.weight, total)} of subjects; this is `{scene.subject}`"
        case "cheapest":
            row = target.price(scene.now_seconds)
            if row is None:
                return "no price is known"
            bound, rates = scene.bound, row.rates
            nano = (bound.input_tokens * rates.input + bound.output_tokens * rates.output) // 1_000_000
            return f"{nano / 1e9:.9f} {row.currency} for {bound.input_tokens} tokens in and {bound.output_tokens} out"
        case "priority":
            return "the order of the file"
        case _:
            return _LIVE.get(strategy, strategy)


def _percent(part: int, total: int) -> str:
    return f"{part / total:.1%}" if total else "none"
