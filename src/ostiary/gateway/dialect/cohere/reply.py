"""Plain answers of Cohere's chat.

A plan before tool calls (`tool_plan`) is thinking. Citations stand beside the message and belong to the content block
they name, or to the first text; each is kept as it came. A log-probability is told per piece of text, which may hold
several tokens: they become one whose probability is theirs together.

Tokens are counted twice: `billed_units` leave out what Cohere adds around a prompt and an answer by itself and does
not charge for ("How Does Cohere's Pricing Work?"). Usage is what is charged for, so that costs agree with the invoice;
`tokens` count where no billed ones are told. The answer does not name its model.

Source: Cohere API reference, "Chat" (v2).
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.message import Part, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import ChatReply, Choice, FinishReason, TokenLogprob
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import ReplyTap
from ostiary.gateway.dialect.cohere.error import embedded_error
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.json import decode_as, parse_answer

_FINISH: Final = {
    "COMPLETE": FinishReason.STOP,
    "STOP_SEQUENCE": FinishReason.STOP_SEQUENCE,
    "MAX_TOKENS": FinishReason.LENGTH,
    "TOOL_CALL": FinishReason.TOOL_USE,
}


class WireFunction(msgspec.Struct):
    """A tool call's function; `arguments` is JSON as text."""

    name: str | None = None
    arguments: str | None = None


class WireToolCall(msgspec.Struct):
    """A tool call, or a piece of one in a stream."""

    id: str | None = None
    function: WireFunction | None = None


class WireContent(msgspec.Struct):
    """A content block; in a stream its `type` is told at the start only."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class WireLogprobs(msgspec.Struct):
    """The log-probabilities of the tokens of one piece of text."""

    text: str | None = None
    logprobs: list[float] | None = None


class WireCitation(msgspec.Struct):
    """What is read of a citation: the content block it belongs to."""

    content_index: int | None = None


class _WireMessage(msgspec.Struct):
    content: list[WireContent] | None = None
    tool_plan: str | None = None
    tool_calls: list[WireToolCall] | None = None
    citations: list[msgspec.Raw] | None = None


class _WireReply(msgspec.Struct):
    message: _WireMessage
    id: str | None = None
    finish_reason: str | None = None
    logprobs: list[WireLogprobs] | None = None


_DECODER: Final = msgspec.json.Decoder(_WireReply)
_CITATION: Final = msgspec.json.Decoder(WireCitation)


def tap_reply(body: bytes) -> ReplyTap:
    """What metering needs of an answer."""
    tree = parse_answer(body).tree
    if type(tree.get("message")) is not dict:
        raise _not_a_reply(tree)
    usage, lie = decode_usage(tree.get("usage"))
    word = tree.get("finish_reason")
    return ReplyTap("", usage, word if type(word) is str else "", usage_invalid=lie)


def decode_reply(body: bytes) -> ChatReply:
    """An answer. Raises UpstreamError: upstream.protocol, or what the finish reason or an error object says."""
    tree = parse_answer(body).tree
    if type(tree.get("message")) is not dict:
        raise _not_a_reply(tree)
    wire = decode_as(_DECODER, body, UpstreamError, Code.UPSTREAM_PROTOCOL)
    usage, lie = decode_usage(tree.get("usage"))
    finish = None if wire.finish_reason is None else decode_finish(wire.finish_reason)
    logprobs = None if wire.logprobs is None else tuple(decode_logprob(item) for item in wire.logprobs)
    choice = Choice(_parts(wire.message), finish, None, logprobs)
    return ChatReply(wire.id or "", "", (choice,), usage, usage_invalid=lie)


def _not_a_reply(tree: dict[str, object]) -> UpstreamError:
    if type(tree.get("message")) is str:
        return embedded_error(tree)
    return UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no message.")


def _parts(message: _WireMessage) -> tuple[Part, ...]:
    content = [decode_block(block) for block in message.content or ()]
    texts = [index for index, part in enumerate(content) if isinstance(part, TextPart)]
    cited: dict[int, list[bytes]] = {}
    for citation in message.citations or ():
        place = cited_block(citation, texts)
        if place is not None:
            cited.setdefault(place, []).append(bytes(citation))
    for index, citations in cited.items():
        content[index] = msgspec.structs.replace(content[index], citations=b"[" + b",".join(citations) + b"]")
    parts: list[Part] = [ThinkingPart(message.tool_plan)] if message.tool_plan else []
    parts += content
    for call in message.tool_calls or ():
        if call.function is None or not call.function.name:
            raise nameless()
        parts.append(ToolUsePart(call.id or "", call.function.name, call.function.arguments or ""))
    return tuple(parts)


def decode_block(block: WireContent) -> TextPart | ThinkingPart:
    """A content block. Raises UpstreamError upstream.protocol for a kind that is not known here."""
    if block.type == "text":
        return TextPart(block.text or "")
    if block.type == "thinking":
        return ThinkingPart(block.thinking or "")
    raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has a content block that is not known here.")


def cited_block(citation: msgspec.Raw, texts: list[int]) -> int | None:
    """The content block a citation belongs to, of those that are text; None where there is none."""
    named = decode_as(_CITATION, citation, UpstreamError, Code.UPSTREAM_PROTOCOL).content_index
    if named in texts:
        return named
    return texts[0] if texts else None


def nameless() -> UpstreamError:
    """The error for a tool call without a name."""
    return UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has a tool call without a name.")


def decode_finish(word: str) -> FinishReason:
    """A finish reason; one not known yet is read as the end of a turn. Raises UpstreamError where it says that the
    provider failed or ran out of time."""
    if word == "TIMEOUT":
        raise UpstreamError(Code.UPSTREAM_TIMEOUT, "The provider did not finish its answer in time.")
    if word == "ERROR":
        raise UpstreamError(Code.UPSTREAM_ERROR, "The provider failed while answering.")
    return _FINISH.get(word, FinishReason.STOP)


def decode_logprob(wire: WireLogprobs) -> TokenLogprob:
    """The log-probability of one piece of text."""
    return TokenLogprob(wire.text or "", sum(wire.logprobs or ()))


def decode_usage(value: object) -> tuple[Usage | None, bool]:
    """The usage an answer reports, and whether it reported numbers that cannot be true (then there is no usage)."""
    if value is None:
        return None, False
    if type(value) is not dict:
        return None, True
    for key in ("billed_units", "tokens"):
        counts = value.get(key)
        if type(counts) is dict and (counts.get("input_tokens") is not None or counts.get("output_tokens") is not None):
            break
    else:
        return None, False
    sent, produced = tokens(counts.get("input_tokens")), tokens(counts.get("output_tokens"))
    cached = tokens(value.get("cached_tokens"))
    if NOT_TRUE in (sent, produced, cached):
        return None, True
    # Cached ones are counted among all tokens of the prompt, which may be more than those charged for.
    return Usage(input_tokens=sent, output_tokens=produced, cached_tokens=min(cached, sent)), False
