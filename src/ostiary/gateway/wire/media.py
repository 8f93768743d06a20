"""What metering needs of answers that pass as they came: images, speech, transcripts, moderations, rankings.

Usage is reported in one of these forms: tokens (`input_tokens` and `output_tokens`, or `prompt_tokens` and
`completion_tokens`, each with or without details; `total_tokens` alone), seconds of sound (`seconds`, or a transcript's
own `duration`), or `meta.billed_units` (Cohere). Numbers that cannot be true are treated as not reported.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Header
from ostiary.core.limit import USAGE_TOKENS_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.frame import Frame
from ostiary.gateway.wire.frames import FrameReader
from ostiary.gateway.wire.json import decode_as
from ostiary.gateway.wire.openai import embedded_error
from ostiary.gateway.wire.sse import SseEvent

_ABSENT: Final = msgspec.Raw(b"null")
_IMAGES: Final = ("image_generation.completed", "image_edit.completed")
_LAST: Final = (*_IMAGES, "speech.audio.done", "transcript.text.done")


class Tapped(msgspec.Struct, frozen=True):
    """What an answer says of itself. `usage` is None where it reports none that can be true."""

    response_model: str
    usage: Usage | None


class _Answer(msgspec.Struct):
    model: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    meta: msgspec.Raw = _ABSENT
    duration: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    type: msgspec.Raw = _ABSENT


_DECODER: Final = msgspec.json.Decoder(_Answer)
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def tap(body: bytes, *, images: bool = False) -> Tapped:
    """What a plain answer in JSON says of itself; with `images` the items of its `data` are counted as such. Raises
    UpstreamError: upstream.protocol for what is no JSON object, or what an error object under a 200 says."""
    answer = _decode(body)
    error = _value(answer.error)
    if error:
        raise embedded_error({"error": error})
    usage = _usage(answer)
    if images:
        try:
            made = len(_ITEMS.decode(answer.data))
        except msgspec.DecodeError:
            made = 0
        if made:
            usage = (usage or Usage()) + Usage(images=made)
    model = _value(answer.model)
    return Tapped(model if type(model) is str else "", usage)


class MediaEvents(FrameReader):
    """A stream of images, speech or a transcript, of which `results` were asked for. Each result ends with an event of
    its own: a server that stops without one may have lost something. `known` is what the request itself says of the
    usage, which an event that reports some adds to."""

    def __init__(self, *, results: int = 1, known: Usage | None = None) -> None:
        super().__init__(embedded_error)
        self._left = results
        self._usage: Usage | None = None
        self._known = known or Usage()

    def _frame(self, block: SseEvent) -> Frame:
        data = block.data
        if not data:
            return Frame(block.raw)
        if data.strip() == b"[DONE]":
            self._done = True
            return Frame(block.raw, terminal=True)
        answer = _decode(data)
        kind = _value(answer.type)
        error = _value(answer.error)
        if error or kind == "error" or block.event == "error":
            raise embedded_error({"error": error} if error else msgspec.json.decode(data.decode("utf-8", "replace")))
        reported = _usage(answer)
        if kind in _IMAGES:
            reported = (reported or Usage()) + Usage(images=1)
        if reported is not None:
            self._usage = (self._usage or self._known) + reported
        if kind in _LAST:
            self._left -= 1
            self._done = True
        last = self._done and self._left <= 0
        return Frame(block.raw, content=True, terminal=last, usage=self._usage, produced_bytes=len(data))


def json_type(headers: Sequence[Header]) -> bool:
    """Whether an answer is JSON by its content type."""
    return any(name == b"content-type" and b"json" in value.lower() for name, value in headers)


def _decode(body: bytes) -> _Answer:
    if not body.isascii():
        try:
            body.decode("utf-8")  # what is skipped is not looked at
        except UnicodeDecodeError:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer is not UTF-8.") from None
    return decode_as(_DECODER, body, UpstreamError, Code.UPSTREAM_PROTOCOL)


def _value(raw: msgspec.Raw) -> object:
    return None if raw is _ABSENT else msgspec.json.decode(raw)


def _usage(answer: _Answer) -> Usage | None:
    reported = _value(answer.usage)
    if type(reported) is dict:
        return _reported(reported)
    meta = _value(answer.meta)
    if type(meta) is dict:
        return _billed(meta)
    milliseconds = _milliseconds(_value(answer.duration))
    return Usage(audio_milliseconds=milliseconds) if milliseconds else None


def _reported(value: dict[str, object]) -> Usage | None:
    newer = "input_tokens" in value or "output_tokens" in value
    given = value.get("input_tokens" if newer else "prompt_tokens")
    made = value.get("output_tokens" if newer else "completion_tokens")
    if given is None and made is None:
        given = value.get("total_tokens")  # rankings have nothing but input
    inputs = _details(value, "input_tokens_details", "input_token_details", "prompt_tokens_details")
    outputs = _details(value, "output_tokens_details", "output_token_details", "completion_tokens_details")
    milliseconds = _milliseconds(value.get("seconds"))
    usage = Usage(
        input_tokens=tokens(given),
        output_tokens=tokens(made),
        cached_tokens=tokens(inputs.get("cached_tokens")),
        reasoning_tokens=tokens(outputs.get("reasoning_tokens")),
        input_audio_tokens=tokens(inputs.get("audio_tokens")),
        output_audio_tokens=tokens(outputs.get("audio_tokens")),
        input_image_tokens=tokens(inputs.get("image_tokens")),
        output_image_tokens=tokens(outputs.get("image_tokens")),
        audio_milliseconds=milliseconds,
    )
    if given is None and made is None and not milliseconds:
        return None
    return _plausible(usage)


def _billed(meta: dict[str, object]) -> Usage | None:
    billed, counted = _details(meta, "billed_units"), _details(meta, "tokens")
    units = tokens(billed.get("search_units"))
    given = billed.get("input_tokens", counted.get("input_tokens"))
    made = billed.get("output_tokens", counted.get("output_tokens"))
    if given is None and made is None and not units:
        given = billed.get("total_tokens")
        if given is None:
            return None
    return _plausible(Usage(input_tokens=tokens(given), output_tokens=tokens(made), search_units=units))


def _plausible(usage: Usage) -> Usage | None:
    parts = usage.cached_tokens, usage.input_audio_tokens, usage.input_image_tokens
    if NOT_TRUE in msgspec.structs.astuple(usage) or max(parts) > usage.input_tokens:
        return None
    if max(usage.reasoning_tokens, usage.output_audio_tokens, usage.output_image_tokens) > usage.output_tokens:
        return None
    return usage


def _details(value: dict[str, object], *names: str) -> dict[str, object]:
    for name in names:
        found = value.get(name)
        if type(found) is dict:
            return found
    return {}


def _milliseconds(seconds: object) -> int:
    """Seconds, given as a number or as text, in milliseconds; 0 where they are absent or cannot be true."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | str):
        return 0
    try:
        milliseconds = 1000 * float(seconds)
    except (ValueError, OverflowError):
        return 0
    return math.ceil(milliseconds) if 0 < milliseconds <= USAGE_TOKENS_MAX else 0
