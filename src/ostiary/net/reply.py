"""An upstream's answer as its reader sees it: head, then body bytes as they arrive.

The connection writes into it (`status` and `headers`, `body`, `completed`, `failed`), one reader takes out of it. Bytes that
arrived before a failure are handed out first, then the failure. What is held is bounded: beyond
UPSTREAM_BUFFER_BYTES_MAX the connection stops reading from its socket until the reader has taken what there is.
"""

import asyncio
from collections.abc import Callable
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
    """Implements ports.UpstreamReply. One reader at a time.

    `arrived` is done once the head is there (`status`), or will not come (`failure`): `stale` then says whether a
    kept-alive connection turned out to be closed before any byte came."""

    # Defaults stand on the class: most answers change few of them.
    status: int = 0
    headers: tuple[Header, ...] = ()
    received: int = 0
    complete: bool = False
    stale: bool = False
    _taken: int = 0
    _stopped: bool = False
    failure: OstiaryError | None = None
    _receiver: Callable[[bytes], bool] | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop, line: Line) -> None:
        self._loop = loop
        self._line: Line | None = line
        self._pieces: list[bytes] = []
        self.arrived: asyncio.Future[bool] = loop.create_future()
        self._waiter: asyncio.Future[bool] | None = self.arrived

    # --- the reader's side --------------------------------------------------------------------------------

    async def chunk(self) -> bytes:
        """See ports.UpstreamReply.chunk."""
        while True:
            if self._pieces:
                return self._take()
            if self.complete:
                return b""
            if self.failure is not None:
                raise self.failure
            waiter = self._waiter = self._loop.create_future()
            try:
                await waiter
            except asyncio.CancelledError:
                self.close()
                raise

    async def pour(self, take: Callable[[bytes], bool]) -> None:
        """See ports.UpstreamReply.pour."""
        while True:
            if self._pieces:
                if not take(self._take()):
                    return
            elif self.complete:
                take(b"")
                return
            elif self.failure is not None:
                raise self.failure
            else:
                waiter = self._waiter = self._loop.create_future()
                self._receiver = take
                try:
                    if await waiter:
                        return
                except asyncio.CancelledError:
                    self.close()
                    raise
                finally:
                    self._receiver = None

    async def read(self, bytes_max: int) -> bytes:
        """See ports.UpstreamReply.read."""
        if self.complete and self.received <= bytes_max:
            data = b"".join(self._pieces)
            self._pieces.clear()
            return data
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
        if self.failure is None:
            self.failure = UpstreamError(Code.UPSTREAM_CUT, "The answer was closed before its end.")
        line, self._line = self._line, None
        if line is not None:
            line.abort()

    def _take(self) -> bytes:
        data = b"".join(self._pieces)  # of one piece it makes no copy
        self._pieces.clear()
        self._taken = self.received
        if self._stopped:
            self._stopped = False
            if self._line is not None:
                self._line.resume()
        return data

    # --- the connection's side ----------------------------------------------------------------------------

    def body(self, data: bytes) -> int:
        """Some bytes of the body; gives how many came so far. `wake` is called once after all that one read from the
        socket brought, head and body."""
        self._pieces.append(data)
        received = self.received = self.received + len(data)
        return received

    def full(self) -> bool:
        """Whether the connection must stop reading for now."""
        held = self.received - self._taken + len(self._pieces) * _PIECE_OVERHEAD
        if held > limit.UPSTREAM_BUFFER_BYTES_MAX:
            self._stopped = True
        return self._stopped

    def wake(self) -> None:
        """Let the reader have what there is, or look again."""
        waiter = self._waiter
        if waiter is None:
            return
        enough = False
        if self._receiver is not None and self._pieces and not waiter.done():
            try:
                enough = not self._receiver(self._take())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the reader's
                self._waiter = None
                waiter.set_exception(error)
                return
            if not enough and self.failure is None:
                return
        self._waiter = None
        if not waiter.done():
            waiter.set_result(enough)

    def completed(self) -> None:
        """The answer ended as it should; the connection is no longer this reply's."""
        self.complete = True
        self._line = None
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(False)

    def failed(self, error: OstiaryError, *, stale: bool = False) -> None:
        """The answer will not come to its end; the connection is gone."""
        if self.failure is None:
            self.failure = error
        self.stale = stale
        self._line = None
        self.wake()
