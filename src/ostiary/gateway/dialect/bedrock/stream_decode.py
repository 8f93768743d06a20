"""A provider's stream in the form of ConverseStream, and what each of its events means.

The event's name stands in the header `:event-type`, its JSON in the payload. Text and thinking have no start of their
own: their first delta begins them. `messageStop` ends the answer, `metadata` with its usage ends the stream; a stream
that ends between the two has lost nothing but its usage. Event types that are not known yet are passed over.

Source: Amazon Bedrock Runtime API reference, "ConverseStream", "ConverseStreamOutput".
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import PARTS_MAX
from ostiary.core.message import Part, RedactedThinkingPart, TextPart, ThinkingPart, ToolUsePart
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
from ostiary.gateway.dialect.bedrock.error import stream_error
from ostiary.gateway.dialect.bedrock.reply import (
    NO_INPUT,
    WireToolUse,
    decode_stop,
    decode_usage,
    invoked_model,
    tool_use,
    unknown_block,
)
from ostiary.gateway.wire.eventstream import EventMessage, EventStreamParser
from ostiary.gateway.wire.frame import Frame
from ostiary.gateway.wire.json import decode_as, parse_answer

_ABSENT: Final = msgspec.Raw(b"null")
_NULL: Final = b"null"
_NO_TOOL: Final = ToolUsePart("", "", "")


class WireStart(msgspec.Struct):
    """What a block begins with; text and thinking begin without."""

    toolUse: WireToolUse | None = None  # noqa: N815 - the wire's name


class WireArguments(msgspec.Struct):
    """More of a tool call's input, as text."""

    input: str = ""


class WireReasoningDelta(msgspec.Struct):
    """More thinking, its proof, or encrypted thinking."""

    text: str | None = None
    signature: str | None = None
    redactedContent: str | None = None  # noqa: N815 - the wire's name


class WireDelta(msgspec.Struct):
    """What a block grows by: exactly one member is there."""

    text: str | None = None
    toolUse: WireArguments | None = None  # noqa: N815 - the wire's name
    reasoningContent: WireReasoningDelta | None = None  # noqa: N815 - the wire's name
    citation: msgspec.Raw = _ABSENT


class WireEvent(msgspec.Struct):
    """The payload of any event."""

    contentBlockIndex: int = 0  # noqa: N815 - the wire's name
    start: WireStart | None = None
    delta: WireDelta | None = None
    stopReason: str | None = None  # noqa: N815 - the wire's name


_DECODER: Final = msgspec.json.Decoder(WireEvent)


