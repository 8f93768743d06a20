"""A provider's stream of the responses form, and what each of its events means.

`data.type` decides; the SSE event's name repeats it. Event types that are not read change nothing: progress, parts
that begin or end, those of a later version of the form. What an item was in the end (`output_item.done`) counts for
what was not told in deltas: signatures of reasoning, log-probabilities (which deltas tell without their bytes), and
all of it where a server sends no deltas. The stream is complete with `response.completed` or `response.incomplete`;
`response.failed` and `error` are errors. A `[DONE]` behind the end, which some servers add, is passed over.

A part's number is its item's place and its own within the item, so that parts stand in the order of the plain answer.
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import PARTS_MAX
from ostiary.core.message import Part, RedactedThinkingPart, RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    Finished,
    LogprobsDelta,
    PartStarted,
    SignatureDelta,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from ostiary.gateway.dialect import Frame
from ostiary.gateway.dialect.responses.error import failed
from ostiary.gateway.dialect.responses.reply import (
    PARAGRAPH,
    SUMMARY_SLOT,
    WireDetails,
    decode_finish,
    decode_item,
    decode_usage,
    finish_word,
    item_logprobs,
    item_parts,
    tool_use,
)
from ostiary.gateway.wire.frames import FrameReader
from ostiary.gateway.wire.json import decode_as, parse_answer
from ostiary.gateway.wire.openai import embedded_error
from ostiary.gateway.wire.sse import SseEvent

_ABSENT: Final = msgspec.Raw(b"null")
_TEXT: Final = "response.output_text.delta"
_REFUSAL: Final = "response.refusal.delta"
_SUMMARY: Final = "response.reasoning_summary_text.delta"
_REASONING: Final = "response.reasoning_text.delta"
_ARGUMENTS: Final = frozenset({"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"})
_DELTAS: Final = frozenset({_TEXT, _REFUSAL, _SUMMARY, _REASONING}) | _ARGUMENTS
_BEGIN: Final = frozenset({"response.created", "response.in_progress", "response.queued"})
_END: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_TOOLS: Final = frozenset({"function_call", "custom_tool_call"})


class WireEvent(msgspec.Struct):
    """One event of a stream."""

    type: str
    delta: str | None = None
    item_id: str | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    item: msgspec.Raw = _ABSENT
    response: msgspec.Raw = _ABSENT


class WireResponse(msgspec.Struct):
    """The response an event begins or ends."""

    id: str | None = None
    model: str | None = None
    created_at: int | float | None = None
    status: str | None = None
    incomplete_details: WireDetails | None = None
    service_tier: str | None = None
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class _Named(msgspec.Struct):
    type: str | None = None
    name: str | None = None


_DECODER: Final = msgspec.json.Decoder(WireEvent)
_RESPONSE: Final = msgspec.json.Decoder(WireResponse)
_NAMED: Final = msgspec.json.Decoder(_Named)


class StreamDecoder(FrameReader):
    """See gateway/dialect: frames out of bytes."""

    def __init__(self, *, events: bool) -> None:
        super().__init__(embedded_error)
        self._wants_events = events
        self._begun = False
        self._tools = False
        self._started: dict[int, Part] = {}
        self._told: set[int] = set()
        self._paragraphs: dict[int, int] = {}

    def _frame(self, block: SseEvent) -> Frame:
        data = block.data
        if not data:
            return Frame(block.raw)
        if data[:1] == b"[" and data.strip() == b"[DONE]":
            return Frame(block.raw)
        if self._done:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream goes on after its end.")
        try:
            event = _decode(data)
        except UpstreamError:
            if self._wants_events or block.event == "error":
                raise
            return _passed(block.raw, data)
        kind = event.type
        if kind in _DELTAS:
            return self._delta(block.raw, event)
        if kind == "response.output_item.added":
            return self._item_added(block.raw, event)
        if kind == "response.output_item.done":
            return Frame(block.raw, tuple(self._item_done(event)) if self._wants_events else ())
        if kind in _BEGIN:
            return self._begin(block.raw, event)
        if kind in _END:
            return self._end(block.raw, event)
        if kind == "error" or block.event == "error":
            raise embedded_error(msgspec.json.decode(data.decode("utf-8", "replace")))
        return Frame(block.raw)

    def _begin(self, raw: bytes, event: WireEvent) -> Frame:
        response = _response(event.response)
        events = self._start(response) if self._wants_events else []
        return Frame(raw, tuple(events), response_model=response.model or "")

    def _start(self, response: WireResponse) -> list[StreamEvent]:
        if self._begun:
            return []
        self._begun = True
        created = None if response.created_at is None else int(response.created_at)
        # At the beginning it may repeat what was asked for; `auto` is no tier that anything was served with.
        tier = None if response.service_tier == "auto" else response.service_tier
        return [Started(response.id or "", response.model or "", created, tier)]

    def _end(self, raw: bytes, event: WireEvent) -> Frame:
        response = _response(event.response)
        status = response.status or event.type.removeprefix("response.")
        error = failed(status, _value(response.error))
        if error is not None:
            raise error
        self._done = True
        usage, lie = decode_usage(_value(response.usage))
        events: list[StreamEvent] = []
        if self._wants_events:
            events += self._start(response)
            events.append(ChoiceFinished(0, decode_finish(status, response.incomplete_details, tools=self._tools)))
            if usage is not None:
                events.append(UsageReported(usage))
            events.append(Finished())
        return Frame(
            raw,
            tuple(events),
            terminal=True,
            usage=usage,
            usage_invalid=lie,
            finish_reason=finish_word(status, response.incomplete_details),
            response_model=response.model or "",
        )

    def _item_added(self, raw: bytes, event: WireEvent) -> Frame:
        try:
            named = _NAMED.decode(event.item)
        except msgspec.DecodeError:
            named = _Named()
        name = named.name if named.type in _TOOLS else None
        produced = len((name or "").encode())
        events: tuple[StreamEvent, ...] = ()
        if self._wants_events:
            item = decode_item(event.item)
            if item.type in _TOOLS:
                call = tool_use(item)
                events = (self._part(_number(event, 0), ToolUsePart(call.id, call.name, "", call.custom)),)
        return Frame(raw, events, produced > 0, produced_bytes=produced)

    def _part(self, number: int, value: Part) -> PartStarted:
        self._started[number] = value
        self._tools = self._tools or isinstance(value, ToolUsePart)
        return PartStarted(0, number, value)

    def _delta(self, raw: bytes, event: WireEvent) -> Frame:
        text = event.delta or ""
        produced = len(text) if text.isascii() else len(text.encode())
        if not self._wants_events or not text:
            return Frame(raw, (), produced > 0, produced_bytes=produced)
        return Frame(raw, tuple(self._delta_events(event, text)), produced > 0, produced_bytes=produced)

    def _delta_events(self, event: WireEvent, text: str) -> list[StreamEvent]:
        kind = event.type
        if kind in _ARGUMENTS:
            number = _number(event, 0)
            if number not in self._started:
                raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a delta outside of any item.")
            self._told.add(number)
            return [ArgumentsDelta(0, number, text)]
        value: Part
        if kind == _SUMMARY:
            number, value = _number(event, SUMMARY_SLOT), ThinkingPart("", id=event.item_id or "")
            if number in self._started and self._paragraphs.get(number) != event.summary_index:
                text = PARAGRAPH + text
            self._paragraphs[number] = event.summary_index
        elif kind == _REASONING:
            number, value = _number(event, 0), ThinkingPart("", id=event.item_id or "")
        else:
            number = _number(event, event.content_index)
            value = TextPart("") if kind == _TEXT else RefusalPart("")
        delta = TextDelta(0, number, text)
        return [delta] if number in self._started else [self._part(number, value), delta]

    def _item_done(self, event: WireEvent) -> list[StreamEvent]:
        """What the whole item says that its deltas did not."""
        events: list[StreamEvent] = []
        item = decode_item(event.item)
        for slot, part in item_parts(item).items():
            number = _number(event, slot)
            if number not in self._started:
                if isinstance(part, ToolUsePart):
                    events.append(self._part(number, msgspec.structs.replace(part, arguments="")))
                else:
                    events.append(self._part(number, part))
                    continue
            if isinstance(part, ToolUsePart):
                if part.arguments and number not in self._told:
                    events.append(ArgumentsDelta(0, number, part.arguments))
            elif isinstance(part, RedactedThinkingPart):
                events.append(SignatureDelta(0, number, part.data))
            elif isinstance(part, ThinkingPart) and part.signature:
                events.append(SignatureDelta(0, number, part.signature))
        logprobs = item_logprobs(item)
        if logprobs:
            events.append(LogprobsDelta(0, tuple(logprobs)))
        return events


def _number(event: WireEvent, slot: int) -> int:
    """A part's number, of its place in its item. Raises UpstreamError upstream.protocol for a place out of range."""
    if not (0 <= event.output_index < PARTS_MAX and 0 <= slot < PARTS_MAX):
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has an item out of range.")
    return event.output_index * PARTS_MAX + slot


def _value(raw: msgspec.Raw) -> object:
    value: object = msgspec.json.decode(raw)
    return value


def _response(raw: msgspec.Raw) -> WireResponse:
    return decode_as(_RESPONSE, raw, UpstreamError, Code.UPSTREAM_PROTOCOL)


def _decode(data: bytes) -> WireEvent:
    """An event."""
    return decode_as(_DECODER, data, UpstreamError, Code.UPSTREAM_PROTOCOL)


def _passed(raw: bytes, data: bytes) -> Frame:
    """An event whose members have other types than those read here, in a stream that only passes through: all of it
    counts as content. What has no type, or is one of those that are read, is no event of this form."""
    kind = parse_answer(data).tree.get("type")
    if type(kind) is not str or kind in _BEGIN | _END or kind == "error":
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has an event of an unexpected form.")
    return Frame(raw, content=True, produced_bytes=len(data))
