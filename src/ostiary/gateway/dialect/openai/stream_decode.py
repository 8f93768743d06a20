"""A provider's stream in OpenAI's form, and what each of its events means.

Taken as they come from one server or another: the role or a tool's name repeated in every delta, usage in a chunk
of its own, in the last one, in every one or nowhere, empty choices, tool calls without id or index, empty data.
A chunk whose members have other types than OpenAI's is passed on unread where nothing has to be translated.
The stream is complete only with `[DONE]`: a server that stops before it may have lost something.

A choice's parts have fixed places (thinking, text, refusal, then tool calls by their index), so that the whole is
the same as the plain answer in whatever order the pieces come.
"""

from typing import Final, Literal

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.message import RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    Finished,
    LogprobsDelta,
    PartStarted,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Frame
from ostiary.gateway.dialect.openai.reply import (
    CHOICE_INDEX_MAX,
    TOOL_INDEX_MAX,
    WireLogprobs,
    WireMessage,
    WireToolCall,
    decode_finish,
    decode_logprobs,
    tool_call_id,
)
from ostiary.gateway.wire.frames import FrameReader
from ostiary.gateway.wire.json import decode_as, parse_answer
from ostiary.gateway.wire.openai import embedded_error
from ostiary.gateway.wire.openai_usage import decode_usage
from ostiary.gateway.wire.sse import SseEvent

_THINKING: Final = 0
_TEXT: Final = 1
_REFUSAL: Final = 2
_TOOLS: Final = 3
_FUNCTION: Final = TOOL_INDEX_MAX + 1
_ABSENT: Final = msgspec.Raw(b"null")


class WireDelta(msgspec.Struct):
    """What a chunk adds to a choice."""

    delta: WireMessage | None = None
    index: int = 0
    finish_reason: str | None = None
    logprobs: WireLogprobs | None = None


class WireChunk(msgspec.Struct):
    """One chunk of a stream."""

    choices: list[WireDelta] | None = None
    usage: msgspec.Raw = _ABSENT
    model: str | None = None
    id: str | None = None
    created: int | float | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    error: msgspec.Raw = _ABSENT
    object: str | None = None


class _PlainDelta(msgspec.Struct, gc=False):
    """A delta of text and nothing else: what else a delta may have is null where it is there."""

    content: str
    refusal: None = None
    reasoning_content: None = None
    reasoning: None = None
    tool_calls: None = None
    function_call: None = None


class _PlainChoice(msgspec.Struct, gc=False):
    """A choice in the middle of its text."""

    delta: _PlainDelta
    index: int = 0
    finish_reason: None = None
    logprobs: None = None


class _PlainChunk(msgspec.Struct, gc=False):
    """A chunk that carries some text of one choice, as nearly all do: a part of what WireChunk takes."""

    choices: tuple[_PlainChoice]
    usage: None = None
    model: str | None = None
    id: str | None = None
    created: int | float | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    error: None = None
    object: Literal["chat.completion.chunk"] | None = None


_DECODER: Final = msgspec.json.Decoder(WireChunk)
_PLAIN: Final = msgspec.json.Decoder(_PlainChunk)
_NULL: Final = b"null"


class _Choice:
    """What has begun in one choice. A tool call is held until its name has come."""

    __slots__ = ("held", "last_tool", "started")

    def __init__(self) -> None:
        self.started: set[int] = set()
        self.held: dict[int, tuple[str, list[str]]] = {}
        self.last_tool = -1


