"""From pieces to the whole and back: `fold` of a reply's events is the reply, `unfold` gives events that fold to it."""

import msgspec

from ostiary.core.message import (
    Part,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolUsePart,
)
from ostiary.core.reply import ChatReply, Choice, FinishReason, TokenLogprob
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    CitationsDelta,
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


class _PartSoFar:
    """One part while it grows. Pieces are joined once, at the end, so that folding takes linear time."""

    __slots__ = ("citations", "pieces", "signature", "value")

    def __init__(self, value: Part) -> None:
        self.value = value
        self.pieces: list[str] = []
        self.signature: list[str] = []
        self.citations: list[bytes] = []

    def whole(self) -> Part:
        value = self.value
        text = "".join(self.pieces)
        if isinstance(value, TextPart):
            citations = value.citations
            if self.citations:
                citations = b"[" + b",".join(self.citations) + b"]"
            return TextPart(value.text + text, value.cache, citations, value.signature + "".join(self.signature))
        if isinstance(value, ToolUsePart):
            signature = value.signature + "".join(self.signature)
            return msgspec.structs.replace(value, arguments=value.arguments + text, signature=signature)
        if isinstance(value, ThinkingPart):
            return ThinkingPart(value.text + text, value.signature + "".join(self.signature), value.id)
        if isinstance(value, RefusalPart):
            return RefusalPart(value.text + text)
        return value


class _ChoiceSoFar:
    __slots__ = ("finish_reason", "logprobs", "parts", "refusal_logprobs", "stop_sequence")

    def __init__(self) -> None:
        self.parts: dict[int, _PartSoFar] = {}
        self.finish_reason: FinishReason | None = None
        self.stop_sequence: str | None = None
        self.logprobs: list[TokenLogprob] | None = None
        self.refusal_logprobs: list[TokenLogprob] | None = None

    def part(self, index: int, fallback: Part) -> _PartSoFar:
        """The part at `index`; a delta without a start begins one with `fallback`."""
        part = self.parts.get(index)
        if part is None:
            part = self.parts[index] = _PartSoFar(fallback)
        return part

    def whole(self) -> Choice:
        return Choice(
            tuple(self.parts[index].whole() for index in sorted(self.parts)),
            self.finish_reason,
            self.stop_sequence,
            None if self.logprobs is None else tuple(self.logprobs),
            None if self.refusal_logprobs is None else tuple(self.refusal_logprobs),
        )


class Fold:
    """Takes events one by one; `reply` may be asked at any time and is what has arrived so far."""

    def __init__(self) -> None:
        self._started: Started | None = None
        self._choices: dict[int, _ChoiceSoFar] = {}
        self._usage: Usage | None = None
        self.finished = False

    def add(self, event: StreamEvent) -> None:
        if isinstance(event, TextDelta):
            self._choice(event.choice).part(event.part, TextPart("")).pieces.append(event.text)
        elif isinstance(event, ArgumentsDelta):
            self._choice(event.choice).part(event.part, ToolUsePart("", "", "")).pieces.append(event.text)
        elif isinstance(event, PartStarted):
            self._choice(event.choice).parts[event.part] = _PartSoFar(event.value)
        elif isinstance(event, SignatureDelta):
            self._choice(event.choice).part(event.part, ThinkingPart("")).signature.append(event.signature)
        elif isinstance(event, CitationsDelta):
            self._choice(event.choice).part(event.part, TextPart("")).citations.append(event.citation)
        elif isinstance(event, LogprobsDelta):
            self._add_logprobs(event)
        elif isinstance(event, ChoiceFinished):
            choice = self._choice(event.choice)
            choice.finish_reason = event.finish_reason
            choice.stop_sequence = event.stop_sequence
        elif isinstance(event, UsageReported):
            self._usage = event.usage
        elif isinstance(event, Started):
            self._started = event
            if event.usage is not None:
                self._usage = event.usage
        else:
            self.finished = True

    def reply(self) -> ChatReply:
        started = self._started or Started("", "")
        return ChatReply(
            started.id,
            started.response_model,
            tuple(self._choices[index].whole() for index in sorted(self._choices)),
            self._usage,
            started.created,
            started.service_tier,
            started.system_fingerprint,
        )

    def _choice(self, index: int) -> _ChoiceSoFar:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _ChoiceSoFar()
        return choice

    def _add_logprobs(self, event: LogprobsDelta) -> None:
        choice = self._choice(event.choice)
        if event.refusal:
            if choice.refusal_logprobs is None:
                choice.refusal_logprobs = []
            choice.refusal_logprobs += event.logprobs
        elif choice.logprobs is None:
            choice.logprobs = list(event.logprobs)
        else:
            choice.logprobs += event.logprobs


def fold(events: "list[StreamEvent] | tuple[StreamEvent, ...]") -> ChatReply:
    """The whole reply. Parts and choices are in the order of their numbers, which may have gaps."""
    folding = Fold()
    for event in events:
        folding.add(event)
    return folding.reply()


def unfold(reply: ChatReply) -> list[StreamEvent]:
    """Events that fold to `reply`: each part is started empty and then given whole."""
    events: list[StreamEvent] = [
        Started(reply.id, reply.response_model, reply.created, reply.service_tier, reply.system_fingerprint)
    ]
    for number, choice in enumerate(reply.choices):
        for index, part in enumerate(choice.parts):
            events += _unfold_part(number, index, part)
        if choice.logprobs is not None:
            events.append(LogprobsDelta(number, choice.logprobs))
        if choice.refusal_logprobs is not None:
            events.append(LogprobsDelta(number, choice.refusal_logprobs, refusal=True))
        if choice.finish_reason is not None:
            events.append(ChoiceFinished(number, choice.finish_reason, choice.stop_sequence))
    if reply.usage is not None:
        events.append(UsageReported(reply.usage))
    events.append(Finished())
    return events


def _unfold_part(choice: int, index: int, part: Part) -> list[StreamEvent]:
    if isinstance(part, TextPart):
        told: list[StreamEvent] = [PartStarted(choice, index, TextPart("", part.cache, part.citations))]
        if part.text:
            told.append(TextDelta(choice, index, part.text))
        if part.signature:
            told.append(SignatureDelta(choice, index, part.signature))
        return told
    if isinstance(part, ToolUsePart):
        start = PartStarted(choice, index, msgspec.structs.replace(part, arguments=""))
        return [start, ArgumentsDelta(choice, index, part.arguments)] if part.arguments else [start]
    if isinstance(part, ThinkingPart):
        events: list[StreamEvent] = [PartStarted(choice, index, ThinkingPart("", id=part.id))]
        if part.text:
            events.append(TextDelta(choice, index, part.text))
        if part.signature:
            events.append(SignatureDelta(choice, index, part.signature))
        return events
    if isinstance(part, RefusalPart):
        start = PartStarted(choice, index, RefusalPart(""))
        return [start, TextDelta(choice, index, part.text)] if part.text else [start]
    if not isinstance(part, RedactedThinkingPart):
        raise TypeError(f"a reply holds no {type(part).__name__}")
    return [PartStarted(choice, index, part)]
