"""A reply: what a provider answered, in our terms."""

from enum import StrEnum

import msgspec

from ostiary.core.message import Part, RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.usage import Usage


class FinishReason(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_USE = "tool_use"
    REFUSAL = "refusal"
    CONTENT_FILTER = "content_filter"
    PAUSE = "pause"
    CONTEXT_WINDOW = "context_window"


class TokenLogprob(msgspec.Struct, frozen=True):
    """One token's log-probability; `bytes_` are its UTF-8 bytes where given; `top` are the alternatives."""

    token: str
    logprob: float
    bytes_: tuple[int, ...] | None = None
    top: tuple["TokenLogprob", ...] = ()


class Choice(msgspec.Struct, frozen=True):
    """One answer among possibly several. `parts` are text, tool use, thinking or refusal, in order."""

    parts: tuple[Part, ...]
    finish_reason: FinishReason | None
    stop_sequence: str | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    refusal_logprobs: tuple[TokenLogprob, ...] | None = None


class ChatReply(msgspec.Struct, frozen=True):
    """A whole chat answer. `usage` is None where the provider reported none; `response_model` is its own word.

    `usage_invalid` says that the provider reported numbers that cannot be true, which are treated as not reported.
    """

    id: str
    response_model: str
    choices: tuple[Choice, ...]
    usage: Usage | None
    created: int | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    usage_invalid: bool = False

    def produced_bytes(self) -> int:
        """How much the model said, in bytes of UTF-8: texts, thinking, refusals, names and arguments of tool calls."""
        return sum(len(_said(part).encode()) for choice in self.choices for part in choice.parts)


def _said(part: Part) -> str:
    if isinstance(part, ToolUsePart):
        return part.name + part.arguments
    return part.text if isinstance(part, TextPart | ThinkingPart | RefusalPart) else ""


class EmbeddingsReply(msgspec.Struct, frozen=True):
    """Vectors in the order of the inputs, each the raw JSON of a float list or a base64 string."""

    response_model: str
    vectors: tuple[bytes, ...]
    usage: Usage | None
