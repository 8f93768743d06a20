"""A call handed over to a person: its request is kept for a reviewer, and whoever asked gets a ticket (202) to poll."""

from typing import Final, Protocol

import msgspec

from ostiary.core.error import OstiaryError
from ostiary.core.http import JSON_TYPE
from ostiary.core.label import Sensitivity
from ostiary.core.limit import REVIEW_BODY_BYTES_MAX, REVIEW_POLL_SECONDS
from ostiary.core.review import Review
from ostiary.gateway.admit.ticket import PATH
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.ports import Kept
from ostiary.gateway.task import Task
from ostiary.gateway.world import World
from ostiary.snapshot.tables import HandoverRow

ACCEPTED: Final = 202
WAITING: Final = "waiting"


class Call(Protocol):
    """What is asked of a call."""

    world: World
    arrival: Arrival
    draft: Draft
    task: Task
    body: bytes


def slip(ticket: str, *, status: str, request_id: str, until: int) -> bytes:
    """What is said of a ticket: JSON of our own, the same in every dialect."""
    return msgspec.json.encode(
        {
            "object": "review.ticket",
            "id": ticket,
            "status": status,
            "request_id": request_id,
            "expires": until,
            "poll": PATH + ticket,
            "poll_after_seconds": REVIEW_POLL_SECONDS,
        }
    )


async def handed_over(call: Call, row: HandoverRow, error: OstiaryError) -> Kept | None:
    """The ticket, once the request is kept durably and the draft says so; None where it must not or cannot be kept: its data
    is regulated, it is larger than REVIEW_BODY_BYTES_MAX, or its tenant's part of the queue is full."""
    world, draft, arrival = call.world, call.draft, call.arrival
    if world.tickets is None or draft.label is Sensitivity.REGULATED or len(call.body) > REVIEW_BODY_BYTES_MAX:
        return None
    at_ns = world.clock.now_ns()
    now_seconds = at_ns // 1_000_000_000
    until = now_seconds + row.ttl_seconds
    principal = arrival.principal
    review = Review(
        id=world.tickets.issue(principal, draft.request_id, until),
        at_ns=at_ns,
        until=until,
        tenant=principal.tenant,
        team=principal.team,
        environment=principal.environment,
        key_id=principal.key_id,
        request_id=draft.request_id,
        model=draft.original_model,
        dialect=arrival.dialect,
        reason=error.code,
        label=draft.label,
        stream=draft.stream,
        project=principal.project,
        callback=row.callback,
    )
    if not await world.tickets.desk.leave(review, call.body):
        return None
    draft.ticket = review.id
    headers = (
        JSON_TYPE,
        (b"location", (PATH + review.id).encode()),
        (b"retry-after", b"%d" % REVIEW_POLL_SECONDS),
    )
    body = slip(review.id, status=WAITING, request_id=draft.request_id, until=until)
    return Kept(headers, (body,), False, b"", "", "", "", now_seconds, now_seconds, now_seconds)
