"""An upstream's answer as its reader sees it: head, then body bytes as they arrive.

The connection writes into it (`head_arrived`, `body`, `completed`, `failed`), one reader takes out of it. Bytes that
arrived before a failure are handed out first, then the failure. What is held is bounded: beyond
UPSTREAM_BUFFER_BYTES_MAX the connection stops reading from its socket until the reader has taken what there is.
"""

import asyncio
from typing import Final, Protocol

from ostiary.core import limit
from ostiary.core.error import Code, OstiaryError, UpstreamError
from ostiary.core.http import Header, header

_PIECE_OVERHEAD: Final = 64
"""What CPython needs to hold one short bytes object in a list, so that one-byte chunks are counted at their cost."""


class Line(Protocol):
    """The reader's hold on the connection."""

    def resume(self) -> None: ...
    def abort(self) -> None: ...


class Reply:
    """Implements ports.UpstreamReply. One reader at a time."""

    # Defaults stand on the class: most answers change few of them.
    status: int = 0
    headers: tuple[Header, ...] = ()
    connect_ms: float = 0.0
    first_byte_ms: float = 0.0
    received: int = 0
    complete: bool = False
    stale: bool = False
    _held: int = 0
    _failure: OstiaryError | None = None
    _waiter: "asyncio.Future[None] | None" = None

    def __init__(self, loop: asyncio.AbstractEventLoop, line: Line) -> None:
        self._loop = loop
        self._line: Line | None = line
        self._pieces: list[bytes] = []

    # --- the reader's side --------------------------------------------------------------------------------

    async def head(self) -> None:
        """Wait until status and headers are there. Raises what the connection failed with; `stale` then says
        whether a kept-alive connection turned out to be closed before any byte came."""
        while not self.status:
            if self._failure is not None:
                raise self._failure
            waiter = self._waiter = self._loop.create_future()
            await waiter

    async def chunk(self) -> bytes:
        """See ports.UpstreamReply.chunk."""
        while True:
            if self._pieces:
                return self._take()
            if self.complete:
                return b""
            if self._failure is not None:
                raise self._failure
            waiter = self._waiter = self._loop.create_future()
            try:
                await waiter
            except asyncio.CancelledError:
                self.close()
                raise

    async def read(self, bytes_max: int) -> bytes:
        """See ports.UpstreamReply.read."""
        if self.complete and self.received <= bytes_max:
            return self._take() if self._pieces else b""
        announced = header(self.headers, b"content-length")
        pieces: list[bytes] = []
        total = 0
        if announced is None or (len(announced) <= 18 and int(announced) <= bytes_max):
            while piece := await self.chunk():
                pieces.append(piece)
                total += len(piece)
                if total > bytes_max:
                    break
            else:
                return b"".join(pieces)
        self.close()
        raise UpstreamError(Code.UPSTREAM_TOO_LARGE, f"The provider's answer is larger than {bytes_max} bytes.")

    def close(self) -> None:
        """See ports.UpstreamReply.close."""
        self._pieces.clear()
        if self.complete:
            return
        if self._failure is None:
            self._failure = UpstreamError(Code.UPSTREAM_CUT, "The answer was closed before its end.")
        line, self._line = self._line, None
        if line is not None:
            line.abort()

    def _take(self) -> bytes:
        pieces = self._pieces
        if len(pieces) == 1:
            data = pieces.pop()
        else:
            data = b"".join(pieces)
            pieces.clear()
        if self._held > limit.UPSTREAM_BUFFER_BYTES_MAX and self._line is not None:
            self._line.resume()
        self._held = 0
        return data

    # --- the connection's side ----------------------------------------------------------------------------

    def head_arrived(self, status: int, headers: tuple[Header, ...]) -> None:
        """The head is complete. `wake` is called as for bytes of the body."""
        self.status = status
        self.headers = headers

    def body(self, data: bytes) -> None:
        """Some bytes of the body. `wake` is called once after all that one read from the socket brought."""
        size = len(data)
        self._pieces.append(data)
        self._held += size + _PIECE_OVERHEAD
        self.received += size

    def full(self) -> bool:
        """Whether the connection must stop reading for now."""
        return self._held > limit.UPSTREAM_BUFFER_BYTES_MAX

    def wake(self) -> None:
        """Let the reader look again."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def completed(self) -> None:
        """The answer ended as it should; the connection is no longer this reply's."""
        self.complete = True
        self._line = None
        self.wake()

    def failed(self, error: OstiaryError, *, stale: bool = False) -> None:
        """The answer will not come to its end; the connection is gone."""
        if self._failure is None:
            self._failure = error
        self.stale = stale
        self._line = None
        self.wake()
