"""A reply in pieces: canonical stream events. Folding them gives exactly the whole reply (`core/fold.py`).

Events arrive in order per choice. A part starts with `PartStarted`, grows by deltas and needs no end event: the
next part's start, or the choice's finish, ends it. `part` is the part's place within its choice: parts stand in the
order of these numbers, which may have gaps and need not arrive in order (parallel tool calls may be mixed).
"""

import msgspec

from ostiary.core.message import Part
from ostiary.core.reply import FinishReason, TokenLogprob
from ostiary.core.usage import Usage


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The reply has begun. `usage` is what is known so far (Anthropic reports the prompt's tokens first)."""

    id: str
    response_model: str
    created: int | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    usage: Usage | None = None


class PartStarted(msgspec.Struct, frozen=True, tag="part_started"):
    """A part begins with `value`: an empty or complete text, thinking, refusal, tool use (arguments "") part."""

    choice: int
    part: int
    value: Part


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    """More text for a text, refusal or thinking part."""

    choice: int
    part: int
    text: str


class ArgumentsDelta(msgspec.Struct, frozen=True, tag="arguments"):
    """More of a tool call's argument text, exactly as produced."""

    choice: int
    part: int
    text: str


class SignatureDelta(msgspec.Struct, frozen=True, tag="signature"):
    """More of the signature of a thinking, text or tool use part."""

    choice: int
    part: int
    signature: str


class CitationsDelta(msgspec.Struct, frozen=True, tag="citations"):
    """One more citation of a text part, as raw JSON."""

    choice: int
    part: int
    citation: bytes


class LogprobsDelta(msgspec.Struct, frozen=True, tag="logprobs"):
    """Log-probabilities of tokens just sent (`refusal`: of the refusal's tokens)."""

    choice: int
    logprobs: tuple[TokenLogprob, ...]
    refusal: bool = False


class ChoiceFinished(msgspec.Struct, frozen=True, tag="choice_finished"):
    """A choice is complete."""

    choice: int
    finish_reason: FinishReason
    stop_sequence: str | None = None


class UsageReported(msgspec.Struct, frozen=True, tag="usage"):
    """What the call consumed so far; the last report counts."""

    usage: Usage


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The reply is complete: the provider's terminal event arrived."""


StreamEvent = (
    Started
    | PartStarted
    | TextDelta
    | ArgumentsDelta
    | SignatureDelta
    | CitationsDelta
    | LogprobsDelta
    | ChoiceFinished
    | UsageReported
    | Finished
)
