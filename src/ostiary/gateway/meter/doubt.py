"""Whether the tokens that a provider reports for an answer can be those of what it said; pure.

No vocabulary has tokens shorter than a byte, nor, in what people and models write, tokens of more than some sixteen bytes on
average. Beyond that a report is doubted: too much is charged all the same, since it will be on the provider's bill;
too little is not believed, and what was said is counted by us.
"""

from typing import Final

import msgspec

from ostiary.core.event import Doubt
from ostiary.core.usage import Usage
from ostiary.gateway.meter.estimate import output_tokens

_FACTOR: Final = 4
_FRAME_TOKENS: Final = 32
"""What the form of an answer may take besides what is said in it: the ends of messages, the frames of tool calls."""

_WRAPPER_BYTES: Final = 600
"""What is around the text of a plain answer, about."""


def doubt(usage: Usage, produced_bytes: int) -> Doubt | None:
    """What is to be doubted of the output tokens reported for `produced_bytes` of text, thinking and arguments."""
    own = output_tokens(produced_bytes)
    apart = usage.output_audio_tokens + usage.output_image_tokens
    shown = usage.output_tokens - usage.reasoning_tokens - usage.rejected_prediction_tokens - apart
    if shown > own * _FACTOR + _FRAME_TOKENS:
        return Doubt.USAGE_MORE
    if own > usage.output_tokens * _FACTOR + _FRAME_TOKENS and not apart:
        return Doubt.USAGE_LESS
    return None


def worth_counting(usage: Usage, body_bytes: int) -> bool:
    """Whether it may pay to count what is said in a plain answer, which few deserve."""
    return doubt(usage, max(body_bytes - _WRAPPER_BYTES, 0)) is not None


def at_least(usage: Usage, own: Usage) -> Usage:
    """The usage with no fewer output tokens than we counted."""
    return msgspec.structs.replace(usage, output_tokens=max(usage.output_tokens, own.output_tokens))
