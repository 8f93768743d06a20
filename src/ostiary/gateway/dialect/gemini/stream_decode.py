"""A provider's stream in Google's form: server-sent events, or one JSON array where none were asked for.

Nothing marks its end: it is complete where every candidate that began has its finish reason, or the prompt was
blocked, and the bytes end. Usage is told with every chunk and the last counts.
"""

from typing import Final

import msgspec

from ostiary.core.stream import Finished, StreamEvent
from ostiary.gateway.dialect import Frame
from ostiary.gateway.dialect.gemini.array import ArrayParser
from ostiary.gateway.dialect.gemini.chunk import decode_chunk
from ostiary.gateway.dialect.gemini.error import embedded_error
from ostiary.gateway.dialect.gemini.reading import Reading
from ostiary.gateway.wire.frames import FrameReader
from ostiary.gateway.wire.sse import SseEvent

_BLANKS: Final = b" \t\r\n"
_HEAD_BYTES_MAX: Final = 64


class StreamDecoder(FrameReader):
    """See gateway/dialect: frames out of bytes."""

    def __init__(self, *, events: bool) -> None:
        super().__init__(embedded_error)
        self._reading = Reading() if events else None
        self._unfinished: set[int] = set()
        self._began = False
        self._head: bytes | None = b""

    def feed(self, data: bytes) -> list[Frame]:
        """See gateway/dialect, `StreamDecoder.feed`."""
        if self._head is not None:
            self._head += data
            first = self._head.lstrip(_BLANKS)[:1]
            if not first and len(self._head) <= _HEAD_BYTES_MAX:
                return []
            if first == b"[":
                self._parser = ArrayParser()
            data, self._head = self._head, None
        return super().feed(data)

    def close(self) -> list[Frame]:
        """See gateway/dialect, `StreamDecoder.close`. The end of a complete stream is a frame without bytes."""
        frames = [] if self._head is None else super().feed(self._head)
        frames += super().close()
        frames.append(Frame(b"", () if self._reading is None else (Finished(),), terminal=True))
        return frames

    def _frame(self, block: SseEvent) -> Frame:
        data = block.data
        if not data:
            return Frame(block.raw)
        chunk = decode_chunk(data)
        if chunk.failed():
            raise embedded_error(msgspec.json.decode(data.decode("utf-8", "replace")))
        for number, candidate in chunk.placed():
            self._began = True
            if candidate.finish_reason:
                self._unfinished.discard(number)
            else:
                self._unfinished.add(number)
        self._done = not self._unfinished and (self._began or self._done or chunk.blocked())
        usage, lie = chunk.usage()
        content, produced = chunk.produced()
        events: tuple[StreamEvent, ...] = ()
        if self._reading is not None:
            events = tuple(self._reading.events(chunk, usage))
        return Frame(
            block.raw,
            events,
            content,
            usage is not None and not chunk.candidates and not chunk.blocked(),
            usage=usage,
            usage_invalid=lie,
            finish_reason=chunk.finish_word(),
            response_model=chunk.model_version or "",
            produced_bytes=produced,
        )
