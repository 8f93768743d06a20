"""Inbound HTTP/1.1: our own server on llhttp, one connection one state machine, behind one handler type."""

import asyncio
from typing import Final, Protocol

from ostiary.core.error import OstiaryError
from ostiary.core.http import Accepted, Answer, RequestHead
from ostiary.gateway.ports import Sink
from ostiary.transport.writes import Writes

DRAINING: Final = "draining"
"""Why a call is cancelled at the end of a drain; the other reason is ports.SHED."""


class Application(Protocol):
    """What answers requests."""

    def accept(self, head: RequestHead) -> Accepted | Answer:
        """Decide on the head alone, before any body is read. Must not raise."""
        ...

    async def serve(self, accepted: Accepted, body: bytes, sink: Sink) -> None:
        """Answer through the sink. Cancelled when the client goes away, the grace of a shutdown is over, or,
        with ports.SHED, for want of memory."""
        ...

    def refuse(self, error: OstiaryError, path: bytes) -> Answer:
        """The wire form of an error found by the server itself (malformed HTTP, bounds, timeouts)."""
        ...


class Peer(Protocol):
    """What the server may ask of one of its connections."""

    @property
    def idle(self) -> bool: ...
    @property
    def held_bytes(self) -> int:
        """What is kept in memory for the call it serves: what it sent, and what it has not taken yet; 0 where there is no
        such call, or it is ending."""
        ...

    def cancel(self, why: str = DRAINING) -> None: ...
    def abort(self) -> None: ...


class Host(Protocol):
    """What a connection needs of the server it belongs to. The counters are the connections' to change."""

    application: Application
    loop: asyncio.AbstractEventLoop
    writes: Writes
    draining: bool
    busy: int
    bytes_in: int
    body_bytes: int
    bodies_bytes_max: int
    rejected: int
    stalled: int
    date_line: bytes

    def refuses(self, size: int) -> bool:
        """Whether a body that has grown to `size` is too much, with all bodies together beyond `bodies_bytes_max`."""
        ...

    def opened(self, connection: Peer) -> bool:
        """Count a new connection; False where it is one too many."""
        ...

    def closed(self, connection: Peer) -> None: ...

    def replaced(self, before: Peer, after: Peer) -> None:
        """A connection goes on as another protocol's."""
        ...
