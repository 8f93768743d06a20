"""A client's stream in Google's form: chunks as server-sent events, or as one JSON array.

A function call is told whole. From the first one on, what comes of a choice is kept until the choice has finished and
then told in the order of its parts: a call that grows, or stands before a later text, could not be told in its place
otherwise. Finish reasons and usage stand in the last chunk.
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, OstiaryError, UpstreamError
from ostiary.core.fold import Fold
from ostiary.core.limit import STREAM_KEPT_CHARS_MAX
from ostiary.core.message import Part, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import FinishReason
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    CitationsDelta,
    LogprobsDelta,
    PartStarted,
    SignatureDelta,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from ostiary.core.usage import Usage
from ostiary.gateway.dialect.gemini.chunk import FINISH_WORDS, encode_usage
from ostiary.gateway.dialect.gemini.error import error_object
from ostiary.gateway.dialect.gemini.reply import encode_logprobs, encode_part
from ostiary.gateway.wire.json import encode
from ostiary.gateway.wire.sse import EVENT_STREAM, KEEPALIVE, encode_event

_NOTHING: Final = b'{"text":""}'
"""Stands where a chunk has no part: Google's SDKs keep no turn of which a chunk has none."""

_NEXT: Final = b",\r\n"
"""What stands between two objects of an array."""

_EVENT_CHARS: Final = 128
"""What an event that is kept takes besides its text, roughly."""

_PartEvent = PartStarted | TextDelta | ArgumentsDelta | SignatureDelta | CitationsDelta


class _Kept:
    """What is kept of a choice since its first function call, which stands at `first`."""

    __slots__ = ("first", "fold")

    def __init__(self, first: int) -> None:
        self.first = first
        self.fold = Fold()


class StreamEncoder:
    """See gateway/dialect: bytes out of canonical events. `array` is for one JSON array instead of events."""

    def __init__(self, *, array: bool = False) -> None:
        self.media_type = b"application/json; charset=utf-8" if array else EVENT_STREAM
        self.keepalive = b"\n" if array else KEEPALIVE
        self._written = False
        self._array = array
        self._separator = b"["
        self._tail = b""
        self._usage: Usage | None = None
        self._thoughts: set[tuple[int, int]] = set()
        self._kept: dict[int, _Kept] = {}
        self._kept_chars = 0
        self._finishes: dict[int, FinishReason | None] = {}
        self._start(Started("", ""))

    def encode(self, event: StreamEvent) -> bytes:
        if isinstance(event, PartStarted | TextDelta | ArgumentsDelta | SignatureDelta | CitationsDelta):
            return self._part_event(event)
        if isinstance(event, ChoiceFinished):
            self._finishes[event.choice] = event.finish_reason
            return self._let_out(event.choice)
        if isinstance(event, LogprobsDelta):
            if event.refusal:
                return b""
            return self._chunk(event.choice, _NOTHING, b',"logprobsResult":' + encode(encode_logprobs(event.logprobs)))
        if isinstance(event, UsageReported):
            self._usage = event.usage
            return b""
        if isinstance(event, Started):
            self._start(event)
            return b""
        return self._end()

    def wrote(self, data: bytes) -> None:
        self._written = self._written or bool(data)

    def error(self, error: OstiaryError, request_id: str) -> bytes:
        body = encode(error_object(error, request_id))
        return (_NEXT if self._written else b"[") + body + b"]" if self._array else encode_event(body)

    def _start(self, event: Started) -> None:
        names = {"modelVersion": event.response_model, "responseId": event.id}
        self._tail = b"," + encode(names)[1:]
        if event.usage is not None:
            self._usage = event.usage

    def _part_event(self, event: _PartEvent) -> bytes:
        self._finishes.setdefault(event.choice, None)
        kept = self._kept.get(event.choice)
        call = isinstance(event, ArgumentsDelta) or (
            isinstance(event, PartStarted) and isinstance(event.value, ToolUsePart)
        )
        if call and kept is None:
            kept = self._kept[event.choice] = _Kept(event.part)
        if kept is not None and (call or event.part > kept.first):
            kept.first = min(kept.first, event.part) if call else kept.first
            self._keep(kept, event)
            return b""
        place = (event.choice, event.part)
        if isinstance(event, TextDelta):
            part: Part = ThinkingPart(event.text) if place in self._thoughts else TextPart(event.text)
        elif isinstance(event, SignatureDelta):
            part = (
                ThinkingPart("", event.signature)
                if place in self._thoughts
                else TextPart("", signature=event.signature)
            )
        elif isinstance(event, PartStarted):
            part = event.value
            if isinstance(part, ThinkingPart):
                self._thoughts.add(place)
        else:
            return b""
        return self._parts(event.choice, (part,))

    def _keep(self, kept: _Kept, event: _PartEvent) -> None:
        self._kept_chars += _EVENT_CHARS + (len(event.text) if isinstance(event, TextDelta | ArgumentsDelta) else 0)
        if self._kept_chars > STREAM_KEPT_CHARS_MAX:
            raise UpstreamError(Code.UPSTREAM_TOO_LARGE, "The provider's tool calls are too large.")
        kept.fold.add(event)

    def _let_out(self, choice: int) -> bytes:
        kept = self._kept.pop(choice, None)
        if kept is None:
            return b""
        return self._parts(choice, kept.fold.reply().choices[0].parts)

    def _parts(self, choice: int, parts: tuple[Part, ...]) -> bytes:
        encoded = [encode(body) for part in parts if (body := encode_part(part)) is not None]
        return self._chunk(choice, b",".join(encoded)) if encoded else b""

    def _chunk(self, choice: int, parts: bytes, more: bytes = b"") -> bytes:
        return self._piece(
            b'{"candidates":[{"content":{"parts":[%b],"role":"model"},"index":%d%b}]%b'
            % (parts, choice, more, self._tail)
        )

    def _piece(self, data: bytes) -> bytes:
        if self._array:
            separator, self._separator = self._separator, _NEXT
            return separator + data
        # The only line ends outside of strings are those of a function call's own arguments.
        return encode_event(data.replace(b"\n", b"\ndata: ") if b"\n" in data else data)

    def _end(self) -> bytes:
        out = b"".join(self._let_out(choice) for choice in sorted(self._kept))
        candidates: list[dict[str, object]] = []
        for choice, finish in sorted(self._finishes.items()):
            candidate: dict[str, object] = {"content": {"parts": [msgspec.Raw(_NOTHING)], "role": "model"}}
            if finish is not None:
                candidate["finishReason"] = FINISH_WORDS[finish]
            candidates.append(candidate | {"index": choice})
        body: dict[str, object] = {"candidates": candidates}
        if self._usage is not None:
            body["usageMetadata"] = encode_usage(self._usage)
        return out + self._piece(encode(body)[:-1] + self._tail) + (b"]" if self._array else b"")
