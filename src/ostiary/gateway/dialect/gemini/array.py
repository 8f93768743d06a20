"""The objects of one JSON array, taken out of a stream of its bytes, in linear time however sliced.

Google streams an array where no server-sent events were asked for. Only brackets and strings are told apart here;
each object is decoded by whoever reads it. Joining the `raw` of all blocks gives the stream back.
"""

import re
from typing import Final

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import SSE_EVENT_BYTES_MAX
from ostiary.gateway.wire.sse import SseEvent

_MARK: Final = re.compile(rb'["{}\[\]]')
_IN_STRING: Final = re.compile(rb'["\\]')


class ArrayParser:
    """`feed` bytes, take objects."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._depth = 0
        self._in_string = False
        self._whole = False

    def feed(self, data: bytes) -> list[SseEvent]:
        """The objects completed by `data`. Raises UpstreamError upstream.too_large for one beyond
        SSE_EVENT_BYTES_MAX, upstream.protocol for bytes after the array's end."""
        self._buffer += data
        blocks: list[SseEvent] = []
        start = 0
        while not self._whole:
            end = self._end_of_object()
            if end < 0:
                break
            raw = bytes(self._buffer[start:end])
            blocks.append(SseEvent(raw, raw[raw.find(b"{") :]))
            start = end
        del self._buffer[:start]
        self._searched -= start
        if len(self._buffer) > SSE_EVENT_BYTES_MAX:
            raise UpstreamError(Code.UPSTREAM_TOO_LARGE, "An object of the provider's stream is too large.")
        if self._whole and self._buffer[self._searched :].strip():
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream goes on after its end.")
        return blocks

    def close(self) -> list[SseEvent]:
        """What is left: the array's closing bracket. Raises UpstreamError upstream.cut where it has not come."""
        if not self._whole:
            raise UpstreamError(Code.UPSTREAM_CUT, "The provider's stream ended before it was complete.")
        rest = bytes(self._buffer)
        self._buffer.clear()
        return [SseEvent(rest, None)] if rest else []

    def _end_of_object(self) -> int:
        """Where the next object of the array ends, or -1 while that is not known."""
        buffer, position = self._buffer, self._searched
        while True:
            found = (_IN_STRING if self._in_string else _MARK).search(buffer, position)
            if found is None:
                self._searched = len(buffer)
                return -1
            mark = found[0]
            if mark == b"\\":
                if found.end() == len(buffer):
                    self._searched = found.start()
                    return -1
                position = found.end() + 1
                continue
            position = found.end()
            if mark == b'"':
                self._in_string = not self._in_string
            elif mark in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 1:
                    self._searched = position
                    if self._depth == 1:
                        return position
                    self._whole = True
                    return -1
