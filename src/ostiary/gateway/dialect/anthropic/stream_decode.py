"""A provider's stream in Anthropic's form, and what each of its events means.

`data.type` decides; the SSE event's name repeats it. Pings pass; event types that are not known yet are passed over,
as Anthropic asks of its clients. Counts in `message_delta` are totals and overwrite those of `message_start`. The
stream is complete only with `message_stop`.
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import PARTS_MAX
from ostiary.core.message import ToolUsePart
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    CitationsDelta,
    Finished,
    PartStarted,
    SignatureDelta,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Frame
from ostiary.gateway.dialect.anthropic.error import embedded_error
from ostiary.gateway.dialect.anthropic.reply import WireBlock, decode_block, decode_stop, decode_usage, usage_tier
from ostiary.gateway.wire.frames import FrameReader
from ostiary.gateway.wire.json import decode_as
from ostiary.gateway.wire.sse import SseEvent

_ABSENT: Final = msgspec.Raw(b"null")
_NULL: Final = b"null"
_DELTA_LINE: Final = b"event: content_block_delta"


class WireDelta(msgspec.Struct):
    """What an event adds."""

    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: msgspec.Raw = _ABSENT
    stop_reason: str | None = None
    stop_sequence: str | None = None


class WireMessage(msgspec.Struct):
    """The message an event begins."""

    id: str | None = None
    model: str | None = None
    usage: msgspec.Raw = _ABSENT


class WireEvent(msgspec.Struct):
    """One event of a stream."""

    type: str
    index: int = 0
    delta: WireDelta | None = None
    content_block: WireBlock | None = None
    message: WireMessage | None = None
    usage: msgspec.Raw = _ABSENT


_DECODER: Final = msgspec.json.Decoder(WireEvent)


class _Block:
    """An open content block. `arguments` is what a tool call that streams no arguments has: its first input."""

    __slots__ = ("arguments", "streamed")

    def __init__(self, arguments: str | None) -> None:
        self.arguments = arguments
        self.streamed = False


class StreamDecoder(FrameReader):
    """See gateway/dialect: frames out of bytes."""

    def __init__(self, *, events: bool) -> None:
        super().__init__(embedded_error)
        self._wants_events = events
        self._blocks: dict[int, _Block] = {}
        self._counts: dict[str, object] = {}

    def glance(self, data: bytes) -> int:
        """See gateway/dialect, `StreamDecoder.glance`."""
        if self._done or self._error is not None or not data.startswith(_DELTA_LINE):
            return 0
        block = self._sse.single(data)
        if block is None or (line := block.data) is None:
            return 0
        try:
            if not line.isascii():
                line.decode()
            event = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return 0
        if event.type != "content_block_delta" or (delta := event.delta) is None:
            return 0
        text = delta.text or delta.partial_json or delta.thinking or ""
        return len(text) if text.isascii() else len(text.encode())

    def _frame(self, block: SseEvent) -> Frame:
        data = block.data
        if not data:
            return Frame(block.raw)
        if self._done:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream goes on after its end.")
        try:
            event = _DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event = _decode(data)  # says what is wrong
        kind = event.type
        if kind == "content_block_delta":
            return self._delta(block.raw, event)
        if kind == "content_block_start":
            return self._start_block(block.raw, event)
        if kind == "content_block_stop":
            return Frame(block.raw, self._stop_block(event.index) if self._wants_events else ())
        if kind == "message_start":
            return self._start(block.raw, event)
        if kind == "message_delta":
            return self._message_delta(block.raw, event)
        if kind == "message_stop":
            self._done = True
            return Frame(block.raw, (Finished(),) if self._wants_events else (), terminal=True)
        if kind == "error" or block.event == "error":
            raise embedded_error(msgspec.json.decode(data.decode("utf-8", "replace")))
        return Frame(block.raw)

    def _start(self, raw: bytes, event: WireEvent) -> Frame:
        message = event.message or WireMessage()
        usage, lie = self._count(message.usage)
        events: tuple[StreamEvent, ...] = ()
        if self._wants_events:
            events = (
                Started(message.id or "", message.model or "", service_tier=usage_tier(self._counts), usage=usage),
            )
        return Frame(raw, events, usage=usage, usage_invalid=lie, response_model=message.model or "")

    def _message_delta(self, raw: bytes, event: WireEvent) -> Frame:
        delta = event.delta or WireDelta()
        usage, lie = self._count(event.usage)
        events: list[StreamEvent] = []
        if self._wants_events:
            if usage is not None:
                events.append(UsageReported(usage))
            finish = decode_stop(delta.stop_reason)
            if finish is not None:
                events.append(ChoiceFinished(0, finish, delta.stop_sequence))
        return Frame(raw, tuple(events), usage=usage, usage_invalid=lie, finish_reason=delta.stop_reason or "")

    def _count(self, raw: msgspec.Raw) -> tuple[Usage | None, bool]:
        """All counts known so far, with those in `raw`."""
        if bytes(raw) == _NULL:
            return None, False
        counts = msgspec.json.decode(raw)
        if type(counts) is not dict:
            return None, True
        self._counts.update({key: value for key, value in counts.items() if value is not None})
        return decode_usage(self._counts)

    def _start_block(self, raw: bytes, event: WireEvent) -> Frame:
        block = event.content_block
        if block is None:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream starts a content block without one.")
        produced = len(((block.text or "") + (block.thinking or "") + (block.name or "")).encode("utf-8", "replace"))
        # A redacted block comes whole, and so do blocks of kinds not known here; an empty text is only announced.
        content = produced > 0 or block.type not in ("text", "thinking")
        if not self._wants_events:
            return Frame(raw, content=content, produced_bytes=produced)
        index = event.index
        if not 0 <= index <= PARTS_MAX:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a content block out of range.")
        part = decode_block(block)
        if isinstance(part, ToolUsePart):
            self._blocks[index] = _Block(part.arguments)
            part = ToolUsePart(part.id, part.name, "")
        else:
            self._blocks[index] = _Block(None)
        return Frame(raw, (PartStarted(0, index, part),), content=content, produced_bytes=produced)

    def _stop_block(self, index: int) -> tuple[StreamEvent, ...]:
        block = self._blocks.pop(index, None)
        if block is None or block.arguments is None or block.streamed:
            return ()
        return (ArgumentsDelta(0, index, block.arguments),)

    def _delta(self, raw: bytes, event: WireEvent) -> Frame:
        delta = event.delta
        if delta is None:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a delta without content.")
        text = delta.text or delta.partial_json or delta.thinking or ""
        produced = len(text) if text.isascii() else len(text.encode())
        events = self._delta_events(event.index, delta) if self._wants_events else ()
        return Frame(raw, events, produced > 0, produced_bytes=produced)

    def _delta_events(self, index: int, delta: WireDelta) -> tuple[StreamEvent, ...]:
        block = self._blocks.get(index)
        if block is None:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a delta outside of any block.")
        text = delta.text or delta.thinking
        if text:
            return (TextDelta(0, index, text),)
        if delta.partial_json:
            block.streamed = True
            return (ArgumentsDelta(0, index, delta.partial_json),)
        if delta.signature:
            return (SignatureDelta(0, index, delta.signature),)
        citation = bytes(delta.citation)
        return () if citation == _NULL else (CitationsDelta(0, index, citation),)


def _decode(data: bytes) -> WireEvent:
    """An event."""
    return decode_as(_DECODER, data, UpstreamError, Code.UPSTREAM_PROTOCOL)
