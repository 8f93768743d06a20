"""Plain answers of Converse.

A tool call's input is an object on this wire: its bytes are kept as they are. Cited text (`citationsContent`) is text
with its citations in their own form. Bedrock counts tokens read from and written to its cache apart from the others;
here the total holds them. `malformed_model_output` and `malformed_tool_use` are failures of the model, not ends of an
answer. The answer names neither itself nor its model (`x-amzn-requestid` is a header), but for a prompt router's
choice. The service tier is not passed on: a stream tells it after its end, where no client's form has a place, and a
plain answer says the same as a stream.

Source: Amazon Bedrock Runtime API reference, "Converse", "ContentBlock", "TokenUsage".
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.message import Part, RedactedThinkingPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import ChatReply, Choice, FinishReason
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import ReplyTap
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.json import decode_as, parse_answer

NO_INPUT: Final = "{}"
"""The arguments of a tool call that has none."""

_STOP_REASONS: Final = {
    "end_turn": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_USE,
    "max_tokens": FinishReason.LENGTH,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "model_context_window_exceeded": FinishReason.CONTEXT_WINDOW,
}
_MALFORMED: Final = frozenset({"malformed_model_output", "malformed_tool_use"})
_ABSENT: Final = msgspec.Raw(b"null")


class WireToolUse(msgspec.Struct):
    """A tool call; `type` is set where Bedrock calls the tool itself."""

    toolUseId: str  # noqa: N815 - the wire's name
    name: str
    input: msgspec.Raw = _ABSENT
    type: str | None = None


class WireReasoningText(msgspec.Struct):
    """Thinking and the proof that it is unchanged."""

    text: str = ""
    signature: str | None = None


class WireReasoning(msgspec.Struct):
    """Thinking, open or encrypted."""

    reasoningText: WireReasoningText | None = None  # noqa: N815 - the wire's name
    redactedContent: str | None = None  # noqa: N815 - the wire's name


class WireText(msgspec.Struct):
    """A piece of cited text."""

    text: str = ""


class WireCited(msgspec.Struct):
    """Text with citations."""

    content: list[WireText] = []
    citations: list[msgspec.Raw] = []


class WireBlock(msgspec.Struct):
    """A content block: exactly one member is there."""

    text: str | None = None
    toolUse: WireToolUse | None = None  # noqa: N815 - the wire's name
    reasoningContent: WireReasoning | None = None  # noqa: N815 - the wire's name
    citationsContent: WireCited | None = None  # noqa: N815 - the wire's name


class _WireMessage(msgspec.Struct):
    content: list[WireBlock]


class _WireOutput(msgspec.Struct):
    message: _WireMessage


class _WireReply(msgspec.Struct):
    output: _WireOutput
    stopReason: str | None = None  # noqa: N815 - the wire's name


_DECODER: Final = msgspec.json.Decoder(_WireReply)


def tap_reply(body: bytes) -> ReplyTap:
    """What metering needs of an answer."""
    tree = parse_answer(body).tree
    if type(tree.get("output")) is not dict:
        raise _no_message()
    usage, lie = decode_usage(tree.get("usage"))
    word = tree.get("stopReason")
    return ReplyTap(invoked_model(tree.get("trace")), usage, word if type(word) is str else "", usage_invalid=lie)


def decode_reply(body: bytes) -> ChatReply:
    """An answer. Raises UpstreamError: upstream.protocol, or upstream.error where the model failed."""
    tree = parse_answer(body).tree
    if type(tree.get("output")) is not dict:
        raise _no_message()
    wire = decode_as(_DECODER, body, UpstreamError, Code.UPSTREAM_PROTOCOL)
    usage, lie = decode_usage(tree.get("usage"))
    parts = tuple(_part(block) for block in wire.output.message.content)
    choice = Choice(parts, None if wire.stopReason is None else decode_stop(wire.stopReason))
    return ChatReply("", invoked_model(tree.get("trace")), (choice,), usage, usage_invalid=lie)


def decode_stop(word: str) -> FinishReason:
    """A stop reason; one that is not known yet is read as the end of a turn: the answer itself is whole.

    Raises UpstreamError upstream.error where the model's own output could not be read by Bedrock.
    """
    if word in _MALFORMED:
        raise UpstreamError(Code.UPSTREAM_ERROR, "The model's output was malformed.")
    return _STOP_REASONS.get(word, FinishReason.STOP)


def decode_usage(value: object) -> tuple[Usage | None, bool]:
    """The usage an answer reports, and whether it reported numbers that cannot be true (then there is no usage)."""
    if value is None:
        return None, False
    if type(value) is not dict:
        return None, True
    fresh, output = tokens(value.get("inputTokens")), tokens(value.get("outputTokens"))
    cached = tokens(value.get("cacheReadInputTokens"))
    written = tokens(value.get("cacheWriteInputTokens"))
    written_1h = _written_for_an_hour(value.get("cacheDetails"))
    if NOT_TRUE in (fresh, output, cached, written, written_1h) or written_1h > written:
        return None, True
    return (
        Usage(
            input_tokens=fresh + cached + written,
            output_tokens=output,
            cached_tokens=cached,
            cache_write_tokens=written,
            cache_write_1h_tokens=written_1h,
        ),
        False,
    )


def _written_for_an_hour(details: object) -> int:
    total = 0
    for detail in details if type(details) is list else ():
        if type(detail) is dict and detail.get("ttl") == "1h":
            count = tokens(detail.get("inputTokens"))
            if count == NOT_TRUE:
                return NOT_TRUE
            total += count
    return total


def invoked_model(trace: object) -> str:
    """The model a prompt router chose, where the trace tells; otherwise nothing names the model."""
    router = trace.get("promptRouter") if type(trace) is dict else None
    model = router.get("invokedModelId") if type(router) is dict else None
    return model if type(model) is str else ""


def tool_use(wire: WireToolUse, arguments: str) -> ToolUsePart:
    """A tool call. Raises UpstreamError upstream.protocol for a tool that Bedrock runs itself: the client cannot."""
    if wire.type is not None or not wire.name:
        raise unknown_block()
    return ToolUsePart(wire.toolUseId, wire.name, arguments)


def unknown_block() -> UpstreamError:
    """The error for content that cannot be told in our terms."""
    return UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has a content block that is not known here.")


def _part(block: WireBlock) -> Part:
    if block.text is not None:
        return TextPart(block.text)
    if block.toolUse is not None:
        raw = bytes(block.toolUse.input)
        return tool_use(block.toolUse, NO_INPUT if raw == b"null" else raw.decode())
    if block.reasoningContent is not None:
        return _thinking(block.reasoningContent)
    if block.citationsContent is not None:
        cited = block.citationsContent
        citations = b"[" + b",".join(bytes(item) for item in cited.citations) + b"]" if cited.citations else None
        return TextPart("".join(piece.text for piece in cited.content), citations=citations)
    raise unknown_block()


def _thinking(wire: WireReasoning) -> Part:
    if wire.redactedContent is not None:
        return RedactedThinkingPart(wire.redactedContent)
    text = wire.reasoningText
    if text is None:
        raise unknown_block()
    return ThinkingPart(text.text, text.signature or "")


def _no_message() -> UpstreamError:
    return UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no output.")