class StreamDecoder(FrameReader):
    """See gateway/dialect: frames out of bytes."""

    def __init__(self, *, events: bool) -> None:
        super().__init__(embedded_error)
        self._wants_events = events
        self._choices: dict[int, _Choice] = {}
        self._named: set[tuple[int, int]] = set()
        self._id = ""
        self._begun = False
        self._plain = False
        self._response_model: str | None = None

    def glance(self, data: bytes) -> int:
        """See gateway/dialect, `StreamDecoder.glance`."""
        if not self._plain or self._error is not None:
            return 0
        event = self._sse.single(data)
        if event is None or (line := event.data) is None or event.event:
            return 0
        try:
            if not line.isascii():
                line.decode()
            chunk = _PLAIN.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._plain = False
            return 0
        if chunk.model != self._response_model:
            return 0
        text = chunk.choices[0].delta.content
        return len(text) if text.isascii() else len(text.encode())

    def _frame(self, block: SseEvent) -> Frame:
        data = block.data
        if not data:
            return Frame(block.raw)
        if self._done:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream goes on after its end.")
        if data[:1] == b"[" and data.strip() == b"[DONE]":
            self._done, self._plain = True, False
            return Frame(block.raw, self._finish() if self._wants_events else (), terminal=True)
        try:
            chunk = _DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if not self._wants_events:
                return _passed(block.raw, data)
            chunk = _decode(data)  # says what is wrong
        if chunk.error is not _ABSENT and bytes(chunk.error) != _NULL:
            raise embedded_error({"error": msgspec.json.decode(chunk.error)})
        if chunk.object == "error" or block.event == "error":
            raise embedded_error(msgspec.json.decode(data.decode("utf-8", "replace")))
        return self._chunk(block.raw, chunk)

    def _chunk(self, raw: bytes, chunk: WireChunk) -> Frame:
        usage: Usage | None = None
        lie = False
        reports = chunk.usage is not _ABSENT and bytes(chunk.usage) != _NULL
        if reports:
            usage, lie = decode_usage(msgspec.json.decode(chunk.usage))
        choices = chunk.choices
        if choices is None and not reports:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a chunk without choices.")
        produced = other = 0
        finish = ""
        for choice in choices or ():
            if choice.finish_reason:
                finish = choice.finish_reason
            delta = choice.delta
            if delta is not None:
                text = delta.content
                if text:
                    produced += len(text) if text.isascii() else len(text.encode())
                if (
                    delta.tool_calls is not None
                    or delta.refusal
                    or delta.reasoning_content
                    or delta.reasoning
                    or delta.function_call is not None
                ):
                    other += self._other_bytes(choice.index, delta)
        # Text is mostly followed by more of it, and then a glance at the next one will do.
        self._plain = produced > 0 and not (other or finish or reports)
        self._response_model = chunk.model
        produced += other
        return Frame(
            raw,
            tuple(self._events(chunk, usage)) if self._wants_events else (),
            produced > 0,
            reports and not choices,
            False,
            usage,
            lie,
            finish,
            chunk.model or "",
            produced,
        )

    def _other_bytes(self, number: int, delta: WireMessage) -> int:
        """The size of what a delta carries besides its content. A name that comes with every piece counts once."""
        text = delta.thinking() + (delta.refusal or "")
        for call in delta.tool_calls or ():
            if call.function is not None:
                name, piece = call.function.name, call.function.arguments
            elif call.custom is not None:
                name, piece = call.custom.name, call.custom.input
            else:
                continue
            place = (number, -1 if call.index is None else call.index)
            if name and (call.index is None or place not in self._named):
                self._named.add(place)
                text += name
            text += piece or ""
        if delta.function_call is not None and not delta.tool_calls:
            text += (delta.function_call.name or "") + (delta.function_call.arguments or "")
        return len(text.encode("utf-8", "replace"))

    def _events(self, chunk: WireChunk, usage: Usage | None) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        if not self._begun and (chunk.choices or usage is not None):
            self._begun = True
            self._id = chunk.id or ""
            created = None if chunk.created is None else int(chunk.created)
            events.append(Started(self._id, chunk.model or "", created, chunk.service_tier, chunk.system_fingerprint))
        for choice in chunk.choices or ():
            self._choice_events(choice, events)
        if usage is not None:
            events.append(UsageReported(usage))
        return events

    def _choice_events(self, wire: WireDelta, events: list[StreamEvent]) -> None:
        number = wire.index
        state = self._choices.get(number)
        if state is None:
            if not 0 <= number <= CHOICE_INDEX_MAX:
                raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a choice out of range.")
            state = self._choices[number] = _Choice()
        delta = wire.delta
        if delta is not None:
            thinking = delta.thinking()
            if thinking:
                if _THINKING not in state.started:
                    state.started.add(_THINKING)
                    events.append(PartStarted(number, _THINKING, ThinkingPart("")))
                events.append(TextDelta(number, _THINKING, thinking))
            if delta.content:
                if _TEXT not in state.started:
                    state.started.add(_TEXT)
                    events.append(PartStarted(number, _TEXT, TextPart("")))
                events.append(TextDelta(number, _TEXT, delta.content))
            if delta.refusal:
                if _REFUSAL not in state.started:
                    state.started.add(_REFUSAL)
                    events.append(PartStarted(number, _REFUSAL, RefusalPart("")))
                events.append(TextDelta(number, _REFUSAL, delta.refusal))
            for call in delta.tool_calls or ():
                self._tool(number, state, _tool_index(call, state), call, events)
            # Beside tool calls it is the same call once more, in the form for older clients.
            if delta.function_call is not None and state.last_tool < 0:
                self._tool(number, state, _FUNCTION, WireToolCall(function=delta.function_call), events)
        if wire.logprobs is not None:
            if wire.logprobs.content is not None:
                events.append(LogprobsDelta(number, decode_logprobs(wire.logprobs.content)))
            if wire.logprobs.refusal is not None:
                events.append(LogprobsDelta(number, decode_logprobs(wire.logprobs.refusal), refusal=True))
        if wire.finish_reason:
            if state.held:
                raise _nameless()
            events.append(ChoiceFinished(number, decode_finish(wire.finish_reason)))

    def _tool(self, number: int, state: _Choice, index: int, call: WireToolCall, events: list[StreamEvent]) -> None:
        part = _TOOLS + index
        if call.custom is not None:
            name, piece = call.custom.name, call.custom.input
        elif call.function is not None:
            name, piece = call.function.name, call.function.arguments
        else:
            name, piece = None, None
        if part not in state.started:
            call_id, pieces = state.held.pop(part, ("", []))
            call_id = call_id or call.id or ""
            if not name:
                if piece:
                    pieces.append(piece)
                state.held[part] = (call_id, pieces)
                return
            state.started.add(part)
            call_id = call_id or tool_call_id(self._id, number, index)
            events.append(PartStarted(number, part, ToolUsePart(call_id, name, "", custom=call.custom is not None)))
            piece = "".join(pieces) + (piece or "")
        if piece:
            events.append(ArgumentsDelta(number, part, piece))

    def _finish(self) -> tuple[StreamEvent, ...]:
        for state in self._choices.values():
            if state.held:
                raise _nameless()
        return (Finished(),)


