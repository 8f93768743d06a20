"""Plain answers in Anthropic's form.

A tool call's arguments are an object on this wire: its bytes are kept as they are, both ways. Arguments that are no
JSON object (a model may produce anything, and a bound on output may cut them) are wrapped as {"INVALID_JSON": text},
the form Anthropic itself suggests, so that nothing is lost; empty ones are {}. An OpenAI refusal is text here, with
the stop reason `refusal`. Log-probabilities and a second choice have no place; a client of this form cannot ask for
either. Usage that is not known is reported as zeros: the form has no way to leave it out.
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.message import Part, RedactedThinkingPart, RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import ChatReply, Choice, FinishReason
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import ReplyTap
from ostiary.gateway.dialect.anthropic.error import embedded_error
from ostiary.gateway.wire.arguments import as_object
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.json import decode_as, encode, parse_answer

STOP_REASONS: Final = {
    "end_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "tool_use": FinishReason.TOOL_USE,
    "pause_turn": FinishReason.PAUSE,
    "refusal": FinishReason.REFUSAL,
    "model_context_window_exceeded": FinishReason.CONTEXT_WINDOW,
}
_STOP_WORDS: Final = {reason: word for word, reason in STOP_REASONS.items()} | {FinishReason.CONTENT_FILTER: "refusal"}
_TIERS: Final = {"default": "standard", "standard": "standard", "priority": "priority", "batch": "batch"}
_ABSENT: Final = msgspec.Raw(b"null")


class WireBlock(msgspec.Struct):
    """A content block of an answer: every member may be absent, `type` says which count."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _ABSENT
    citations: list[msgspec.Raw] | None = None


class WireReply(msgspec.Struct):
    """A plain answer; blocks stay raw until their type is known."""

    content: list[WireBlock]
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


_DECODER: Final = msgspec.json.Decoder(WireReply)


def decode_usage(value: object) -> tuple[Usage | None, bool]:
    """The usage an answer reports, and whether it reported numbers that cannot be true (then there is no usage).

    Anthropic counts tokens read from and written to its cache apart from the others; here the total holds them.
    """
    if value is None:
        return None, False
    if type(value) is not dict:
        return None, True
    if value.get("input_tokens") is None and value.get("output_tokens") is None:
        return None, False
    cached = tokens(value.get("cache_read_input_tokens"))
    written = tokens(value.get("cache_creation_input_tokens"))
    creation = value.get("cache_creation")
    written_1h = tokens(creation.get("ephemeral_1h_input_tokens")) if type(creation) is dict else 0
    details = value.get("output_tokens_details")
    thinking = tokens(details.get("thinking_tokens")) if type(details) is dict else 0
    fresh, output = tokens(value.get("input_tokens")), tokens(value.get("output_tokens"))
    if NOT_TRUE in (cached, written, written_1h, thinking, fresh, output):
        return None, True
    if written_1h > written or thinking > output:
        return None, True
    return (
        Usage(
            input_tokens=fresh + cached + written,
            output_tokens=output,
            cached_tokens=cached,
            cache_write_tokens=written,
            cache_write_1h_tokens=written_1h,
            reasoning_tokens=thinking,
        ),
        False,
    )


