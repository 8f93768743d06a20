"""A call's plan: what the rules and the call itself say, put to `route/plan.py`, and what came of it put on record; which
of its targets is tried now, and after which pause."""

from collections.abc import Callable, Sequence
from typing import Final

from ostiary.core.capability import NO_NEED, Need
from ostiary.core.error import Code, OstiaryError
from ostiary.core.event import BUSY, Skipped
from ostiary.core.label import Sensitivity
from ostiary.core.limit import TARGETS_SKIPPED_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.admit.gate import Queued
from ostiary.gateway.arrival import SESSION_HEADER, Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.policy.access import Grant
from ostiary.gateway.route import backoff
from ostiary.gateway.route.condition import Facts, facts_of
from ostiary.gateway.route.health import Standing
from ostiary.gateway.route.plan import JUDGED, TRY_NEXT, Plan, Scene, nowhere, open_to, plan
from ostiary.gateway.world import World
from ostiary.snapshot.index import Index, Target
from ostiary.snapshot.tables import ModelRow, Subject

_TRY_AGAIN: Final = TRY_NEXT - {
    Code.REQUEST_UNSUPPORTED,
    Code.UPSTREAM_CREDENTIAL,
    Code.UPSTREAM_TLS,
    Code.MODEL_BUSY,
}
"""Failures after which the same target may do better a moment later."""

_UNSENT: Final = (Code.REQUEST_UNSUPPORTED, Code.MODEL_BUSY, *JUDGED)
"""Failures after which another attempt is no load on a provider that has trouble."""

_MAY_BE_TRIED: Final = (Standing.WELL, Standing.PROBE, Standing.SPARED)
"""Targets that may be tried again, the best first."""


def routed(
    world: World,
    index: Index,
    arrival: Arrival,
    draft: Draft,
    *,
    grant: Grant,
    fallbacks: Sequence[tuple[ModelRow, tuple[Code, ...]]],
    bound: Usage,
    need: Callable[[], Need] = lambda: NO_NEED,
) -> Plan:
    """The plan of a call, with at least one target. What kept it from others goes on record. Raises what `nowhere`
    gives where none can take it."""
    bound_by_team = grant.regions or grant.private_only
    targets: tuple[Target, ...] = ()
    if not (fallbacks or bound_by_team or draft.label is Sensitivity.REGULATED):  # as most calls
        targets = open_to(index, grant.model, arrival.operation, world.health, need)
        if len(targets) == 1:
            return Plan(targets, 1)
    scene = Scene(
        world.random,
        draft.received_at,
        world.clock.now_ns() // 1_000_000_000,
        world.health,
        bound,
        _subject(arrival, draft, grant.model),
        need,
        _unsaid if world.conditions.empty else judge(world, arrival, draft, bound, need),
        grant.regions,
        grant.private_only,
    )
    if targets:
        return Plan(world.strategies[grant.model.strategy](targets, scene), len(targets))
    route = plan(
        index,
        grant.model,
        fallbacks,
        operation=arrival.operation,
        label=draft.label,
        strategies=world.strategies,
        scene=scene,
    )
    if route.dropped:
        draft.route = tuple(Skipped(one.target, one.reason) for one in route.dropped[:TARGETS_SKIPPED_MAX])
        draft.strategy = grant.model.strategy
    if not route.targets:
        raise nowhere(route, arrival.operation)
    return route


def check_places(world: World, index: Index, arrival: Arrival, model: ModelRow) -> None:
    """Refuse a call for whose model every place is taken and wanted, before it costs anything more; unless a kept answer
    or a fallback may serve it. Raises GatewayError model.busy."""
    if model.cache is not None or model.fallbacks:
        return
    gates = [world.gates.of(target) for target in index.targets(model, arrival.operation)]
    if not gates or any(gate is None or gate.room.free for gate in gates):
        return
    queued = Queued(index, arrival.principal)
    refusals = [None if gate is None else gate.refusal(queued) for gate in gates]
    soonest = min((one for one in refusals if one is not None), key=lambda one: one.seconds, default=None)
    if soonest is not None and None not in refusals:
        raise soonest.gate.shed(soonest, queued.priority)


def free_place(world: World, draft: Draft, route: Plan, place: int) -> int:
    """The place of the first target of the model's own, from one on, that can take a call now; where all are full, that
    one. Those passed over go on record."""
    targets, gates = route.targets, world.gates
    if place >= route.fallback_from:
        return place
    for other in range(place, route.fallback_from):
        gate = gates.of(targets[other])
        if gate is None or gate.room.free:
            if other > place:
                full = tuple(Skipped(target.name, BUSY) for target in targets[place:other])
                draft.route = (*draft.route, *full)[:TARGETS_SKIPPED_MAX]
                draft.strategy = targets[place].model.strategy
            return other
    return place


def may_go_on(world: World, failed: Target, following: Target | None, error: OstiaryError, now: float) -> bool:
    """Whether a failed attempt may be followed by another, at `following` or, with None, at any target once more: out of
    the retry budget of the target that failed, so that a provider's bad day is not answered with more load. What goes to
    another provider with which nothing is wrong is no load on the one that has trouble, and needs none."""
    if error.code in _UNSENT:
        return True
    elsewhere = following is not None and following.provider.name != failed.provider.name
    if following is not None and elsewhere and world.health.of(following.name, now).sound(now):
        return True
    return world.health.of(failed.name, now).may_retry(now)


async def pause(
    world: World, targets: tuple[Target, ...], error: OstiaryError, *, attempts: int, deadline: float
) -> int:
    """Every target was tried, `attempts` times in all. Wait before trying one of them again; its place, or -1 where none may
    be, or not before the deadline."""
    if error.code not in _TRY_AGAIN:
        return -1
    wait = backoff.pause_seconds(attempts, error.retry_after_seconds, world.random)
    if world.clock.monotonic() + wait >= deadline:
        return -1
    await world.sleep(wait)
    now = world.clock.monotonic()
    standing = [world.health.standing(target.name, now) for target in targets]
    return next((standing.index(one) for one in _MAY_BE_TRIED if one in standing), -1)


def _subject(arrival: Arrival, draft: Draft, model: ModelRow) -> str:
    """What keeps the caller at one target: as the model says; its key where the call names nothing of the kind. Two
    tenants never share a subject."""
    principal = arrival.principal
    if model.subject is Subject.SESSION:
        session = arrival.headers.get(SESSION_HEADER)
        if session:
            return f"{principal.tenant}\0{session.decode('latin-1')}"
    elif model.subject is Subject.END_USER and draft.end_user:
        return draft.end_user
    return principal.key_id


def judge(
    world: World, arrival: Arrival, draft: Draft, bound: Usage, need: Callable[[], Need]
) -> Callable[[str], bool | None]:
    """Whether a condition holds for the call; None where that cannot be said."""

    def facts() -> Facts:
        return facts_of(
            arrival.principal,
            model=draft.original_model,
            operation=arrival.operation,
            stream=draft.stream,
            label=draft.label,
            input_tokens=bound.input_tokens,
            need=need(),
            metadata=arrival.options.metadata.fields,
        )

    return world.conditions.on(facts)


def _unsaid(_: str) -> None:
    """What is said of a condition where none could be compiled."""
