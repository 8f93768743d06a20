"""A call with an idempotency key: whether it is the first, and what a repetition gets."""

import hashlib
from collections.abc import AsyncIterator
from typing import Final

from ostiary.core.error import CallerError, Code
from ostiary.core.http import Header
from ostiary.core.label import Sensitivity
from ostiary.gateway.admit.idempotency import Idempotency
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.ports import Receipt, Recording, Replay, ReplayHead
from ostiary.gateway.world import World

KEY_HEADER: Final = b"idempotency-key"
REPLAYED: Final = "replay"
_RESUME_HEADER: Final = b"last-event-id"
_OURS: Final = (b"x-ostiary-", b"x-ratelimit-", b"anthropic-ratelimit-", b"x-request-id", b"request-id", b"age")

NOT_DONE: Final = frozenset(
    {
        Code.UPSTREAM_UNREACHABLE,
        Code.UPSTREAM_TLS,
        Code.UPSTREAM_CREDENTIAL,
        Code.UPSTREAM_RATE_LIMITED,
        Code.UPSTREAM_OVERLOADED,
        Code.UPSTREAM_UNAVAILABLE,
        Code.AUDIT_UNAVAILABLE,
        Code.GATEWAY_OVERLOADED,
        Code.GATEWAY_DRAINING,
        Code.GATEWAY_INTERNAL,
    }
)
"""Failures after which certainly nothing was done: the key is free again, and repeating the call does it."""


def was_done(draft: Draft, receipt: Receipt | None) -> bool:
    """Whether a repetition is to get what this call gave: an answer, a failure after which something may have been done, or
    the ticket of a person's answer; not what stood in for a failure."""
    if draft.cache or draft.ticket:
        return True
    return not draft.degraded and receipt is not None and draft.error not in NOT_DONE


class Again:
    """What a repetition gets: the head of the first answer, without what told of that call alone, and its pieces."""

    def __init__(self, replay: Replay, head: ReplayHead, after: int) -> None:
        self._replay = replay
        self._after = after if head.streamed else 0
        self.status = head.status
        self.streamed = head.streamed
        self.keepalive = head.keepalive
        self.headers: tuple[Header, ...] = (
            *(pair for pair in head.headers if not pair[0].startswith(_OURS)),
            (b"idempotent-replayed", b"true"),
        )

    def pieces(self) -> AsyncIterator[bytes]:
        """Its pieces behind those that the client has."""
        return self._replay.pieces(self._after)

    def close(self) -> None:
        """To be called when it is no longer needed."""
        self._replay.close()


async def claim(world: World, arrival: Arrival, draft: Draft) -> tuple[Recording, None] | tuple[None, Again]:
    """The place of a call's answer, or the answer that is there. Raises CallerError idempotency.*, GatewayError."""
    asked = hashlib.sha256(
        b"\x00".join((draft.prompt_digest.encode(), draft.original_model.encode(), arrival.query, b"%d" % draft.stream))
    ).hexdigest()
    path = b"/".join((arrival.dialect.encode(), arrival.operation.encode(), arrival.rest))
    one = world.idempotency.read(
        arrival.headers[KEY_HEADER], arrival.principal, path, asked, arrival.headers.get(_RESUME_HEADER)
    )
    recording, replay = await world.replays.claim(one.name, one.seal, one.fingerprint)
    if recording is not None:
        if draft.label is Sensitivity.REGULATED:
            recording.forbid()
        return recording, None
    assert replay is not None
    try:
        return None, Again(replay, await _head(replay, one, stream=draft.stream), one.after or 0)
    except BaseException:
        replay.close()
        raise


async def _head(replay: Replay, asked: Idempotency, *, stream: bool) -> ReplayHead:
    """The head of an answer that a repetition may have."""
    if replay.fingerprint != asked.fingerprint:
        raise CallerError(
            Code.IDEMPOTENCY_MISMATCH, "This idempotency key was used for another request.", param=KEY_HEADER.decode()
        )
    if replay.running and (asked.after is None or not stream):
        raise CallerError(
            Code.IDEMPOTENCY_IN_FLIGHT,
            "The request with this idempotency key is still being worked on.",
            retry_after_seconds=1.0,
        )
    head = await replay.head()
    if head is None:
        raise CallerError(
            Code.IDEMPOTENCY_NOT_REPLAYABLE,
            "The request with this idempotency key was done; its answer could not be kept.",
        )
    return head
