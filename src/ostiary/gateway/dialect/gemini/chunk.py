"""An answer of Google's, whole or a chunk of a stream: both have one form (ai.google.dev/api/generate-content,
GenerateContentResponse)."""

from typing import Annotated, Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import USAGE_TOKENS_MAX
from ostiary.core.reply import FinishReason
from ostiary.core.usage import Usage
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.json import decode_as

CANDIDATE_INDEX_MAX: Final = 127
ABSENT: Final = msgspec.Raw(b"null")
_NULL: Final = b"null"

_FINISH: Final = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "LANGUAGE": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
}
_FAILED: Final = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    }
)
FINISH_WORDS: Final = {
    FinishReason.STOP: "STOP",
    FinishReason.STOP_SEQUENCE: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.TOOL_USE: "STOP",
    FinishReason.REFUSAL: "SAFETY",
    FinishReason.CONTENT_FILTER: "SAFETY",
    FinishReason.PAUSE: "STOP",
    FinishReason.CONTEXT_WINDOW: "MAX_TOKENS",
}


class WireFunctionCall(msgspec.Struct, rename="camel"):
    """A function call. The last two belong to arguments told in pieces, which only a caller of this form asks for."""

    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = ABSENT
    partial_args: msgspec.Raw = ABSENT
    will_continue: bool | None = None


_NO_OTHER: Final = (ABSENT,) * 7
"""A part that has none of the members which cannot be told: compared as one, it is nearly every part."""


