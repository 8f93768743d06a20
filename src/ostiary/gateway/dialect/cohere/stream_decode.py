"""A provider's stream in the form of Cohere's chat, and what each of its events means.

`data.type` decides. Content blocks and tool calls are numbered apart: a plan comes first among the parts, then the
content, then the calls. The stream is complete only with `message-end`; a server may close it with `[DONE]` after
that. Event types that are not known yet are passed over.

Source: Cohere API reference, "Chat with Streaming" (v2); "A Guide to Streaming Responses".
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import PARTS_MAX
from ostiary.core.message import Part, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    CitationsDelta,
    Finished,
    LogprobsDelta,
    PartStarted,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from ostiary.gateway.dialect.cohere.error import embedded_error
from ostiary.gateway.dialect.cohere.reply import (
    WireContent,
    WireLogprobs,
    WireToolCall,
    cited_block,
    decode_block,
    decode_finish,
    decode_logprob,
    decode_usage,
    nameless,
)
from ostiary.gateway.wire.failure import failure
from ostiary.gateway.wire.frame import Frame
from ostiary.gateway.wire.frames import FrameReader
from ostiary.gateway.wire.json import decode_as
from ostiary.gateway.wire.sse import SseEvent

_ABSENT: Final = msgspec.Raw(b"null")
_NULL: Final = b"null"
_PLAN: Final = 0
_CONTENT: Final = 1
_TOOLS: Final = _CONTENT + PARTS_MAX


class WireMessage(msgspec.Struct):
    """What an event says of the message. Each member has a form of its own for each type of event."""

    content: msgspec.Raw = _ABSENT
    tool_plan: msgspec.Raw = _ABSENT
    tool_calls: msgspec.Raw = _ABSENT
    citations: msgspec.Raw = _ABSENT


class WireDelta(msgspec.Struct):
    """What an event adds."""

    message: WireMessage | None = None
    finish_reason: str | None = None
    usage: msgspec.Raw = _ABSENT
    error: str | None = None


class WireEvent(msgspec.Struct):
    """One event of a stream."""

    type: str | None = None
    id: str | None = None
    index: int = 0
    delta: WireDelta | None = None
    logprobs: WireLogprobs | None = None
    message: str | None = None


_DECODER: Final = msgspec.json.Decoder(WireEvent)
_CONTENT_DECODER: Final = msgspec.json.Decoder(WireContent | None)
_CALL_DECODER: Final = msgspec.json.Decoder(WireToolCall | None)
_TEXT_DECODER: Final = msgspec.json.Decoder(str | None)


class StreamDecoder(FrameReader):
    """See gateway/dialect: frames out of bytes."""

    def __init__(self, *, events: bool) -> None:
        super().__init__(embedded_error)
        self._wants_events = events
        self._parts: dict[int, Part] = {}
        self._texts: list[int] = []

    def _frame(self, block: SseEvent) -> Frame:
        data = block.data
        if not data:
            return Frame(block.raw)
        if self._done:
            if data.strip() == b"[DONE]":
                return Frame(block.raw)
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream goes on after its end.")
        event = _decode(data)
        kind = event.type
        delta = event.delta or WireDelta()
        message = delta.message or WireMessage()
        produced = 0
        events: list[StreamEvent] = []
        if kind == "content-delta":
            produced = self._content(event, message, events)
        elif kind == "content-start":
            produced = self._start_content(event, message, events)
        elif kind == "tool-plan-delta":
            produced = self._grow(_PLAN, ThinkingPart(""), _text(message.tool_plan), events)
        elif kind in ("tool-call-start", "tool-call-delta"):
            produced = self._call(event, message, events)
        elif kind == "citation-start":
            self._cite(message.citations, events)
        elif kind == "message-start":
            events.append(Started(event.id or "", ""))
        elif kind == "message-end":
            return self._end(block.raw, delta)
        elif kind is None and event.message is not None:
            raise failure(500, (), event.message)
        return Frame(block.raw, tuple(events) if self._wants_events else (), produced > 0, produced_bytes=produced)

    def _begin(self, part: int, value: Part, events: list[StreamEvent]) -> None:
        self._parts[part] = value
        events.append(PartStarted(0, part, value))

    def _start_content(self, event: WireEvent, message: WireMessage, events: list[StreamEvent]) -> int:
        index = _checked(event.index)
        wire = decode_as(_CONTENT_DECODER, message.content, UpstreamError, Code.UPSTREAM_PROTOCOL) or WireContent()
        whole = decode_block(wire)
        empty: Part = TextPart("") if isinstance(whole, TextPart) else ThinkingPart("")
        if isinstance(whole, TextPart):
            self._texts.append(index)
        self._begin(_CONTENT + index, empty, events)
        return self._grow(_CONTENT + index, empty, whole.text, events)

    def _content(self, event: WireEvent, message: WireMessage, events: list[StreamEvent]) -> int:
        part = _CONTENT + _checked(event.index)
        found = self._parts.get(part)
        if found is None:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a delta outside of any block.")
        wire = decode_as(_CONTENT_DECODER, message.content, UpstreamError, Code.UPSTREAM_PROTOCOL) or WireContent()
        text = wire.text if isinstance(found, TextPart) else wire.thinking
        produced = self._grow(part, found, text or "", events)
        if event.logprobs is not None:
            events.append(LogprobsDelta(0, (decode_logprob(event.logprobs),)))
        return produced

    def _grow(self, part: int, empty: Part, text: str, events: list[StreamEvent]) -> int:
        if not text:
            return 0
        if part not in self._parts:
            self._begin(part, empty, events)
        events.append(TextDelta(0, part, text))
        return len(text) if text.isascii() else len(text.encode())

    def _call(self, event: WireEvent, message: WireMessage, events: list[StreamEvent]) -> int:
        part = _TOOLS + _checked(event.index)
        call = decode_as(_CALL_DECODER, message.tool_calls, UpstreamError, Code.UPSTREAM_PROTOCOL) or WireToolCall()
        name = (call.function.name if call.function is not None else None) or ""
        piece = (call.function.arguments if call.function is not None else None) or ""
        produced = 0
        if part not in self._parts:
            if not name:
                raise nameless()
            self._begin(part, ToolUsePart(call.id or "", name, ""), events)
            produced = len(name.encode())
        if piece:
            events.append(ArgumentsDelta(0, part, piece))
        return produced + len(piece.encode())

    def _cite(self, citation: msgspec.Raw, events: list[StreamEvent]) -> None:
        raw = bytes(citation)
        if raw == _NULL:
            return
        # One citation an event; a list of them is taken as well.
        for one in msgspec.json.decode(raw, type=list[msgspec.Raw]) if raw[:1] == b"[" else [citation]:
            index = cited_block(one, self._texts)
            if index is not None:
                events.append(CitationsDelta(0, _CONTENT + index, bytes(one)))

    def _end(self, raw: bytes, delta: WireDelta) -> Frame:
        if delta.error:
            raise failure(500, (), delta.error)
        word = delta.finish_reason or ""
        finish = decode_finish(word) if word else None
        usage, lie = None, False
        if bytes(delta.usage) != _NULL:
            usage, lie = decode_usage(msgspec.json.decode(delta.usage))
        self._done = True
        events: list[StreamEvent] = []
        if self._wants_events:
            if finish is not None:
                events.append(ChoiceFinished(0, finish))
            if usage is not None:
                events.append(UsageReported(usage))
            events.append(Finished())
        return Frame(raw, tuple(events), terminal=True, usage=usage, usage_invalid=lie, finish_reason=word)


def _checked(index: int) -> int:
    if not 0 <= index < PARTS_MAX:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a content block out of range.")
    return index


def _text(raw: msgspec.Raw) -> str:
    return decode_as(_TEXT_DECODER, raw, UpstreamError, Code.UPSTREAM_PROTOCOL) or ""


def _decode(data: bytes) -> WireEvent:
    """An event. Bytes that are not UTF-8 are replaced, as every reader of such a stream does."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        readable = data.decode("utf-8", "replace").encode()
        return decode_as(_DECODER, readable, UpstreamError, Code.UPSTREAM_PROTOCOL)
