"""A call's plan: what the rules and the call itself say, put to `route/plan.py`, and what came of it put on record."""

from collections.abc import Callable, Sequence
from typing import Final

from ostiary.core.capability import NO_NEED, Need
from ostiary.core.error import Code
from ostiary.core.event import Skipped
from ostiary.core.limit import TARGETS_SKIPPED_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.policy.access import Grant
from ostiary.gateway.route.condition import Facts, facts_of
from ostiary.gateway.route.plan import Plan, Scene, nowhere, plan
from ostiary.gateway.world import World
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import ModelRow, Subject

SESSION_HEADER: Final = b"x-ostiary-session"
"""Which conversation a call belongs to, in the caller's own words."""


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

    scene = Scene(
        world.random,
        draft.received_at,
        world.clock.now_ns() // 1_000_000_000,
        world.health,
        bound,
        _subject(arrival, draft, grant.model),
        need,
        judge(world, arrival, draft, bound, need),
        grant.regions,
        grant.private_only,
    )
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