class WirePart(msgspec.Struct, rename="camel"):
    """A part: one member says what it is, the others go beside it."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: WireFunctionCall | None = None
    inline_data: msgspec.Raw = ABSENT
    file_data: msgspec.Raw = ABSENT
    executable_code: msgspec.Raw = ABSENT
    code_execution_result: msgspec.Raw = ABSENT
    function_response: msgspec.Raw = ABSENT
    tool_call: msgspec.Raw = ABSENT
    tool_response: msgspec.Raw = ABSENT

    def other(self) -> bool:
        """Whether it is of a kind that cannot be told in our terms."""
        raws = (
            self.inline_data,
            self.file_data,
            self.executable_code,
            self.code_execution_result,
            self.function_response,
            self.tool_call,
            self.tool_response,
        )
        return raws != _NO_OTHER and any(bytes(raw) != _NULL for raw in raws)


class WireContent(msgspec.Struct):
    """The content of a candidate."""

    parts: list[WirePart] | None = None


class WireToken(msgspec.Struct, rename="camel", omit_defaults=True):
    """A token with its probability."""

    token: str = ""
    log_probability: float = 0.0


class WireTokens(msgspec.Struct):
    """The alternatives at one place."""

    candidates: list[WireToken] | None = None


class WireLogprobs(msgspec.Struct, rename="camel", omit_defaults=True):
    """The probabilities of a candidate; both lists go along its tokens."""

    chosen_candidates: list[WireToken] | None = None
    top_candidates: list[WireTokens] | None = None


class WireCandidate(msgspec.Struct, rename="camel"):
    """One candidate, or what a chunk adds to one."""

    content: WireContent | None = None
    finish_reason: str | None = None
    index: int | None = None
    logprobs_result: WireLogprobs | None = None


class WireFeedback(msgspec.Struct, rename="camel"):
    """What is said of a prompt that gets no answer."""

    block_reason: str | None = None
    block_reason_message: str | None = None


_Count = Annotated[int, msgspec.Meta(ge=0, le=USAGE_TOKENS_MAX)]


class WireModality(msgspec.Struct, rename="camel"):
    """The tokens of one modality."""

    modality: str | None = None
    token_count: _Count = 0


class WireUsage(msgspec.Struct, rename="camel"):
    """A usage object as Google sends it. Whatever fits it not is judged by decode_usage."""

    prompt_token_count: _Count | None = None
    candidates_token_count: _Count | None = None
    thoughts_token_count: _Count | None = None
    tool_use_prompt_token_count: _Count | None = None
    cached_content_token_count: _Count | None = None
    prompt_tokens_details: list[WireModality] | None = None
    candidates_tokens_details: list[WireModality] | None = None


_USAGE_DECODER: Final = msgspec.json.Decoder(WireUsage | None)


class WireChunk(msgspec.Struct, rename="camel"):
    """A whole answer or a chunk."""

    candidates: list[WireCandidate] | None = None
    prompt_feedback: WireFeedback | None = None
    usage_metadata: msgspec.Raw = ABSENT
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = ABSENT

    def placed(self) -> list[tuple[int, WireCandidate]]:
        """The candidates with their indexes, where they are told, or else their places in the list.

        Raises UpstreamError upstream.protocol for an index out of range.
        """
        placed: list[tuple[int, WireCandidate]] = []
        for place, candidate in enumerate(self.candidates or ()):
            index = place if candidate.index is None else candidate.index
            if not 0 <= index <= CANDIDATE_INDEX_MAX:
                raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has a candidate out of range.")
            placed.append((index, candidate))
        return placed

    def blocked(self) -> bool:
        """Whether the prompt was blocked and gets no candidates."""
        return self.prompt_feedback is not None and bool(self.prompt_feedback.block_reason)

    def failed(self) -> bool:
        """Whether this is an error object."""
        return self.error is not ABSENT and bytes(self.error) not in (_NULL, b"{}")

    def usage(self) -> tuple[Usage | None, bool]:
        """See decode_usage."""
        if self.usage_metadata is ABSENT:
            return None, False
        try:
            wire = _USAGE_DECODER.decode(self.usage_metadata)
        except msgspec.ValidationError:
            return decode_usage(msgspec.json.decode(self.usage_metadata))
        return (None, False) if wire is None else _counted(wire)

    def finish_word(self) -> str:
        """The first candidate's finish reason, or the reason why the prompt was blocked."""
        for candidate in self.candidates or ():
            if candidate.finish_reason:
                return candidate.finish_reason
        feedback = self.prompt_feedback
        return (feedback.block_reason or "") if feedback is not None else ""

    def produced(self) -> tuple[bool, int]:
        """Whether something produced is among it, and the size in UTF-8 of texts, names and arguments."""
        content = False
        size = 0
        for candidate in self.candidates or ():
            if candidate.content is None:
                continue
            for part in candidate.content.parts or ():
                text = part.text
                if text:
                    content = True
                    size += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
                elif part.function_call is not None:
                    call = part.function_call
                    content = True
                    size += len((call.name or "").encode("utf-8", "replace"))
                    size += sum(len(bytes(raw)) for raw in (call.args, call.partial_args) if bytes(raw) != _NULL)
                elif text is None and part.other():
                    content = True
        return content, size


_DECODER: Final = msgspec.json.Decoder(WireChunk)


def decode_chunk(data: bytes) -> WireChunk:
    """A chunk.

    Raises UpstreamError upstream.protocol for what has another form.
    """
    return decode_as(_DECODER, data, UpstreamError, Code.UPSTREAM_PROTOCOL)


def decode_finish(word: str, *, tools: bool) -> FinishReason:
    """A finish reason; one that is not known is read as a plain stop, which is all Google says of tool calls too.

    Raises UpstreamError upstream.error for those with which a model fails instead of answering.
    """
    if word in _FAILED:
        raise UpstreamError(Code.UPSTREAM_ERROR, f"The model failed to answer: {word}.")
    reason = _FINISH.get(word, FinishReason.STOP)
    return FinishReason.TOOL_USE if tools and reason is FinishReason.STOP else reason


