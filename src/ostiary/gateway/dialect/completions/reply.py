"""Plain answers in the form of completions.

A choice is one text: texts and refusals are joined, thinking stays behind. A tool call has no form here and none can be
asked for; an answer that holds one is refused. Probabilities are not translated: where they were asked for, the
request went to a server of this form, and its answer passes as it came.
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.message import Part, RefusalPart, TextPart, ToolUsePart
from ostiary.core.reply import ChatReply, Choice, FinishReason
from ostiary.gateway.dialect import ReplyTap
from ostiary.gateway.wire.json import decode_as, encode, parse_answer
from ostiary.gateway.wire.openai import embedded_error
from ostiary.gateway.wire.openai_usage import decode_usage, encode_usage

_FINISH: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
FINISH_WORDS: Final = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_USE: "stop",
    FinishReason.REFUSAL: "content_filter",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.PAUSE: "stop",
    FinishReason.CONTEXT_WINDOW: "length",
}


class WireChoice(msgspec.Struct):
    """One choice, or in a stream what is added to one."""

    text: str | None = None
    index: int = 0
    finish_reason: str | None = None


class WireReply(msgspec.Struct):
    """An answer, or one chunk of a stream."""

    choices: list[WireChoice] | None = None
    id: str | None = None
    model: str | None = None
    created: int | float | None = None
    system_fingerprint: str | None = None


DECODER: Final = msgspec.json.Decoder(WireReply)


def tap_reply(body: bytes) -> ReplyTap:
    """What metering needs of an answer that passes through unchanged. Raises UpstreamError as `decode_reply` does."""
    tree = parse_answer(body).tree
    choices = tree.get("choices")
    if type(choices) is not list:
        raise _not_a_reply(tree)
    first = choices[0] if choices else None
    finish = first.get("finish_reason") if type(first) is dict else None
    model = tree.get("model")
    usage, lie = decode_usage(tree.get("usage"))
    return ReplyTap(
        model if type(model) is str else "", usage, finish if type(finish) is str else "", usage_invalid=lie
    )


def decode_reply(body: bytes) -> ChatReply:
    """A completion. Raises UpstreamError: upstream.protocol, or what an error object under a 200 says."""
    tree = parse_answer(body).tree
    if type(tree.get("choices")) is not list:
        raise _not_a_reply(tree)
    wire = decode_as(DECODER, body, UpstreamError, Code.UPSTREAM_PROTOCOL)
    if not wire.choices:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no choices.")
    usage, lie = decode_usage(tree.get("usage"))
    return ChatReply(
        wire.id or "",
        wire.model or "",
        tuple(
            Choice(
                (TextPart(choice.text),) if choice.text else (),
                decode_finish(choice.finish_reason) if choice.finish_reason else None,
            )
            for choice in sorted(wire.choices, key=lambda choice: choice.index)
        ),
        usage,
        None if wire.created is None else int(wire.created),
        None,
        wire.system_fingerprint,
        lie,
    )


def _not_a_reply(tree: dict[str, object]) -> UpstreamError:
    if tree.get("error") or tree.get("object") == "error":
        return embedded_error(tree)
    return UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no choices.")


def decode_finish(word: str) -> FinishReason:
    """A finish reason; one that nobody knows is read as a plain stop. Raises UpstreamError upstream.error for `error`."""
    if word == "error":
        raise UpstreamError(Code.UPSTREAM_ERROR, "The provider failed while answering.")
    return _FINISH.get(word, FinishReason.STOP)


def encode_reply(reply: ChatReply, created: int) -> bytes:
    """A completion for a client. Raises UpstreamError upstream.protocol for one that calls a tool."""
    body: dict[str, object] = {
        "id": reply.id,
        "object": "text_completion",
        "created": created if reply.created is None else reply.created,
        "model": reply.response_model,
        "choices": [
            {
                "text": "".join(text_of(part) for part in choice.parts),
                "index": index,
                "logprobs": None,
                "finish_reason": None if choice.finish_reason is None else FINISH_WORDS[choice.finish_reason],
            }
            for index, choice in enumerate(reply.choices)
        ],
    }
    if reply.usage is not None:
        body["usage"] = encode_usage(reply.usage)
    if reply.system_fingerprint is not None:
        body["system_fingerprint"] = reply.system_fingerprint
    return encode(body)


def text_of(part: Part) -> str:
    """What a part adds to the text. Raises UpstreamError upstream.protocol for a tool call."""
    if isinstance(part, ToolUsePart):
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider called a tool though none was offered.")
    return part.text if isinstance(part, TextPart | RefusalPart) else ""
