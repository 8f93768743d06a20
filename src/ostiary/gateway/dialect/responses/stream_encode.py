"""A client's stream of the responses form: typed events, numbered, with `response.completed` or
`response.incomplete` at the end.

Items and their parts are told as they begin and grow. Reasoning ends where something else begins; what comes back to
it is a new item. All others end with the choice: a provider may come back to them (parallel tool calls,
log-probabilities after the text). What each was in the end is told once more then, as this form does, and all of it
again in the last event: so all of an answer is kept, up to a bound. Log-probabilities come with an empty delta of the
text that began last, or of the first one where they come before it. Only the first choice has a place.
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, OstiaryError, UpstreamError
from ostiary.core.limit import STREAM_KEPT_CHARS_MAX
from ostiary.core.message import Part, RedactedThinkingPart, RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import TokenLogprob
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
from ostiary.core.usage import Usage
from ostiary.gateway.dialect.responses.error import error_event
from ostiary.gateway.dialect.responses.reply import (
    encode_content,
    encode_item,
    encode_items,
    encode_logprobs,
    finished,
    response_head,
)
from ostiary.gateway.wire.json import encode
from ostiary.gateway.wire.sse import EVENT_STREAM, KEEPALIVE, SseParser, encode_event

_PART_CHARS: Final = 128
"""What a part or a log-probability takes besides its text, roughly."""


class _Numbered(msgspec.Struct):
    sequence_number: int = -1


_NUMBERED: Final = msgspec.json.Decoder(_Numbered)


class _PartSoFar:
    """A part that has begun: where it stands in the answer, and what came of it."""

    __slots__ = ("content", "ended", "item", "item_id", "pieces", "signature", "value")

    def __init__(self, value: Part, item: int, content: int, item_id: str) -> None:
        self.value = value
        self.item = item
        self.content = content
        self.item_id = item_id
        self.pieces: list[str] = []
        self.signature: list[str] = []
        self.ended = False

    def whole(self) -> Part:
        value, text = self.value, "".join(self.pieces)
        if isinstance(value, ToolUsePart):
            return msgspec.structs.replace(value, arguments=text)
        if isinstance(value, ThinkingPart):
            return ThinkingPart(text, "".join(self.signature), value.id)
        if isinstance(value, RefusalPart):
            return RefusalPart(text)
        return TextPart(text) if isinstance(value, TextPart) else value


class StreamEncoder:
    """See gateway/dialect: bytes out of canonical events."""

    media_type = EVENT_STREAM
    keepalive = KEEPALIVE

    def __init__(self, *, created: int) -> None:
        self._created = created
        self._number = 0
        self._written = b""
        self._begun = False
        self._ended = False
        self._head: dict[str, object] = {}
        self._reply_id = ""
        self._parts: dict[int, _PartSoFar] = {}
        self._order: list[_PartSoFar] = []
        self._last_text: _PartSoFar | None = None
        self._items: list[dict[str, object]] = []
        self._kept_chars = 0
        self._logprobs: list[TokenLogprob] = []
        self._logprobs_told = 0
        self._usage: Usage | None = None
        self._finish: ChoiceFinished | None = None

    def encode(self, event: StreamEvent) -> bytes:
        if isinstance(event, Started):
            return self._start(event)
        if isinstance(event, UsageReported):
            self._usage = event.usage
            return b""
        if isinstance(event, Finished):
            return self._finished()
        if event.choice != 0:
            return b""
        begin = b"" if self._begun else self._start(Started("", ""))
        if isinstance(event, TextDelta):
            return begin + self._text_delta(event)
        if isinstance(event, ArgumentsDelta):
            return begin + self._arguments(self._place(event.part), event.text)
        if isinstance(event, PartStarted):
            return begin + self._part(event.part, event.value)
        if isinstance(event, SignatureDelta):
            self._keep(len(event.signature))
            self._place(event.part).signature.append(event.signature)
            return begin
        if isinstance(event, LogprobsDelta):
            return begin if event.refusal else begin + self._take_logprobs(event)
        if isinstance(event, ChoiceFinished):
            self._finish = event
            return begin + self._end_items()
        return begin

    def wrote(self, data: bytes) -> None:
        if b'"sequence_number"' in data:
            self._written = data

    def error(self, error: OstiaryError, request_id: str) -> bytes:
        return encode_event(error_event(error, request_id, self._next_number()), b"error")

    def _next_number(self) -> int:
        """The number of the event behind the last one that the client got, whoever made that."""
        parser = SseParser()
        told = [event.data for event in (*parser.feed(self._written), *parser.close()) if event.data]
        try:
            return _NUMBERED.decode(told[-1]).sequence_number + 1 if told else 0
        except msgspec.DecodeError:
            return 0

    def _event(self, kind: str, members: dict[str, object]) -> bytes:
        data = encode({"type": kind, "sequence_number": self._number, **members})
        self._number += 1
        return encode_event(data, kind.encode())

    def _start(self, event: Started) -> bytes:
        self._begun = True
        self._reply_id = event.id
        created = self._created if event.created is None else event.created
        self._head = response_head(event.id, event.response_model, created, event.service_tier)
        if event.usage is not None:
            self._usage = event.usage
        body: dict[str, object] = {"response": self._head}
        return self._event("response.created", body) + self._event("response.in_progress", body)

    def _part(self, number: int, value: Part) -> bytes:
        """Begin a part, and the item it stands in where that is a new one."""
        self._keep(_PART_CHARS)
        before = self._order[-1] if self._order else None
        texts = isinstance(value, TextPart | RefusalPart)
        out = b""
        if before is not None and texts and isinstance(before.value, TextPart | RefusalPart):
            part = _PartSoFar(value, before.item, before.content + 1, before.item_id)
        else:
            index = 0 if before is None else before.item + 1
            if before is not None and isinstance(before.value, ThinkingPart | RedactedThinkingPart):
                out += self._end_reasoning(before)
            item = encode_item(_empty(value), self._reply_id, index)
            part = _PartSoFar(value, index, 0, str(item["id"]))
            if isinstance(value, ThinkingPart):
                item["summary"] = []
            out += self._event("response.output_item.added", {"output_index": index, "item": item})
        self._parts[number] = part
        self._order.append(part)
        if isinstance(value, TextPart | RefusalPart):
            out += self._event("response.content_part.added", self._at(part) | {"part": encode_content(_blank(value))})
            if isinstance(value, TextPart):
                self._last_text = part
            return out + self._text(part, value.text) + self._tell_logprobs()
        if isinstance(value, ThinkingPart):
            paragraph = {"type": "summary_text", "text": ""}
            out += self._event("response.reasoning_summary_part.added", self._at(part) | {"part": paragraph})
            if value.signature:
                part.signature.append(value.signature)
            return out + self._text(part, value.text)
        return out + self._arguments(part, value.arguments) if isinstance(value, ToolUsePart) else out

    def _at(self, part: _PartSoFar) -> dict[str, object]:
        """Where a part is, in the members of its events."""
        at: dict[str, object] = {"item_id": part.item_id, "output_index": part.item}
        if isinstance(part.value, ThinkingPart):
            at["summary_index"] = part.content
        elif isinstance(part.value, TextPart | RefusalPart):
            at["content_index"] = part.content
        return at

    def _place(self, number: int) -> _PartSoFar:
        part = self._parts.get(number)
        if part is None or part.ended:
            raise UpstreamError(
                Code.UPSTREAM_PROTOCOL, "The provider mixes parts of its answer in a way this API has no form for."
            )
        return part

    def _text_delta(self, event: TextDelta) -> bytes:
        part = self._parts.get(event.part)
        begun = b""
        if part is None or part.ended:
            begun = self._part(event.part, TextPart("") if part is None else ThinkingPart(""))
        return begun + self._text(self._parts[event.part], event.text)

    def _text(self, part: _PartSoFar, text: str) -> bytes:
        if not text:
            return b""
        self._keep(len(text))
        part.pieces.append(text)
        members = self._at(part) | {"delta": text}
        if isinstance(part.value, ThinkingPart):
            return self._event("response.reasoning_summary_text.delta", members)
        if isinstance(part.value, RefusalPart):
            return self._event("response.refusal.delta", members)
        return self._event("response.output_text.delta", members | {"logprobs": []})

    def _arguments(self, part: _PartSoFar, text: str) -> bytes:
        if not text:
            return b""
        self._keep(len(text))
        part.pieces.append(text)
        custom = isinstance(part.value, ToolUsePart) and part.value.custom
        kind = "response.custom_tool_call_input.delta" if custom else "response.function_call_arguments.delta"
        return self._event(kind, self._at(part) | {"delta": text})

    def _take_logprobs(self, event: LogprobsDelta) -> bytes:
        for item in event.logprobs:
            self._keep(_PART_CHARS * (1 + len(item.top)) + len(item.token))
        self._logprobs += event.logprobs
        return self._tell_logprobs()

    def _tell_logprobs(self) -> bytes:
        """Those not told yet, where there is a text for them to stand with."""
        part, untold = self._last_text, self._logprobs[self._logprobs_told :]
        if part is None or not untold:
            return b""
        self._logprobs_told = len(self._logprobs)
        members = self._at(part) | {"delta": "", "logprobs": encode_logprobs(untold)}
        return self._event("response.output_text.delta", members)

    def _keep(self, chars: int) -> None:
        self._kept_chars += chars
        if self._kept_chars > STREAM_KEPT_CHARS_MAX:
            raise UpstreamError(Code.UPSTREAM_TOO_LARGE, "The provider's answer is too large.")

    def _end_items(self) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        parts = self._order
        reason = None if self._finish is None else self._finish.finish_reason
        self._items = encode_items(tuple(part.whole() for part in parts), self._reply_id, reason, tuple(self._logprobs))
        out: list[bytes] = []
        for index, part in enumerate(parts):
            if part.ended:
                continue
            item = self._items[part.item]
            out += self._part_done(part, item)
            if index + 1 == len(parts) or parts[index + 1].item != part.item:
                out.append(self._event("response.output_item.done", {"output_index": part.item, "item": item}))
        return b"".join(out)

    def _end_reasoning(self, part: _PartSoFar) -> bytes:
        part.ended = True
        item = encode_item(part.whole(), self._reply_id, part.item) | {"status": "completed"}
        told = b"".join(self._part_done(part, item))
        return told + self._event("response.output_item.done", {"output_index": part.item, "item": item})

    def _part_done(self, part: _PartSoFar, item: dict[str, object]) -> list[bytes]:
        at, value, text = self._at(part), part.value, "".join(part.pieces)
        if isinstance(value, RedactedThinkingPart):
            return []
        if isinstance(value, ToolUsePart):
            if value.custom:
                return [self._event("response.custom_tool_call_input.done", at | {"input": text})]
            named = {"name": value.name, "arguments": text}
            return [self._event("response.function_call_arguments.done", at | named)]
        contents = item["summary" if isinstance(value, ThinkingPart) else "content"]
        assert type(contents) is list
        content = contents[part.content]
        if isinstance(value, ThinkingPart):
            kind, ended = (
                "reasoning_summary_part",
                self._event("response.reasoning_summary_text.done", at | {"text": text}),
            )
        elif isinstance(value, RefusalPart):
            kind, ended = "content_part", self._event("response.refusal.done", at | {"refusal": text})
        else:
            told = at | {"text": text, "logprobs": content["logprobs"]}
            kind, ended = "content_part", self._event("response.output_text.done", told)
        return [ended, self._event(f"response.{kind}.done", at | {"part": content})]

    def _finished(self) -> bytes:
        out = b"" if self._begun else self._start(Started("", ""))
        out += self._end_items()
        response = finished(
            self._head, self._items, None if self._finish is None else self._finish.finish_reason, self._usage
        )
        return out + self._event(f"response.{response['status']}", {"response": response})


def _blank(value: TextPart | RefusalPart) -> TextPart | RefusalPart:
    return RefusalPart("") if isinstance(value, RefusalPart) else TextPart("")


def _empty(value: Part) -> Part:
    """How a part is announced: its thinking and arguments follow in deltas."""
    if isinstance(value, ThinkingPart):
        return ThinkingPart("", id=value.id)
    return msgspec.structs.replace(value, arguments="") if isinstance(value, ToolUsePart) else value
