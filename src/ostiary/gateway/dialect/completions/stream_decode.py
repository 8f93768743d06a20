"""A provider's stream in the form of completions, and what each of its events means: chunks like plain answers, usage
in a chunk of its own or in the last one, `[DONE]`. The stream is complete only with that."""

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.message import TextPart
from ostiary.core.stream import (
    ChoiceFinished,
    Finished,
    PartStarted,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Frame
from ostiary.gateway.dialect.completions.reply import DECODER, WireReply, decode_finish
from ostiary.gateway.wire.frames import FrameReader
from ostiary.gateway.wire.json import decode_as, parse_answer
from ostiary.gateway.wire.openai import embedded_error
from ostiary.gateway.wire.openai_usage import decode_usage
from ostiary.gateway.wire.sse import SseEvent

_CHOICE_INDEX_MAX = 4_095


class StreamDecoder(FrameReader):
    """See gateway/dialect: frames out of bytes."""

    def __init__(self, *, events: bool) -> None:
        super().__init__(embedded_error)
        self._wants_events = events
        self._started: set[int] = set()
        self._begun = False

    def _frame(self, block: SseEvent) -> Frame:
        data = block.data
        if not data:
            return Frame(block.raw)
        if self._done:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream goes on after its end.")
        if data.strip() == b"[DONE]":
            self._done = True
            return Frame(block.raw, (Finished(),) if self._wants_events else (), terminal=True)
        tree = parse_answer(data.decode("utf-8", "replace").encode()).tree
        if tree.get("error") or tree.get("object") == "error" or block.event == "error":
            raise embedded_error(tree)
        usage, lie = decode_usage(tree.get("usage"))
        reports = usage is not None or lie
        if type(tree.get("choices")) is not list and not reports:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a chunk without choices.")
        chunk = decode_as(DECODER, msgspec.json.encode(tree), UpstreamError, Code.UPSTREAM_PROTOCOL)
        choices = chunk.choices or []
        produced = sum(len(choice.text.encode("utf-8", "replace")) for choice in choices if choice.text)
        finish = next((choice.finish_reason for choice in reversed(choices) if choice.finish_reason), None)
        return Frame(
            block.raw,
            tuple(self._events(chunk, usage)) if self._wants_events else (),
            produced > 0,
            reports and not choices,
            False,
            usage,
            lie,
            finish or "",
            chunk.model or "",
            produced,
        )

    def _events(self, chunk: WireReply, usage: Usage | None) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        if not self._begun:
            self._begun = True
            created = None if chunk.created is None else int(chunk.created)
            events.append(Started(chunk.id or "", chunk.model or "", created, None, chunk.system_fingerprint))
        for choice in chunk.choices or ():
            if not 0 <= choice.index <= _CHOICE_INDEX_MAX:
                raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's stream has a choice out of range.")
            if choice.text:
                if choice.index not in self._started:
                    self._started.add(choice.index)
                    events.append(PartStarted(choice.index, 0, TextPart("")))
                events.append(TextDelta(choice.index, 0, choice.text))
            if choice.finish_reason:
                events.append(ChoiceFinished(choice.index, decode_finish(choice.finish_reason)))
        if usage is not None:
            events.append(UsageReported(usage))
        return events