class StreamDecoder:
    """See gateway/dialect: frames out of bytes."""

    def __init__(self, *, events: bool) -> None:
        self._wants_events = events
        self._parser = EventStreamParser()
        self._stopped = False
        self._done = False
        self._error: UpstreamError | None = None
        # By block: the part it is, and whether a tool call's input has begun to arrive.
        self._parts: dict[int, Part] = {}
        self._streamed: set[int] = set()

    def glance(self, data: bytes) -> int:  # noqa: ARG002 - no client's stream has this form: none passes as it came
        """See gateway/dialect, `StreamDecoder.glance`."""
        return 0

    def feed(self, data: bytes) -> list[Frame]:
        """See gateway/dialect, `StreamDecoder.feed`."""
        if self._error is not None:
            raise self._error
        frames: list[Frame] = []
        for message in self._parser.feed(data):
            try:
                frames.append(self._frame(message))
            except UpstreamError as error:
                self._error = error
                if not frames:
                    raise
                break
        return frames

    def close(self) -> list[Frame]:
        """See gateway/dialect, `StreamDecoder.close`."""
        self.feed(b"")  # raises what an earlier call found behind frames it had to give first
        if self._done and not self._parser.rest:
            return []
        if not self._stopped or self._parser.rest:
            raise UpstreamError(Code.UPSTREAM_CUT, "The provider's stream ended before it was complete.")
        return [Frame(b"", (Finished(),) if self._wants_events else (), terminal=True)]

    def _frame(self, message: EventMessage) -> Frame:
        kind = message.text(":message-type")
        if kind in ("exception", "error"):
            raise stream_error(message)
        if self._done:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream goes on after its end.")
        name = message.text(":event-type")
        if name == "contentBlockDelta":
            return self._delta(message.raw, _decode(message))
        if name == "contentBlockStart":
            return self._start_block(message.raw, _decode(message))
        if name == "contentBlockStop":
            return self._stop_block(message.raw, _decode(message))
        if name == "messageStart":
            return Frame(message.raw, (Started("", ""),) if self._wants_events else ())
        if name == "messageStop":
            return self._stop(message.raw, _decode(message))
        if name == "metadata":
            return self._metadata(message)
        return Frame(message.raw)

    def _start_block(self, raw: bytes, event: WireEvent) -> Frame:
        wire = event.start.toolUse if event.start is not None else None
        if wire is None:
            raise unknown_block()
        part = tool_use(wire, "")
        produced = len(part.name.encode())
        return Frame(raw, self._begin(event.contentBlockIndex, part), content=True, produced_bytes=produced)

    def _begin(self, index: int, part: Part) -> tuple[StreamEvent, ...]:
        if not 0 <= index <= PARTS_MAX:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a content block out of range.")
        self._parts[index] = part
        return (PartStarted(0, index, part),) if self._wants_events else ()

    def _delta(self, raw: bytes, event: WireEvent) -> Frame:
        delta = event.delta
        index = event.contentBlockIndex
        if delta is None:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a delta without content.")
        if delta.text is not None:
            return self._grow(raw, index, TextPart(""), delta.text, TextDelta)
        if delta.toolUse is not None:
            if index not in self._parts:
                raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a delta outside of any block.")
            if delta.toolUse.input:
                self._streamed.add(index)
            return self._grow(raw, index, _NO_TOOL, delta.toolUse.input, ArgumentsDelta)
        if delta.reasoningContent is not None:
            return self._think(raw, index, delta.reasoningContent)
        citation = bytes(delta.citation)
        if citation == _NULL:
            raise unknown_block()
        begun = () if index in self._parts else self._begin(index, TextPart(""))
        return Frame(raw, (*begun, CitationsDelta(0, index, citation)) if self._wants_events else ())

    def _think(self, raw: bytes, index: int, delta: WireReasoningDelta) -> Frame:
        if delta.text is not None:
            return self._grow(raw, index, ThinkingPart(""), delta.text, TextDelta)
        if delta.signature is not None:
            begun = () if index in self._parts else self._begin(index, ThinkingPart(""))
            return Frame(raw, (*begun, SignatureDelta(0, index, delta.signature)) if self._wants_events else ())
        if delta.redactedContent is None or index in self._parts:
            raise unknown_block()
        return Frame(raw, self._begin(index, RedactedThinkingPart(delta.redactedContent)), content=True)

    def _grow(
        self, raw: bytes, index: int, empty: Part, text: str, kind: type[TextDelta] | type[ArgumentsDelta]
    ) -> Frame:
        """More of the part at `index`, which begins as `empty` if it has not begun."""
        found = self._parts.get(index)
        if found is not None and type(found) is not type(empty):
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream changes what a content block is.")
        begun = () if found is not None else self._begin(index, empty)
        produced = len(text) if text.isascii() else len(text.encode())
        events: tuple[StreamEvent, ...] = ()
        if self._wants_events:
            events = (*begun, kind(0, index, text)) if text else begun
        return Frame(raw, events, produced > 0, produced_bytes=produced)

    def _stop_block(self, raw: bytes, event: WireEvent) -> Frame:
        index = event.contentBlockIndex
        if self._wants_events and isinstance(self._parts.get(index), ToolUsePart) and index not in self._streamed:
            self._streamed.add(index)
            return Frame(raw, (ArgumentsDelta(0, index, NO_INPUT),))
        return Frame(raw)

    def _stop(self, raw: bytes, event: WireEvent) -> Frame:
        word = event.stopReason or ""
        finish = decode_stop(word)
        self._stopped = True
        return Frame(raw, (ChoiceFinished(0, finish),) if self._wants_events else (), finish_reason=word)

    def _metadata(self, message: EventMessage) -> Frame:
        if not self._stopped:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream reports its usage before its end.")
        tree = parse_answer(message.payload).tree
        usage, lie = decode_usage(tree.get("usage"))
        self._done = True
        events: list[StreamEvent] = []
        if self._wants_events:
            if usage is not None:
                events.append(UsageReported(usage))
            events.append(Finished())
        return Frame(
            message.raw,
            tuple(events),
            terminal=True,
            usage=usage,
            usage_invalid=lie,
            response_model=invoked_model(tree.get("trace")),
        )


def _decode(message: EventMessage) -> WireEvent:
    return decode_as(_DECODER, message.payload, UpstreamError, Code.UPSTREAM_PROTOCOL)