def _decode(data: bytes) -> WireChunk:
    """A chunk."""
    return decode_as(_DECODER, data, UpstreamError, Code.UPSTREAM_PROTOCOL)


def _passed(raw: bytes, data: bytes) -> Frame:
    """A chunk of a form not known here, in a stream that only passes through: all of it counts as content.

    Compatible servers extend the form (content in parts, reasoning as an object); a client of the same dialect that
    chose such a server understands it. What is no JSON object with choices is still no chunk.
    """
    tree = parse_answer(data).tree
    if type(tree.get("choices")) is not list or tree.get("error"):
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a chunk of an unexpected form.")
    usage, lie = decode_usage(tree.get("usage"))
    return Frame(raw, content=True, usage=usage, usage_invalid=lie, produced_bytes=len(data))


def _tool_index(call: WireToolCall, state: _Choice) -> int:
    """The call's place. Without an index, an id or a name begins the next call and anything else continues the last."""
    index = call.index
    if index is None:
        begins = bool(call.id) or (call.function is not None and bool(call.function.name))
        index = state.last_tool + 1 if begins or state.last_tool < 0 else state.last_tool
    if not 0 <= index <= TOOL_INDEX_MAX:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a tool call out of range.")
    state.last_tool = index
    return index


def _nameless() -> UpstreamError:
    return UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a tool call without a name.")
