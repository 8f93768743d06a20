"""Plain answers in OpenAI's form.

An OpenAI message has one place for each kind of part, so parts are read in the order thinking, text, refusal, tool
calls, and text parts written to it are joined. Thinking stands in `reasoning_content`, the form that compatible
servers share; signatures but those of tool calls, and redacted thinking, have no place and stay behind. A finish reason nobody knows is read
as a plain stop: the answer itself is whole.
"""

import re
from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.message import Part, RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import ChatReply, Choice, FinishReason, TokenLogprob
from ostiary.gateway.dialect import ReplyTap
from ostiary.gateway.wire.json import decode_as, encode, parse_answer
from ostiary.gateway.wire.openai import embedded_error
from ostiary.gateway.wire.openai_usage import WireUsage, counted_usage, decode_usage, encode_usage

CHOICE_INDEX_MAX: Final = 127
TOOL_INDEX_MAX: Final = 1023

_FINISH: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_USE,
    "function_call": FinishReason.TOOL_USE,
    "content_filter": FinishReason.CONTENT_FILTER,
}
FINISH_WORDS: Final = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_USE: "tool_calls",
    FinishReason.REFUSAL: "content_filter",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.PAUSE: "stop",
    FinishReason.CONTEXT_WINDOW: "length",
}
_TIERS: Final = {"standard": "default"}
_NO_ID: Final = re.compile(r"[^A-Za-z0-9_-]")


class WireTopLogprob(msgspec.Struct):
    """An alternative to a token."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class WireLogprob(msgspec.Struct):
    """A token with its probability."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[WireTopLogprob] | None = None


class WireLogprobs(msgspec.Struct):
    """The probabilities of a choice."""

    content: list[WireLogprob] | None = None
    refusal: list[WireLogprob] | None = None


class WireFunction(msgspec.Struct, gc=False):
    """A call of a function."""

    name: str | None = None
    arguments: str | None = None


class WireCustom(msgspec.Struct, gc=False):
    """A call of a custom tool."""

    name: str | None = None
    input: str | None = None


class WireToolCall(msgspec.Struct):
    """A tool call of either kind."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: WireFunction | None = None
    custom: WireCustom | None = None


class WireMessage(msgspec.Struct):
    """A message of an answer, or a delta of one: every member may be absent."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[WireToolCall] | None = None
    function_call: WireFunction | None = None

    def thinking(self) -> str:
        """Reasoning under either of its two names."""
        return self.reasoning_content or self.reasoning or ""


class WireChoice(msgspec.Struct):
    """One choice."""

    message: WireMessage
    index: int = 0
    finish_reason: str | None = None
    logprobs: WireLogprobs | None = None


class WireReply(msgspec.Struct):
    """A plain answer."""

    choices: list[WireChoice]
    id: str | None = None
    model: str | None = None
    created: int | float | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


_DECODER: Final = msgspec.json.Decoder(WireReply)


class _TappedChoice(msgspec.Struct):
    finish_reason: str | None = None


class _Tapped(msgspec.Struct):
    choices: list[_TappedChoice]
    model: str | None = None
    usage: WireUsage | None = None


_TAP: Final = msgspec.json.Decoder(_Tapped)


def tap_reply(body: bytes) -> ReplyTap:
    """What metering needs of an answer that passes through unchanged.

    The usual answer is read in one typed pass that skips what it does not need; whatever that pass does not like is
    judged by the strict one. Raises UpstreamError: upstream.protocol, or what an error object under a 200 says.
    """
    try:
        tapped = _TAP.decode(body)
        if not body.isascii():
            body.decode("utf-8")  # what is skipped is not looked at
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _strictly_tapped(body)
    usage, lie = (None, False) if tapped.usage is None else counted_usage(tapped.usage)
    finish = tapped.choices[0].finish_reason if tapped.choices else None
    return ReplyTap(tapped.model or "", usage, finish or "", usage_invalid=lie)


def _strictly_tapped(body: bytes) -> ReplyTap:
    tree = parse_answer(body).tree
    choices = tree.get("choices")
    if type(choices) is not list:
        raise _not_a_reply(tree)
    finish: object = None
    if choices and type(choices[0]) is dict:
        finish = choices[0].get("finish_reason")
    usage, lie = decode_usage(tree.get("usage"))
    model = tree.get("model")
    return ReplyTap(
        model if type(model) is str else "", usage, finish if type(finish) is str else "", usage_invalid=lie
    )


def decode_reply(body: bytes) -> ChatReply:
    """A chat completion. Raises UpstreamError: upstream.protocol, or what an error object under a 200 says."""
    tree = parse_answer(body).tree
    if type(tree.get("choices")) is not list:
        raise _not_a_reply(tree)
    wire = decode_as(_DECODER, body, UpstreamError, Code.UPSTREAM_PROTOCOL)
    if not wire.choices:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no choices.")
    usage, lie = decode_usage(tree.get("usage"))
    reply_id = wire.id or ""
    return ChatReply(
        reply_id,
        wire.model or "",
        tuple(_choice(choice, reply_id) for choice in sorted(wire.choices, key=lambda choice: choice.index)),
        usage,
        None if wire.created is None else int(wire.created),
        wire.service_tier,
        wire.system_fingerprint,
        lie,
    )


def _not_a_reply(tree: dict[str, object]) -> UpstreamError:
    if tree.get("error") or tree.get("object") == "error":
        return embedded_error(tree)
    return UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no choices.")