def decode_usage(value: object) -> tuple[Usage | None, bool]:
    """The usage an answer reports, and whether it reported numbers that cannot be true (then there is no usage).

    Google counts thoughts apart from the candidates, and what tools put into the prompt apart from the prompt; here
    the totals hold them. Cached tokens are part of the prompt on both sides.
    """
    if value is None:
        return None, False
    if type(value) is not dict:
        return None, True
    told = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    if all(value.get(name) is None for name in told):
        return None, False
    prompt, said, thought = (tokens(value.get(name)) for name in told)
    tool = tokens(value.get("toolUsePromptTokenCount"))
    cached = tokens(value.get("cachedContentTokenCount"))
    heard, spoken = _of(value.get("promptTokensDetails"), "AUDIO"), _of(value.get("candidatesTokensDetails"), "AUDIO")
    shown, drawn = _of(value.get("promptTokensDetails"), "IMAGE"), _of(value.get("candidatesTokensDetails"), "IMAGE")
    if NOT_TRUE in (prompt, said, thought, tool, cached, heard, spoken, shown, drawn):
        return None, True
    return _plausible(prompt, said, thought, tool, cached, heard, spoken, shown, drawn)


def _counted(wire: WireUsage) -> tuple[Usage | None, bool]:
    prompt, said, thought = wire.prompt_token_count, wire.candidates_token_count, wire.thoughts_token_count
    if prompt is None and said is None and thought is None:
        return None, False
    heard = spoken = shown = drawn = 0
    for item in wire.prompt_tokens_details or ():
        if item.modality == "AUDIO":
            heard = item.token_count
        elif item.modality == "IMAGE":
            shown = item.token_count
    for item in wire.candidates_tokens_details or ():
        if item.modality == "AUDIO":
            spoken = item.token_count
        elif item.modality == "IMAGE":
            drawn = item.token_count
    return _plausible(
        prompt or 0,
        said or 0,
        thought or 0,
        wire.tool_use_prompt_token_count or 0,
        wire.cached_content_token_count or 0,
        heard,
        spoken,
        shown,
        drawn,
    )


def _plausible(  # noqa: PLR0917 - counts in the order of the wire's object
    prompt: int, said: int, thought: int, tool: int, cached: int, heard: int, spoken: int, shown: int, drawn: int
) -> tuple[Usage | None, bool]:
    if cached > prompt or heard + shown > prompt or spoken + drawn > said:
        return None, True
    usage = Usage(prompt + tool, said + thought, cached, 0, 0, thought, heard, spoken)
    if shown or drawn:
        usage = msgspec.structs.replace(usage, input_image_tokens=shown, output_image_tokens=drawn)
    return usage, False


def _of(details: object, modality: str) -> int:
    """The tokens of one modality among counts by it."""
    for item in details if type(details) is list else ():
        if type(item) is dict and item.get("modality") == modality:
            return tokens(item.get("tokenCount"))
    return 0


def encode_usage(usage: Usage) -> dict[str, object]:
    """A usage object. Tokens written to a cache have no place in it: they are part of the prompt."""
    said = usage.output_tokens - usage.reasoning_tokens
    body: dict[str, object] = {"promptTokenCount": usage.input_tokens, "candidatesTokenCount": max(0, said)}
    if usage.cached_tokens:
        body["cachedContentTokenCount"] = usage.cached_tokens
    if usage.reasoning_tokens:
        body["thoughtsTokenCount"] = usage.reasoning_tokens
    body["totalTokenCount"] = usage.total_tokens
    if usage.input_audio_tokens or usage.input_image_tokens:
        body["promptTokensDetails"] = _details(usage.input_tokens, usage.input_audio_tokens, usage.input_image_tokens)
    if usage.output_audio_tokens or usage.output_image_tokens:
        body["candidatesTokensDetails"] = _details(said, usage.output_audio_tokens, usage.output_image_tokens)
    return body


def _details(total: int, audio: int, image: int) -> list[dict[str, object]]:
    counts = [("TEXT", max(0, total - audio - image)), ("AUDIO", audio), ("IMAGE", image)]
    return [{"modality": modality, "tokenCount": count} for modality, count in counts if count or modality == "TEXT"]
