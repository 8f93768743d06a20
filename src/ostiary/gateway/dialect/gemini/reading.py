"""What answers of Google's mean, whole or in chunks, in events. A whole answer is a stream of one chunk, so that both
ways of reading are one.

A run of texts is one part, and so is a run of thoughts: a stream cuts them anywhere. A signature ends its part; one
that comes with an empty text belongs to the part before it, where that has the same kind and none yet. A function
call comes whole; one without an id gets one that is the same streamed or plain. Citations and grounding belong to
searches that only a caller of this form can ask for; they have no place in another form and stay behind.
"""

import re
from typing import Final

from ostiary.core.error import Code, UpstreamError
from ostiary.core.message import RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import FinishReason, TokenLogprob
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    LogprobsDelta,
    PartStarted,
    SignatureDelta,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from ostiary.core.usage import Usage
from ostiary.gateway.dialect.gemini.chunk import (
    WireCandidate,
    WireChunk,
    WireFunctionCall,
    WireLogprobs,
    WirePart,
    WireToken,
    decode_finish,
)

_NULL: Final = b"null"
_NO_ID: Final = re.compile(r"[^A-Za-z0-9_-]")


class _Candidate:
    """What has come of one candidate. `open` is the kind of the part that may go on, None where none may."""

    __slots__ = ("calls", "open", "parts")

    def __init__(self) -> None:
        self.parts = 0
        self.calls = 0
        self.open: type[TextPart | ThinkingPart] | None = None


class Reading:
    """Takes chunks one by one."""

    def __init__(self) -> None:
        self._begun = False
        self._id = ""
        self._candidates: dict[int, _Candidate] = {}

    def events(self, chunk: WireChunk, usage: Usage | None) -> list[StreamEvent]:
        """The events of a chunk. Raises UpstreamError upstream.protocol for what cannot be told in our terms."""
        events: list[StreamEvent] = []
        if not self._begun:
            self._begun = True
            self._id = chunk.response_id or ""
            events.append(Started(self._id, chunk.model_version or "", usage=usage))
        for number, wire in sorted(chunk.placed(), key=lambda placed: placed[0]):
            self._candidate(number, wire, events)
        if chunk.blocked() and not chunk.candidates and not self._candidates:
            message = chunk.prompt_feedback.block_reason_message if chunk.prompt_feedback is not None else None
            if message:
                events += [PartStarted(0, 0, RefusalPart("")), TextDelta(0, 0, message)]
            events.append(ChoiceFinished(0, FinishReason.CONTENT_FILTER))
        if usage is not None:
            events.append(UsageReported(usage))
        return events

    def _candidate(self, number: int, wire: WireCandidate, events: list[StreamEvent]) -> None:
        state = self._candidates.get(number)
        if state is None:
            state = self._candidates[number] = _Candidate()
        if wire.content is not None:
            for part in wire.content.parts or ():
                self._part(number, state, part, events)
        if wire.logprobs_result is not None:
            events.append(LogprobsDelta(number, _logprobs(wire.logprobs_result)))
        if wire.finish_reason:
            events.append(ChoiceFinished(number, decode_finish(wire.finish_reason, tools=state.calls > 0)))

    def _part(self, number: int, state: _Candidate, part: WirePart, events: list[StreamEvent]) -> None:
        if part.function_call is not None:
            self._call(number, state, part.function_call, part.thought_signature or "", events)
            return
        if part.other():
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has a part that is not known here.")
        text, signature = part.text or "", part.thought_signature or ""
        if not text and not signature:
            return
        kind = ThinkingPart if part.thought else TextPart
        if state.open is not kind:
            events.append(PartStarted(number, state.parts, kind("")))
            state.parts += 1
            state.open = kind
        if text:
            events.append(TextDelta(number, state.parts - 1, text))
        if signature:
            events.append(SignatureDelta(number, state.parts - 1, signature))
            state.open = None

    def _call(
        self, number: int, state: _Candidate, call: WireFunctionCall, signature: str, events: list[StreamEvent]
    ) -> None:
        if not call.name:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has a function call without a name.")
        if call.will_continue or bytes(call.partial_args) != _NULL:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has a function call in pieces.")
        call_id = call.id or f"call_{_NO_ID.sub('', self._id)[:64]}_{number}_{state.calls}"
        args = bytes(call.args)
        place = state.parts
        events.append(PartStarted(number, place, ToolUsePart(call_id, call.name, "", signature=signature)))
        events.append(ArgumentsDelta(number, place, "{}" if args == _NULL else args.decode()))
        state.parts += 1
        state.calls += 1
        state.open = None


def _logprobs(wire: WireLogprobs) -> tuple[TokenLogprob, ...]:
    tops = wire.top_candidates or ()
    return tuple(
        TokenLogprob(
            item.token,
            item.log_probability,
            None,
            tuple(_token(top) for top in (tops[index].candidates or ())) if index < len(tops) else (),
        )
        for index, item in enumerate(wire.chosen_candidates or ())
    )


def _token(wire: WireToken) -> TokenLogprob:
    return TokenLogprob(wire.token, wire.log_probability)
