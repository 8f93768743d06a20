"""GET on a ticket: whether a person has decided, and what, told in the dialect the call was made in."""

import msgspec

from ostiary.core.call import DialectName
from ostiary.core.error import CallerError, Code, OstiaryError
from ostiary.core.http import JSON_TYPE, Header
from ostiary.core.limit import REVIEW_POLL_SECONDS
from ostiary.core.message import TextPart
from ostiary.core.principal import Principal
from ostiary.core.reply import ChatReply, Choice, FinishReason
from ostiary.core.review import Decision, Verdict
from ostiary.core.usage import Usage
from ostiary.gateway.handover import ACCEPTED, WAITING, slip
from ostiary.gateway.ports import Sink
from ostiary.gateway.world import World


class Poll(msgspec.Struct, frozen=True):
    """Who asks for which ticket; `dialect` is what a failure is told in before anything is known of the ticket."""

    request_id: str
    principal: Principal
    ticket: str
    dialect: DialectName


async def answer_poll(world: World, poll: Poll, sink: Sink) -> None:
    """Tell how a ticket stands: 202 while it waits, the answer, or a failure: object.not_found for what is not this key's,
    review.expired, review.declined. Never raises but for a cancellation."""
    ident: Header = (b"x-request-id", poll.request_id.encode())
    dialect = poll.dialect
    try:
        ticket = None if world.tickets is None else world.tickets.owned(poll.ticket, poll.principal)
        if ticket is None or world.tickets is None:
            raise CallerError(Code.OBJECT_NOT_FOUND, "There is no such ticket.")
        if ticket.until <= world.clock.now_ns() // 1_000_000_000:
            raise CallerError(Code.REVIEW_EXPIRED, "Nobody decided in time, or the decision is no longer kept.")
        decision = await world.tickets.desk.decision(poll.principal.tenant, poll.ticket)
        if decision is None:
            pause: Header = (b"retry-after", b"%d" % REVIEW_POLL_SECONDS)
            body = slip(poll.ticket, status=WAITING, request_id=ticket.request_id, until=ticket.until)
            sink.answer(ACCEPTED, (JSON_TYPE, pause, ident), body)
            return
        dialect = decision.dialect
        if decision.verdict is Verdict.DECLINED:
            raise CallerError(Code.REVIEW_DECLINED, f"A reviewer declined to answer: {decision.text}")
        sink.answer(200, (JSON_TYPE, ident, (b"x-ostiary-review", b"answered")), _told(world, decision))
    except OstiaryError as error:
        answer = world.clients[dialect].encode_error(error, poll.request_id)
        named = {name for name, _ in answer.headers}
        sink.answer(answer.status, (*answer.headers, *(() if ident[0] in named else (ident,))), answer.body)


def _told(world: World, decision: Decision) -> bytes:
    """A person's words as a whole answer in the client's words."""
    choice = Choice((TextPart(decision.text),), FinishReason.STOP)
    return world.clients[decision.dialect].encode_chat_reply(
        ChatReply(decision.request_id, decision.model, (choice,), Usage()), created=decision.at
    )
