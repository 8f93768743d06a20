"""Token counts in the form that OpenAI's chat completions, completions and embeddings share."""

from typing import Annotated, Final

import msgspec

from ostiary.core.limit import USAGE_TOKENS_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.wire.count import NOT_TRUE, tokens

_Count = Annotated[int, msgspec.Meta(ge=0, le=USAGE_TOKENS_MAX)]


class _WireDetails(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None
    accepted_prediction_tokens: _Count | None = None
    rejected_prediction_tokens: _Count | None = None


class WireUsage(msgspec.Struct):
    """A usage object whose numbers are counts."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _WireDetails | None = None
    completion_tokens_details: _WireDetails | None = None


_NO_DETAILS: Final = _WireDetails()


def decode_usage(value: object) -> tuple[Usage | None, bool]:
    """The usage an answer reports, and whether it reported numbers that cannot be true (then there is no usage)."""
    if value is None:
        return None, False
    try:
        wire = msgspec.convert(value, WireUsage)
    except msgspec.ValidationError:
        return _odd_usage(value)
    return counted_usage(wire)


def counted_usage(wire: WireUsage) -> tuple[Usage | None, bool]:
    """The same of one that was read already."""
    if wire.prompt_tokens is None and wire.completion_tokens is None:
        return None, False
    prompt, completion = wire.prompt_tokens_details, wire.completion_tokens_details
    if prompt is None and completion is None:
        return Usage(wire.prompt_tokens or 0, wire.completion_tokens or 0), False
    prompt, completion = prompt or _NO_DETAILS, completion or _NO_DETAILS
    return _plausible(
        Usage(
            wire.prompt_tokens or 0,
            wire.completion_tokens or 0,
            prompt.cached_tokens or 0,
            prompt.cache_write_tokens or 0,
            0,
            completion.reasoning_tokens or 0,
            prompt.audio_tokens or 0,
            completion.audio_tokens or 0,
            completion.accepted_prediction_tokens or 0,
            completion.rejected_prediction_tokens or 0,
        )
    )


def _plausible(usage: Usage) -> tuple[Usage | None, bool]:
    if usage.cached_tokens + usage.cache_write_tokens > usage.input_tokens:
        return None, True
    if usage.input_audio_tokens > usage.input_tokens or usage.output_audio_tokens > usage.output_tokens:
        return None, True
    return usage, False


def _odd_usage(value: object) -> tuple[Usage | None, bool]:
    """The same for an object of another form: counts as floats, or numbers that cannot be true."""
    if type(value) is not dict:
        return None, True
    prompt = _details(value.get("prompt_tokens_details"))
    completion = _details(value.get("completion_tokens_details"))
    usage = Usage(
        input_tokens=tokens(value.get("prompt_tokens")),
        output_tokens=tokens(value.get("completion_tokens")),
        cached_tokens=tokens(prompt.get("cached_tokens")),
        cache_write_tokens=tokens(prompt.get("cache_write_tokens")),
        reasoning_tokens=tokens(completion.get("reasoning_tokens")),
        input_audio_tokens=tokens(prompt.get("audio_tokens")),
        output_audio_tokens=tokens(completion.get("audio_tokens")),
        accepted_prediction_tokens=tokens(completion.get("accepted_prediction_tokens")),
        rejected_prediction_tokens=tokens(completion.get("rejected_prediction_tokens")),
    )
    if value.get("prompt_tokens") is None and value.get("completion_tokens") is None:
        return None, False
    if NOT_TRUE in msgspec.structs.astuple(usage):
        return None, True
    return _plausible(usage)


def _details(value: object) -> dict[str, object]:
    return value if type(value) is dict else {}


def encode_usage(usage: Usage) -> dict[str, object]:
    """A usage object with all its details, as OpenAI sends it."""
    prompt = {"cached_tokens": usage.cached_tokens, "audio_tokens": usage.input_audio_tokens}
    if usage.cache_write_tokens:
        prompt["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
            "accepted_prediction_tokens": usage.accepted_prediction_tokens,
            "rejected_prediction_tokens": usage.rejected_prediction_tokens,
        },
    }
