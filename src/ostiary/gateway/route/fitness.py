"""What certainly keeps a call from a target: what the model is known not to do, or a limit of it; pure.

Nothing is refused on a guess: of what is unknown of a model, and of what a call may turn out to need, nothing is said.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ostiary.core.capability import Capability, Need
from ostiary.core.error import REASONS, CallerError, Code
from ostiary.snapshot.tables import TraitsRow

CODES: Final[Mapping[Capability, Code]] = MappingProxyType(
    {
        Capability.IMAGES: Code.CAPABILITY_IMAGES,
        Capability.FILES: Code.CAPABILITY_FILES,
        Capability.AUDIO: Code.CAPABILITY_AUDIO,
        Capability.VIDEO: Code.CAPABILITY_VIDEO,
        Capability.IMAGE_OUTPUT: Code.CAPABILITY_IMAGE_OUTPUT,
        Capability.AUDIO_OUTPUT: Code.CAPABILITY_AUDIO_OUTPUT,
        Capability.TOOLS: Code.CAPABILITY_TOOLS,
        Capability.STRUCTURED_OUTPUT: Code.CAPABILITY_STRUCTURED_OUTPUT,
        Capability.THINKING: Code.CAPABILITY_THINKING,
        Capability.LOGPROBS: Code.CAPABILITY_LOGPROBS,
    }
)
"""The reason for each capability whose lack keeps a call away. The others do no harm where they lack."""


def unfit(traits: TraitsRow, need: Need) -> tuple[Code, int | None] | None:
    """Why a model certainly cannot take a call, with the limit where one is passed; None where it may."""
    cannot = traits.cannot
    for one in need.capabilities:
        if one in cannot and one in CODES:
            return CODES[one], None
    window, most = traits.context_window, traits.max_output_tokens
    if window is not None and need.input_tokens > window:
        return Code.CAPABILITY_CONTEXT_WINDOW, window
    if most is not None and need.max_tokens is not None and need.max_tokens > most:
        return Code.CAPABILITY_MAX_TOKENS, most
    return None


def refusal(code: Code, limit: int | None) -> CallerError:
    """The refusal in words, where no target can: what is lacking and what to do."""
    reason = REASONS[code]
    known = "" if limit is None else f" The limit is {limit} tokens."
    return CallerError(
        code,
        f"{reason.cause}{known} {reason.advice}",
        param="max_tokens" if code is Code.CAPABILITY_MAX_TOKENS else None,
    )