def _choice(wire: WireChoice, reply_id: str) -> Choice:
    message = wire.message
    parts: list[Part] = []
    if thinking := message.thinking():
        parts.append(ThinkingPart(thinking))
    if message.content:
        parts.append(TextPart(message.content))
    if message.refusal:
        parts.append(RefusalPart(message.refusal))
    for index, call in enumerate(message.tool_calls or ()):
        parts.append(_tool_call(call, tool_call_id(reply_id, wire.index, index)))
    # Beside tool calls it is the same call once more, in the form for older clients.
    if message.function_call is not None and not message.tool_calls:
        call = WireToolCall(function=message.function_call)
        parts.append(_tool_call(call, tool_call_id(reply_id, wire.index, TOOL_INDEX_MAX + 1)))
    logprobs = wire.logprobs or WireLogprobs()
    return Choice(
        tuple(parts),
        decode_finish(wire.finish_reason) if wire.finish_reason else None,
        None,
        None if logprobs.content is None else decode_logprobs(logprobs.content),
        None if logprobs.refusal is None else decode_logprobs(logprobs.refusal),
    )


def _tool_call(call: WireToolCall, fallback_id: str) -> ToolUsePart:
    if call.function is not None and call.function.name:
        return ToolUsePart(call.id or fallback_id, call.function.name, call.function.arguments or "")
    if call.custom is not None and call.custom.name:
        return ToolUsePart(call.id or fallback_id, call.custom.name, call.custom.input or "", custom=True)
    raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has a tool call without a name.")


def tool_call_id(reply_id: str, choice: int, index: int) -> str:
    """An id for a tool call that came without one: unique in its conversation and the same streamed or plain."""
    return f"call_{_NO_ID.sub('', reply_id)[:64]}_{choice}_{index}"


def decode_finish(word: str) -> FinishReason:
    """A finish reason. Raises UpstreamError upstream.error for `error`, with which some servers end in failure."""
    if word == "error":
        raise UpstreamError(Code.UPSTREAM_ERROR, "The provider failed while answering.")
    return _FINISH.get(word, FinishReason.STOP)


def decode_logprobs(wire: list[WireLogprob]) -> tuple[TokenLogprob, ...]:
    """Log-probabilities in our terms."""
    return tuple(
        TokenLogprob(
            item.token,
            item.logprob,
            None if item.bytes is None else tuple(item.bytes),
            tuple(
                TokenLogprob(top.token, top.logprob, None if top.bytes is None else tuple(top.bytes))
                for top in item.top_logprobs or ()
            ),
        )
        for item in wire
    )


def encode_logprobs(items: tuple[TokenLogprob, ...]) -> list[WireLogprob]:
    """Log-probabilities in OpenAI's form."""
    return [
        WireLogprob(
            item.token,
            item.logprob,
            None if item.bytes_ is None else list(item.bytes_),
            [
                WireTopLogprob(top.token, top.logprob, None if top.bytes_ is None else list(top.bytes_))
                for top in item.top
            ],
        )
        for item in items
    ]


def encode_tier(tier: str) -> str:
    """A provider's service tier in OpenAI's words."""
    return _TIERS.get(tier, tier)


def encode_reply(reply: ChatReply, created: int) -> bytes:
    """A chat completion for a client."""
    body: dict[str, object] = {
        "id": reply.id,
        "object": "chat.completion",
        "created": created if reply.created is None else reply.created,
        "model": reply.response_model,
        "choices": [_encode_choice(index, choice) for index, choice in enumerate(reply.choices)],
    }
    if reply.usage is not None:
        body["usage"] = encode_usage(reply.usage)
    if reply.service_tier is not None:
        body["service_tier"] = encode_tier(reply.service_tier)
    if reply.system_fingerprint is not None:
        body["system_fingerprint"] = reply.system_fingerprint
    return encode(body)


def _encode_choice(index: int, choice: Choice) -> dict[str, object]:
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, object]] = []
    for part in choice.parts:
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, RefusalPart):
            refusals.append(part.text)
        elif isinstance(part, ThinkingPart):
            thoughts.append(part.text)
        elif isinstance(part, ToolUsePart):
            calls.append(encode_tool_call(part))
    message: dict[str, object] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    if thought := "".join(thoughts):
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = calls
    logprobs: dict[str, object] | None = None
    if choice.logprobs is not None or choice.refusal_logprobs is not None:
        logprobs = {
            "content": None if choice.logprobs is None else encode_logprobs(choice.logprobs),
            "refusal": None if choice.refusal_logprobs is None else encode_logprobs(choice.refusal_logprobs),
        }
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": None if choice.finish_reason is None else FINISH_WORDS[choice.finish_reason],
    }


def encode_tool_call(part: ToolUsePart) -> dict[str, object]:
    """A tool call, in an answer or in a request's history: arguments stand as the text they came in."""
    return {"id": part.id, **tool_call_body(part)}


def tool_call_body(part: ToolUsePart) -> dict[str, object]:
    """A tool call but for its id. A signature stands where Google's own servers of this form put it
    (ai.google.dev/gemini-api/docs/thought-signatures)."""
    signed: dict[str, object] = {}
    if part.signature:
        signed["extra_content"] = {"google": {"thought_signature": part.signature}}
    if part.custom:
        return {"type": "custom", "custom": {"name": part.name, "input": part.arguments}, **signed}
    return {"type": "function", "function": {"name": part.name, "arguments": part.arguments}, **signed}
