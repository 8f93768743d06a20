"""Where a call goes: an ordered, finite list of targets, decided once; pure.

Each target of the model stands in it at most once, then one chosen target of the fallback model. A target that
the label forbids, whose dialect lacks the operation or whose model is known not to do what the call needs never enters
the plan.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Final, Protocol

import msgspec

from ostiary.core.call import Operation
from ostiary.core.capability import NO_NEED, Need
from ostiary.core.error import REASONS, CallerError, Code, OstiaryError, UpstreamError
from ostiary.core.event import CONDITION_FAILED
from ostiary.core.label import Sensitivity
from ostiary.core.limit import EJECTED_SHARE_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.route.fitness import CODES, refusal, unfit
from ostiary.gateway.route.health import Health, Standing
from ostiary.snapshot.index import Index, Target
from ostiary.snapshot.tables import ModelRow, Residency

NOT_PRIVATE: Final = "not private"
CONDITION: Final = "condition"
REGION: Final = "region"
REGION_UNKNOWN: Final = "region unknown"
DROPS: Final = (NOT_PRIVATE, REGION, REGION_UNKNOWN, CONDITION, CONDITION_FAILED)
"""Why a target is left out, besides a reason code of `fitness.py` and a standing of `health.py`."""

_UNABLE: Final = frozenset({*CODES.values(), Code.CAPABILITY_CONTEXT_WINDOW, Code.CAPABILITY_MAX_TOKENS})

_MUST_REST: Final = (Standing.RESTING, Standing.CREDENTIAL)

_RESTS: Final = {
    Code.UPSTREAM_RATE_LIMITED: "The rate limit of every target is used up",
    Code.UPSTREAM_OVERLOADED: "Every target is overloaded",
    Code.UPSTREAM_CREDENTIAL: "The credential was refused",
}


TRY_NEXT: Final = frozenset(
    {
        Code.UPSTREAM_UNREACHABLE,
        Code.UPSTREAM_TLS,
        Code.UPSTREAM_TIMEOUT,
        Code.UPSTREAM_PROTOCOL,
        Code.UPSTREAM_CUT,
        Code.UPSTREAM_CREDENTIAL,
        Code.UPSTREAM_RATE_LIMITED,
        Code.UPSTREAM_OVERLOADED,
        Code.UPSTREAM_ERROR,
        Code.REQUEST_UNSUPPORTED,
        Code.MODEL_BUSY,
    }
)
"""Failures after which another target may do better. A refusal of the request itself is not among them."""

JUDGED: Final = frozenset({Code.UPSTREAM_SCHEMA, Code.UPSTREAM_QUALITY, Code.GUARD_ANSWER})
"""What is said of an answer that came and is not good enough: its provider is well, and only a fallback that stands for
just this is tried."""


class Draw(Protocol):
    """Uniform numbers in [0, 1)."""

    def random(self) -> float: ...


class Scene(msgspec.Struct, frozen=True):
    """What a strategy may look at besides the targets: chance, the time (monotonic and wall-clock seconds), what is
    known of the targets, the most the call may consume, what keeps a caller at one target (its session, or its key),
    what the call needs of a model, asked for only where a target has known limits, and whether a condition holds for
    it (None: that cannot be said). `regions` and `private_only` are what its team binds it to."""

    draw: Draw
    now: float
    now_seconds: int
    health: Health
    bound: Usage
    subject: str
    need: Callable[[], Need] = lambda: NO_NEED
    holds: Callable[[str], bool | None] = lambda _: None
    regions: tuple[str, ...] = ()
    private_only: bool = False


class Strategy(Protocol):
    """Orders the targets of one model; each file in `strategies/` has one. It returns every target exactly once."""

    def __call__(self, targets: tuple[Target, ...], scene: Scene) -> tuple[Target, ...]: ...


class Dropped(msgspec.Struct, frozen=True):
    """A target that is not in a plan, and why; where it rests, the failure for which it does; where the call passes a
    limit of it, that limit in tokens."""

    target: str
    reason: str
    trouble: Code | None = None
    limit: int | None = None


class Plan(msgspec.Struct, frozen=True):
    """Targets in the order in which they are tried; from `fallback_from` on they belong to fallback models, one each,
    tried only after the failures in `after`. Empty where no target can take the call: `dropped` says why each was left
    out, `retry_after_seconds` when one of them may be back (0.0: never, of its own)."""

    targets: tuple[Target, ...]
    fallback_from: int
    after: tuple[tuple[Code, ...], ...] = ()
    dropped: tuple[Dropped, ...] = ()
    retry_after_seconds: float = 0.0

    def following(self, place: int, code: Code) -> int:
        """The place of the target to try after the one at `place` failed with `code`, or -1: the model's own others
        first, then the fallbacks that stand ready for such a failure."""
        if place + 1 < self.fallback_from and code in TRY_NEXT:
            return place + 1
        for other in range(max(place + 1, self.fallback_from), len(self.targets)):
            if code in self.after[other - self.fallback_from]:
                return other
        return -1


def open_to(
    index: Index, model: ModelRow, operation: Operation, health: Health, need: Callable[[], Need]
) -> tuple[Target, ...]:
    """The targets of a model with no fallback, whose caller is not bound to regions or private providers, where the call
    may go to each of them, in no order yet; empty where there is more to look at."""
    if model.regions or health.troubled:
        return ()
    targets = index.targets(model, operation)
    for target in targets:
        if target.when or (target.traits is not None and unfit(target.traits, need()) is not None):
            return ()
    return targets


def plan(
    index: Index,
    model: ModelRow,
    fallbacks: Sequence[tuple[ModelRow, tuple[Code, ...]]],
    *,
    operation: Operation,
    label: Sensitivity,
    strategies: Mapping[str, Strategy],
    scene: Scene,
) -> Plan:
    """The plan for a call to `model`. Its `fallbacks`, each with the failures after which it is tried, are those that
    policy has already allowed."""
    first, dropped = _ordered(index, model, scene, operation=operation, label=label, strategies=strategies)
    if not fallbacks and first:
        return Plan(first, len(first), (), dropped)
    second: list[Target] = []
    after: list[tuple[Code, ...]] = []
    troubles = frozenset(one.trouble for one in dropped)
    for row, codes in fallbacks:
        if not first and troubles.isdisjoint(codes) and None not in troubles:
            continue
        # What binds the model that was asked for binds whoever stands in for it.
        found, more = _ordered(
            index, row, scene, operation=operation, label=label, strategies=strategies, bound_to=model.regions
        )
        dropped += more
        if found:
            second.append(found[0])
            after.append(codes)
    wait = 0.0
    if not first and not second and any(one.reason == Standing.SPARED for one in dropped):
        # Nobody said when it will be well again, and no other can take the call: better to ask than to refuse.
        first, dropped = _ordered(
            index, model, scene, operation=operation, label=label, strategies=strategies, spare=False
        )
    if not first and not second:
        kept_out = {(one.target, one.trouble) for one in dropped}
        back = [
            scene.health.of(target.name, scene.now).back_at()
            for row in (model, *(row for row, _ in fallbacks))
            for target in index.targets(row, operation)
            if (target.name, None) not in kept_out
        ]
        wait = max(min(back, default=0.0) - scene.now, 0.0)
    return Plan((*first, *second), len(first), tuple(after), dropped, wait)


def _ordered(
    index: Index,
    model: ModelRow,
    scene: Scene,
    *,
    operation: Operation,
    label: Sensitivity,
    strategies: Mapping[str, Strategy],
    spare: bool = True,
    bound_to: tuple[str, ...] = (),
) -> tuple[tuple[Target, ...], tuple[Dropped, ...]]:
    """The targets of one model that may be tried, in order, and those that may not; with `spare` also without those
    that had better be passed over. `bound_to` are further regions they must be in."""
    offered = index.targets(model, operation)
    dropped: tuple[Dropped, ...] = ()
    if label is Sensitivity.REGULATED or scene.private_only:
        kept = tuple(target for target in offered if target.provider.residency is Residency.PRIVATE)
        dropped = tuple(Dropped(target.name, NOT_PRIVATE) for target in offered if target not in kept)
        offered = kept
    for regions in (model.regions, scene.regions, bound_to):
        if regions:
            offered, more = _within(offered, regions)
            dropped += more
    for target in offered:
        if target.when:
            offered, more = _wanted(offered, scene)
            dropped += more
            break
    for target in offered:
        if target.traits is not None:
            offered, more = _able(offered, scene.need())
            dropped += more
            break
    if scene.health.troubled:
        standing = tuple(scene.health.standing(target.name, scene.now) for target in offered)
        if any(one is not Standing.WELL for one in standing):
            offered, more = _fit(offered, standing, scene, spare=spare)
            dropped += more
    if len(offered) > 1:
        offered = strategies[model.strategy](offered, scene)
    return offered, dropped


def _within(targets: tuple[Target, ...], regions: tuple[str, ...]) -> tuple[tuple[Target, ...], tuple[Dropped, ...]]:
    """The targets whose provider is known to run in one of the regions."""
    kept = tuple(target for target in targets if target.provider.region in regions)
    if len(kept) == len(targets):
        return targets, ()
    return kept, tuple(
        Dropped(target.name, REGION if target.provider.region else REGION_UNKNOWN)
        for target in targets
        if target.provider.region not in regions
    )


def _wanted(targets: tuple[Target, ...], scene: Scene) -> tuple[tuple[Target, ...], tuple[Dropped, ...]]:
    """The targets without those whose condition does not hold."""
    kept: list[Target] = []
    dropped: list[Dropped] = []
    for target in targets:
        said = scene.holds(target.when) if target.when else True
        if said:
            kept.append(target)
        else:
            dropped.append(Dropped(target.name, CONDITION_FAILED if said is None else CONDITION))
    return tuple(kept), tuple(dropped)


def _able(targets: tuple[Target, ...], need: Need) -> tuple[tuple[Target, ...], tuple[Dropped, ...]]:
    """The targets without those that certainly cannot do what a call needs."""
    kept: list[Target] = []
    dropped: list[Dropped] = []
    for target in targets:
        reason = None if target.traits is None else unfit(target.traits, need)
        if reason is None:
            kept.append(target)
        else:
            dropped.append(Dropped(target.name, reason[0], limit=reason[1]))
    return (tuple(kept), tuple(dropped)) if dropped else (targets, ())


def _fit(
    targets: tuple[Target, ...], standing: tuple[Standing, ...], scene: Scene, *, spare: bool
) -> tuple[tuple[Target, ...], tuple[Dropped, ...]]:
    """The targets without those that must not be called now. No more than EJECTED_SHARE_MAX of them are left out as
    ejected, the longest ejected first: where most fail, the fault is rather ours or the network's, and somebody must
    find out when it ends. Where nothing else is left, one call at a time goes to the target that is due next."""
    rests = (*_MUST_REST, Standing.SPARED) if spare else _MUST_REST
    out = [target for target, one in zip(targets, standing, strict=True) if one in rests]
    ejected = [target for target, one in zip(targets, standing, strict=True) if one is Standing.EJECTED]
    ejected.sort(key=lambda target: -scene.health.of(target.name, scene.now).ejected_until)
    most = max(int(len(targets) * EJECTED_SHARE_MAX), 1)
    for target in ejected[most:]:
        if scene.health.of(target.name, scene.now).in_flight:
            most += 1  # one call is finding out already
    out += ejected[:most]
    names = dict(zip((target.name for target in targets), standing, strict=True))
    return (
        tuple(target for target in targets if target not in out),
        tuple(
            Dropped(target.name, names[target.name], scene.health.of(target.name, scene.now).trouble) for target in out
        ),
    )


def instead(route: Plan) -> Code:
    """Why a fallback stands first in a plan: what the model's own targets cannot do or may not take, or that none of
    them works."""
    unable = next((Code(one.reason) for one in route.dropped if one.reason in _UNABLE), None)
    if unable is None and route.dropped and all(one.reason in DROPS for one in route.dropped):
        return Code.MODEL_UNSUITABLE
    return unable or Code.UPSTREAM_UNAVAILABLE


def nowhere(route: Plan, operation: Operation) -> OstiaryError:
    """Why no target can take a call: none offers it, none is able to, or all of them rest."""
    reasons = {one.reason for one in route.dropped}
    unable = [one for one in route.dropped if one.reason in _UNABLE]
    if unable and reasons <= _UNABLE.union(DROPS):
        return refusal(Code(unable[0].reason), unable[0].limit)
    if reasons & {REGION, REGION_UNKNOWN} and reasons <= set(DROPS):
        told = REASONS[Code.POLICY_RESIDENCY]
        return CallerError(Code.POLICY_RESIDENCY, f"{told.cause} {told.advice}", param="model")
    if reasons & {CONDITION, CONDITION_FAILED} and reasons <= set(DROPS):
        told = REASONS[Code.MODEL_CONDITION]
        return CallerError(Code.MODEL_CONDITION, f"{told.cause} {told.advice}", param="model")
    if not reasons or reasons == {NOT_PRIVATE}:
        return CallerError(Code.MODEL_UNSUITABLE, f"No target of this model offers {operation}.", param="model")
    wait = route.retry_after_seconds
    troubles = {one.trouble for one in route.dropped if one.trouble is not None}
    if reasons - _UNABLE.union(DROPS) <= {Standing.RESTING, Standing.CREDENTIAL} and len(troubles) == 1:
        (code,) = troubles
        return UpstreamError(code, f"{_RESTS[code]}; it is asked again in {ceil(wait)} s.", retry_after_seconds=wait)
    return UpstreamError(
        Code.UPSTREAM_UNAVAILABLE, "No target of this model works at the moment.", retry_after_seconds=wait
    )
