"""Events in, frames out: the part of a stream's decoding that every dialect shares. No I/O.

A dialect says what one event means (`_frame`) and sets `_done` at its terminal event. Frames completed before a fault
are given first; the fault is raised by the next call, so that a client gets all that was produced.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from ostiary.core.error import Code, UpstreamError
from ostiary.gateway.wire.failure import unfinished
from ostiary.gateway.wire.frame import Frame
from ostiary.gateway.wire.sse import SseEvent, SseParser


class BlockParser(Protocol):
    """Bytes in, blocks out, as `SseParser` does for events."""

    def feed(self, data: bytes) -> list[SseEvent]: ...
    def close(self) -> list[SseEvent]: ...


class FrameReader(ABC):
    """A provider's stream, in any slices. `embedded_error` reads the dialect's error object where one stands in place
    of a stream."""

    def __init__(self, embedded_error: Callable[[object], UpstreamError]) -> None:
        self._embedded_error = embedded_error
        self._sse = SseParser()
        self._parser: BlockParser = self._sse
        self._done = False
        self._error: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """See gateway/dialect, `StreamDecoder.feed`."""
        if self._error is not None:  # what the last call found behind frames it had to give first
            raise self._error
        return self._frames(self._parser.feed(data))

    def glance(self, data: bytes) -> int:  # noqa: ARG002 - for the dialects that can tell
        """See gateway/dialect, `StreamDecoder.glance`."""
        return 0

    def close(self) -> list[Frame]:
        """See gateway/dialect, `StreamDecoder.close`."""
        self._raise()
        rest = self._parser.close()
        frames = self._frames(rest)
        self._raise()
        if not self._done:
            raise unfinished(rest[-1].raw if rest else b"", self._embedded_error)
        return frames

    def _raise(self) -> None:
        """Raise what an earlier call found behind frames it had to give first."""
        if self._error is not None:
            raise self._error

    def _frames(self, blocks: list[SseEvent]) -> list[Frame]:
        frames: list[Frame] = []
        for block in blocks:
            try:
                data = block.data
                if data is not None and not data.isascii():
                    _check_text(data)
                frames.append(self._frame(block))
            except UpstreamError as error:
                self._error = error
                if not frames:
                    raise
                break
        return frames

    @abstractmethod
    def _frame(self, block: SseEvent) -> Frame:
        """What one event means. Raises UpstreamError upstream.protocol, or the provider's own error event."""


def _check_text(data: bytes) -> None:
    """Refuse an event that is not UTF-8, as JSON must be (RFC 8259, section 8.1), whether it passes or is translated."""
    try:
        data.decode()
    except UnicodeDecodeError:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream is not UTF-8.") from None
