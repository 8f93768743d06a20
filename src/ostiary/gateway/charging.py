"""What an attempt consumed, and whether what its provider says of that can be so."""

from typing import Protocol

from ostiary.core.call import Operation
from ostiary.core.capability import Capability
from ostiary.core.event import Doubt
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.meter import price
from ostiary.gateway.meter.doubt import at_least, doubt
from ostiary.gateway.task import Task
from ostiary.snapshot.index import Index, Target


class Call(Protocol):
    """What is needed of the call."""

    index: Index
    arrival: Arrival
    draft: Draft
    task: Task


def charge(call: Call, target: Target, usage: Usage | None, produced_bytes: int, seconds: int, *, whole: bool) -> None:
    """Add what an attempt consumed: as reported, or counted by us where the provider gave no usage, or gave one for less
    than it said. `produced_bytes` is how much of a chat it said, 0 where there is no need to know; `whole`: to its end. An
    answer that broke off may have had no more than the beginning of its report."""
    draft = call.draft
    estimated = usage is None
    if usage is None:
        usage = call.task.estimated(produced_bytes)
        if usage is None:
            return
    elif produced_bytes and call.arrival.operation is Operation.CHAT:
        doubted = doubt(usage, produced_bytes)
        if doubted is Doubt.USAGE_LESS or not whole:
            own = call.task.estimated(produced_bytes)
            if own is not None and own.output_tokens > usage.output_tokens:
                usage, estimated = at_least(usage, own), True
        # Thinking that is neither shown nor reported as such is billed all the same.
        if doubted is not None and whole and not (doubted is Doubt.USAGE_MORE and _thinks(call.task)):
            _note(draft, doubted)
    told = draft.response_model
    if told and told != target.request_model and call.index.sells_apart(target, told):
        _note(draft, Doubt.MODEL)
    cost = price.charge(target.price(seconds), call.index.snapshot.pricing, usage, estimated=estimated)
    draft.consumed(usage, cost, estimated=estimated)


def _thinks(task: Task) -> bool:
    return Capability.THINKING in task.need().capabilities


def _note(draft: Draft, one: Doubt) -> None:
    if one not in draft.doubts:
        draft.doubts = (*draft.doubts, one)
