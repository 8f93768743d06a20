"""One attempt in several requests: asked for one after another, answered together or not at all.

A provider that takes fewer texts at once than a call has is asked several times within one attempt: on one place, with
one secret, up to one deadline. Nothing is told before the last answer is there. Where one fails the attempt has failed,
and what was answered until then is charged for; a client that goes away ends the one in flight.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, final

from ostiary.core.error import Code, OstiaryError, UpstreamError
from ostiary.core.limit import UPSTREAM_BODY_BYTES_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.dialect import ProviderDialect
from ostiary.gateway.ports import UpstreamReply, UpstreamRequest
from ostiary.gateway.task import Task
from ostiary.snapshot.index import Target

Ask = Callable[[UpstreamRequest], Awaitable[UpstreamReply]]


class Call(Protocol):
    """What is needed of the call."""

    task: Task
    draft: Draft

    def charge(self, target: Target, usage: Usage | None, produced_bytes: int) -> None:
        """Add what an attempt consumed."""
        ...


@final
class Parts:
    """Implements ports.UpstreamReply: the answers, as the items of an array in the order of the requests. `ask` gives the
    head of an answer with status 200 or raises. `bodies` are the answers so far."""

    def __init__(self, first: UpstreamReply, sent: UpstreamRequest, rest: Sequence[UpstreamRequest], ask: Ask) -> None:
        self.status = first.status
        self.headers = first.headers
        self.bodies: list[bytes] = []
        self.shares: Final = _shares([sent, *rest])
        self._reply = first
        self._rest = rest
        self._ask = ask

    async def chunk(self) -> bytes:
        """Never asked for: such an answer is read whole."""
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "An answer in parts does not stream.")

    async def pour(self, take: Callable[[bytes], bool]) -> None:
        """As `chunk`."""
        take(await self.chunk())

    async def read(self, bytes_max: int) -> bytes:
        """See ports.UpstreamReply. Asks for the further parts meanwhile, and raises as that does."""
        left = bytes_max
        for following in (*self._rest, None):
            body = await self._reply.read(left)
            self.bodies.append(body)
            left -= len(body)
            if following is not None:
                self._reply.close()
                self._reply = await self._ask(following)
        return b"[" + b",".join(self.bodies) + b"]"

    def close(self) -> None:
        """See ports.UpstreamReply."""
        self._reply.close()


async def whole(call: Call, target: Target, provider: ProviderDialect, parts: Parts) -> bytes:
    """The answers to all parts. Where they do not all come, those that came are charged for, and so is the one in flight
    where it is the client that ended it."""
    try:
        return await parts.read(UPSTREAM_BODY_BYTES_MAX)
    except BaseException as error:
        usage = Usage()
        for share, body in zip(parts.shares, parts.bodies, strict=False):
            told = _usage(provider, body)
            usage += told or _estimated(call, share)
            call.draft.usage_estimated = call.draft.usage_estimated or told is None
        if isinstance(error, asyncio.CancelledError) and len(parts.bodies) < len(parts.shares):
            usage += _estimated(call, parts.shares[len(parts.bodies)])
            call.draft.usage_estimated = True
        if usage != Usage():
            call.charge(target, usage, 0)
        raise


def _shares(requests: Sequence[UpstreamRequest]) -> tuple[float, ...]:
    whole_bytes = sum(len(one.body) for one in requests)
    return tuple(len(one.body) / whole_bytes for one in requests)


def _estimated(call: Call, share: float) -> Usage:
    all_of_it = call.task.estimated(0) or Usage()
    return Usage(input_tokens=round(all_of_it.input_tokens * share))


def _usage(provider: ProviderDialect, body: bytes) -> Usage | None:
    try:
        return provider.decode_embeddings_reply(body).usage
    except OstiaryError:
        return None
