"""Server-sent events, as the WHATWG stream parser reads them, without I/O and in linear time however sliced.

Lines end in LF, CR or CRLF; a byte order mark at the start is skipped; comments and unknown fields are ignored;
`data` lines are joined with LF; a block without `data` is no event but is still given, so that joining the `raw` of
everything returned gives the stream back. Nothing depends on where the stream was cut: a CR that ends the bytes so
far is held until the next byte shows whether an LF belongs to it. Bytes after the last blank line are no event.
"""

import re
from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import SSE_EMPTY_EVENTS_MAX, SSE_EVENT_BYTES_MAX

EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
KEEPALIVE: Final = b": keep-alive\n\n"
"""What keeps a silent stream open: a comment, which every reader of events skips."""

_BOM: Final = b"\xef\xbb\xbf"
# Atomic, so that a CRLF is never read as two line ends.
_BLANK: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE: Final = re.compile(rb"\r\n|\n|\r")
_RETRY_DIGITS_MAX: Final = 9


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One block of the stream, its blank line included in `raw`. `data` is None where there was none: a comment.

    `data` holds the bytes as sent; a reader that needs text decodes them with replacement, as WHATWG says.
    """

    raw: bytes
    data: bytes | None
    event: str = ""


class SseParser:
    """`feed` bytes, take events. `last_event_id` and `retry_ms` are what the stream said of them, if anything."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self._buffer = bytearray()
        self._searched = 0
        self._carriage = False
        self._first = True
        self._empty = 0

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events completed by `data`.

        Raises UpstreamError: upstream.too_large for an event beyond SSE_EVENT_BYTES_MAX, upstream.protocol for
        more than SSE_EMPTY_EVENTS_MAX blocks without data in a row.
        """
        one = self.single(data)
        if one is not None:
            return [one]
        if not self._carriage and b"\r" in data:
            self._carriage = True
        self._buffer += data
        events: list[SseEvent] = []
        start = 0
        buffer = self._buffer
        while True:
            end = self._end_of_block(start)
            if end < 0:
                break
            if end - start > SSE_EVENT_BYTES_MAX:
                raise UpstreamError(Code.UPSTREAM_TOO_LARGE, "An event of the provider's stream is too large.")
            events.append(self._event(bytes(buffer[start:end])))
            start = end
            self._searched = end
        if start:
            del buffer[:start]
        # A blank line is at most four bytes, of which the last is not here yet.
        self._searched = max(0, len(buffer) - 3)
        if len(buffer) > SSE_EVENT_BYTES_MAX:
            raise UpstreamError(Code.UPSTREAM_TOO_LARGE, "An event of the provider's stream is too large.")
        return events

    def single(self, data: bytes) -> SseEvent | None:
        """What `feed` would give of it, where `data` is exactly one event in one of the two forms that nearly all have:
        so is nearly every packet of a stream. None otherwise, and then it is still to be fed."""
        if self._carriage or self._first or self._buffer or data[-2:] != b"\n\n" or b"\r" in data:
            return None
        event = _usual(data) if len(data) <= SSE_EVENT_BYTES_MAX else None
        if event is not None:
            self._empty = 0
        return event

    def close(self) -> list[SseEvent]:
        """The event held back for a possible LF, and what is left without a blank line as a block without data."""
        events: list[SseEvent] = []
        block = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        if block:
            found = _BLANK.search(block) if self._carriage else None
            complete = (found is not None and found.end() == len(block)) or block == b"\r"
            events.append(self._event(block) if complete else SseEvent(block, None))
        return events

    def _end_of_block(self, start: int) -> int:
        """Where the block that begins at `start` ends, or -1 while that is not known."""
        buffer = self._buffer
        size = len(buffer)
        if start >= size:
            return -1
        first = buffer[start]
        if first == 0x0A:
            return start + 1
        if not self._carriage:
            found = buffer.find(b"\n\n", max(start, self._searched))
            return found + 2 if found >= 0 else -1
        if first == 0x0D:
            if start + 1 == size:
                return -1
            return start + 2 if buffer[start + 1] == 0x0A else start + 1
        # From `_searched` a CRLF could be met in its middle: its LF would be taken for a line end of its own.
        position = max(start, self._searched)
        if position > start and buffer[position] == 0x0A and buffer[position - 1] == 0x0D:
            position -= 1
        match = _BLANK.search(buffer, position)
        if match is None:
            return -1
        end = match.end()
        return -1 if end == size and buffer[end - 1] == 0x0D else end

    def _event(self, raw: bytes) -> SseEvent:
        if not self._carriage and not self._first:
            event = _usual(raw)
            if event is not None:
                self._empty = 0
                return event
        block = raw
        if self._first:
            self._first = False
            block = raw.removeprefix(_BOM)
        name = b""
        data: bytes | None = None
        more: list[bytes] | None = None
        for line in _LINE.split(block) if b"\r" in block else block.split(b"\n"):
            if not line:
                continue
            field, _, value = line.partition(b":")
            if value[:1] == b" ":
                value = value[1:]
            if field == b"data":
                if data is None:
                    data = value
                else:
                    if more is None:
                        more = [data]
                    more.append(value)
            elif field == b"event":
                name = value
            elif field == b"id":
                if b"\0" not in value:
                    self.last_event_id = value.decode("utf-8", "replace")
            elif field == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS_MAX:
                self.retry_ms = int(value)
        if more is not None:
            data = b"\n".join(more)
        if data is None:
            self._empty += 1
            if self._empty > SSE_EMPTY_EVENTS_MAX:
                raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream goes on without any event.")
            return SseEvent(raw, None)
        self._empty = 0
        return SseEvent(raw, data, name.decode("utf-8", "replace") if name else "")


def _usual(raw: bytes) -> SseEvent | None:
    """An event in one of the two forms that nearly all have, a `data` line or an `event` line and a `data` line; None
    where it has another. `raw` ends in two LF and has no CR."""
    if raw[:6] == b"data: ":
        if raw.find(b"\n") == len(raw) - 2:
            return SseEvent(raw, raw[6:-2])
    elif raw[:7] == b"event: ":
        line = raw.find(b"\n")
        if raw[line : line + 7] == b"\ndata: " and raw.find(b"\n", line + 1) == len(raw) - 2:
            return SseEvent(raw, raw[line + 7 : -2], raw[7:line].decode("utf-8", "replace"))
    return None


def encode_event(data: bytes, event: bytes = b"") -> bytes:
    """One event. `data` and `event` hold no line end: JSON without white space never does."""
    return b"event: " + event + b"\ndata: " + data + b"\n\n" if event else b"data: " + data + b"\n\n"
