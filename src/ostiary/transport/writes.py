"""What one turn of the event loop has to say to its peers, sent together when the work of the turn is done.

A write to a peer that sleeps wakes it, which costs the writer several times what the write itself does. One by one,
between pieces of work, nearly every write finds its peer asleep again; together, the first wakes a peer and the others
find it at work. And what goes to one peer in a turn, a stream's last piece and its end for instance, is one write.
"""

import asyncio
from collections import deque

from ostiary.core.limit import GATHERED_BYTES_MAX


class Writes:
    """Gathers writes. Those to one transport keep their order, as long as nobody writes to it past this; before it is
    closed, or its protocol changes, call `flush`. What waits for a transport that is closing is dropped. Beyond
    GATHERED_BYTES_MAX everything goes out at once, so that a slow peer is noticed by whoever writes to it.

    `turns` counts the flushes: what was added before it moved on has been handed to its transport."""

    __slots__ = ("_bytes", "_loop", "_waiting", "turns")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[asyncio.Transport, bytes]] = deque()
        self._bytes = 0
        self.turns = 0

    def add(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write when the turn is over."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append((transport, data))
        self._bytes += len(data)
        if self._bytes > GATHERED_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what waits, now."""
        waiting = self._waiting
        self._bytes = 0
        self.turns += 1
        try:
            while waiting:
                transport, data = waiting.popleft()
                if waiting and waiting[0][0] is transport:
                    pieces = [data]
                    while waiting and waiting[0][0] is transport:
                        pieces.append(waiting.popleft()[1])
                    data = b"".join(pieces)
                if not transport.is_closing():
                    transport.write(data)
        finally:
            if waiting:  # one write failed: the others are not its concern
                self._loop.call_soon(self.flush)
