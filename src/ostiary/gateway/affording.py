"""What a call is put to that its budget affords: its model, or a fallback for calls whose budget has no room for that."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ostiary.core.error import CallerError, Code, OstiaryError
from ostiary.gateway.account import Account
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.policy.access import Grant
from ostiary.gateway.route.plan import Plan
from ostiary.gateway.routing import routed
from ostiary.gateway.task import Task
from ostiary.gateway.world import World
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import ModelRow


class Call(Protocol):
    """What is asked of a call."""

    world: World
    index: Index
    arrival: Arrival
    draft: Draft
    account: Account
    grant: Grant
    task: Task


async def afforded(call: Call, route: Plan, fallbacks: Sequence[tuple[ModelRow, tuple[Code, ...]]]) -> Plan:
    """The plan for which a hold could be had: the one given, or that of the first fallback for want of budget that there
    is room for. Raises as Account.reserve does for the plan given."""
    try:
        await _reserve(call, route)
    except CallerError as error:
        if error.code is not Code.BUDGET_EXHAUSTED:
            raise
        for model, on in fallbacks:
            if Code.BUDGET_EXHAUSTED in on:
                cheaper = await _instead(call, model)
                if cheaper is not None:
                    return cheaper
        raise
    return route


async def _instead(call: Call, model: ModelRow) -> Plan | None:
    try:
        route = routed(
            call.world,
            call.index,
            call.arrival,
            call.draft,
            grant=msgspec.structs.replace(call.grant, model=model),
            fallbacks=(),
            bound=call.account.bound,
            need=call.task.need,
        )
        await _reserve(call, route)
    except OstiaryError:  # it rests, or has no room either: the refusal stays that of the model asked for
        return None
    call.draft.fallback = Code.BUDGET_EXHAUSTED
    return route


async def _reserve(call: Call, route: Plan) -> None:
    waits = call.account.reserve(call.grant, route)
    if waits is not None:
        await waits
