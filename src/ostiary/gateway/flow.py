"""A stream's pieces on their way from the provider's connection to the client's, as they arrive. No I/O of its own.

What needs no decision passes within the turn in which it came, and wakes nobody: the call's task is asked only where the
first content comes, at the end, where something fails, and where the client reads slower than the provider writes.
"""

from collections.abc import Awaitable
from typing import Protocol

from ostiary.core.digest import RunningDigest
from ostiary.gateway.ports import Sink, UpstreamReply
from ostiary.gateway.relay import Carrier


class Collector(Protocol):
    """Who keeps what goes to the client."""

    def collect(self, data: bytes) -> None: ...


class Flow:
    """One stream. `open` says that its first content was let out, `content` that there is some."""

    __slots__ = ("_carrier", "_collector", "_digest", "_ended", "_held", "_sink", "_waits", "content", "open")

    def __init__(self, carrier: Carrier, sink: Sink, digest: RunningDigest, collector: Collector | None) -> None:
        self._carrier = carrier
        self._sink = sink
        self._digest = digest
        self._collector = collector
        self._held: list[bytes] = []
        self._waits: Awaitable[None] | None = None
        self._ended = False
        self.open = self.content = False

    async def run(self, reply: UpstreamReply) -> bool:
        """Let pieces pass until there is something to decide: the first content, or the first piece behind a head that
        is sent already, or the end; gives whether it is the end. It is held until `let_out`. Raises as
        UpstreamReply.pour and Carrier.feed."""
        while True:
            await reply.pour(self._take)
            waits, self._waits = self._waits, None
            if waits is None:
                return self._ended
            await waits

    async def let_out(self) -> None:
        """Give the client what is held, and from here on what comes."""
        self.open = True
        held, self._held = b"".join(self._held), []
        self._carrier.wrote(held)
        if (waits := self._sink.write(held)) is not None:
            await waits

    def _take(self, data: bytes) -> bool:
        piece = self._carrier.feed(data)
        out = piece.data
        self._digest.update(out)
        if out and self._collector is not None:
            self._collector.collect(out)
        if self.open and not piece.ended:
            self._carrier.wrote(out)
            self._waits = waits = self._sink.write(out)
            return waits is None
        self._held.append(out)
        self.content, self._ended = self.content or piece.content, piece.ended
        return not (piece.content or piece.ended or self._sink.begun)