def encode_usage(usage: Usage, tier: str | None) -> dict[str, object]:
    """A usage object with all its details."""
    body: dict[str, object] = {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.cache_write_tokens:
        body["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - usage.cache_write_1h_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        }
    if usage.reasoning_tokens:
        body["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if tier in _TIERS:
        body["service_tier"] = _TIERS[tier]
    return body


def usage_tier(value: object) -> str | None:
    """The service tier, which stands among the counts."""
    tier = value.get("service_tier") if type(value) is dict else None
    return tier if type(tier) is str else None


def tap_reply(body: bytes) -> ReplyTap:
    """What metering needs of an answer that passes through unchanged."""
    tree = parse_answer(body).tree
    if type(tree.get("content")) is not list:
        raise _not_a_reply(tree)
    usage, lie = decode_usage(tree.get("usage"))
    model, stop = tree.get("model"), tree.get("stop_reason")
    return ReplyTap(model if type(model) is str else "", usage, stop if type(stop) is str else "", usage_invalid=lie)


def decode_reply(body: bytes) -> ChatReply:
    """A message. Raises UpstreamError: upstream.protocol, or what an error object under a 200 says."""
    tree = parse_answer(body).tree
    if type(tree.get("content")) is not list:
        raise _not_a_reply(tree)
    wire = decode_as(_DECODER, body, UpstreamError, Code.UPSTREAM_PROTOCOL)
    usage, lie = decode_usage(tree.get("usage"))
    choice = Choice(
        tuple(decode_block(block) for block in wire.content), decode_stop(wire.stop_reason), wire.stop_sequence
    )
    return ChatReply(
        wire.id or "", wire.model or "", (choice,), usage, service_tier=usage_tier(tree.get("usage")), usage_invalid=lie
    )


def _not_a_reply(tree: dict[str, object]) -> UpstreamError:
    if tree.get("type") == "error" or tree.get("error"):
        return embedded_error(tree)
    return UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no content.")


def decode_stop(word: str | None) -> FinishReason | None:
    """A stop reason; one that is not known yet is read as the end of a turn: the answer itself is whole."""
    return None if word is None else STOP_REASONS.get(word, FinishReason.STOP)


def decode_block(block: WireBlock) -> Part:
    """A content block. Raises UpstreamError upstream.protocol for a kind that cannot be told in our terms."""
    kind = block.type
    if kind == "text":
        citations = None
        if block.citations:
            citations = b"[" + b",".join(bytes(item) for item in block.citations) + b"]"
        return TextPart(block.text or "", citations=citations)
    if kind == "tool_use" and block.name:
        arguments = bytes(block.input)
        return ToolUsePart(block.id or "", block.name, "{}" if arguments == b"null" else arguments.decode())
    if kind == "thinking":
        return ThinkingPart(block.thinking or "", block.signature or "")
    if kind == "redacted_thinking":
        return RedactedThinkingPart(block.data or "")
    raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has a content block that is not known here.")


def encode_reply(reply: ChatReply) -> bytes:
    """A message for a client."""
    choice = reply.choices[0] if reply.choices else Choice((), None)
    return encode(
        {
            "id": reply.id,
            "type": "message",
            "role": "assistant",
            "model": reply.response_model,
            "content": [encode_block(part) for part in choice.parts],
            "stop_reason": stop_word(
                choice.finish_reason,
                tools=any(isinstance(part, ToolUsePart) for part in choice.parts),
                refused=any(isinstance(part, RefusalPart) for part in choice.parts),
            ),
            "stop_sequence": choice.stop_sequence,
            "usage": encode_usage(reply.usage or Usage(), reply.service_tier),
        }
    )


def stop_word(reason: FinishReason | None, *, tools: bool, refused: bool) -> str | None:
    """The stop reason. Where a provider says only `stop`, tool calls and refusals in the answer say more."""
    if reason is None:
        return None
    if reason is FinishReason.STOP:
        if tools:
            return "tool_use"
        if refused:
            return "refusal"
    return _STOP_WORDS[reason]


def encode_block(part: Part) -> dict[str, object]:
    """A content block of an answer or of a request's history."""
    if isinstance(part, TextPart):
        block: dict[str, object] = {"type": "text", "text": part.text}
        if part.citations is not None:
            block["citations"] = msgspec.Raw(part.citations)
        return block
    if isinstance(part, RefusalPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ThinkingPart):
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    if isinstance(part, RedactedThinkingPart):
        return {"type": "redacted_thinking", "data": part.data}
    if isinstance(part, ToolUsePart):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": as_object(part.arguments)}
    raise TypeError(f"a reply holds no {type(part).__name__}")
