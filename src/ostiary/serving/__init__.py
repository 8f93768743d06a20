"""Inbound HTTP/1.1: our own server on llhttp, one connection one state machine, behind one handler type."""

import asyncio
from typing import Protocol

from ostiary.core.error import OstiaryError
from ostiary.core.http import Accepted, Answer, RequestHead
from ostiary.gateway.ports import Sink


class Application(Protocol):
    """What answers requests."""

    def accept(self, head: RequestHead) -> Accepted | Answer:
        """Decide on the head alone, before any body is read. Must not raise."""
        ...

    async def serve(self, accepted: Accepted, body: bytes, sink: Sink) -> None:
        """Answer through the sink. Cancelled when the client goes away or the grace of a shutdown is over."""
        ...

    def refuse(self, error: OstiaryError, path: bytes) -> Answer:
        """The wire form of an error found by the server itself (malformed HTTP, bounds, timeouts)."""
        ...


class Peer(Protocol):
    """What the server may ask of one of its connections."""

    @property
    def idle(self) -> bool: ...
    def cancel(self) -> None: ...
    def abort(self) -> None: ...


class Host(Protocol):
    """What a connection needs of the server it belongs to. The counters are the connections' to change."""

    application: Application
    loop: asyncio.AbstractEventLoop
    draining: bool
    busy: int
    bytes_in: int
    body_bytes: int
    rejected: int
    stalled: int
    date_line: bytes

    def opened(self, connection: Peer) -> bool:
        """Count a new connection; False where it is one too many."""
        ...

    def closed(self, connection: Peer) -> None: ...

    def replaced(self, before: Peer, after: Peer) -> None:
        """A connection goes on as another protocol's."""
        ...
