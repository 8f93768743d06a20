"""Plain answers in Google's form.

A function call's `args` are an object on this wire: its bytes are kept as they are, both ways. Arguments that are no
JSON object are wrapped as {"INVALID_JSON": text}, so that nothing is lost; empty ones are {}. A refusal is text here.
Redacted thinking, citations, the stop sequence that was met, log-probabilities of a refusal and the bytes of tokens
have no place and stay behind.
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.fold import fold
from ostiary.core.message import Part, RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import ChatReply, Choice, TokenLogprob
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import ReplyTap
from ostiary.gateway.dialect.gemini.chunk import (
    FINISH_WORDS,
    WireChunk,
    WireLogprobs,
    WireToken,
    WireTokens,
    decode_chunk,
    decode_finish,
    decode_usage,
    encode_usage,
)
from ostiary.gateway.dialect.gemini.error import embedded_error
from ostiary.gateway.dialect.gemini.reading import Reading
from ostiary.gateway.wire.json import encode, parse_answer, raw_members

_NOTHING: Final = msgspec.Raw(b"{}")


def tap_reply(body: bytes) -> ReplyTap:
    """What metering needs of an answer that passes through unchanged."""
    tree = parse_answer(body).tree
    candidates, feedback = tree.get("candidates"), tree.get("promptFeedback")
    finish: object = None
    if type(candidates) is list:
        first = candidates[0] if candidates else None
        finish = first.get("finishReason") if type(first) is dict else None
    elif type(feedback) is dict:
        finish = feedback.get("blockReason")
    else:
        raise _not_a_reply(tree)
    usage, lie = decode_usage(tree.get("usageMetadata"))
    model = tree.get("modelVersion")
    return ReplyTap(
        model if type(model) is str else "", usage, finish if type(finish) is str else "", usage_invalid=lie
    )


def decode_reply(body: bytes) -> ChatReply:
    """An answer. Raises UpstreamError: upstream.protocol, or what an error object under a 200 says."""
    tree = parse_answer(body).tree
    if tree.get("error"):
        raise embedded_error(tree)
    chunk: WireChunk = decode_chunk(body)
    usage, lie = chunk.usage()
    alone = _text_alone(chunk, usage, usage_invalid=lie)
    if alone is not None:
        return alone
    reply = fold(Reading().events(chunk, usage))
    if not reply.choices:
        raise _not_a_reply(tree)
    return msgspec.structs.replace(reply, usage_invalid=lie)


def _text_alone(chunk: WireChunk, usage: Usage | None, *, usage_invalid: bool) -> ChatReply | None:
    """Nearly every answer, one candidate that is one text: what `fold` gives of its events, without them. None for any
    other answer."""
    candidates = chunk.candidates
    if candidates is None or len(candidates) != 1:
        return None
    candidate = candidates[0]
    parts = None if candidate.content is None else candidate.content.parts
    if parts is None or len(parts) != 1 or candidate.index or candidate.logprobs_result is not None:
        return None
    part = parts[0]
    if not part.text or part.thought or part.function_call is not None or part.other():
        return None
    word = candidate.finish_reason
    choice = Choice(
        (TextPart(part.text, None, None, part.thought_signature or ""),),
        decode_finish(word, tools=False) if word else None,
    )
    return ChatReply(
        chunk.response_id or "", chunk.model_version or "", (choice,), usage, None, None, None, usage_invalid
    )


def _not_a_reply(tree: dict[str, object]) -> UpstreamError:
    if tree.get("error"):
        return embedded_error(tree)
    return UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no candidates.")


def encode_reply(reply: ChatReply) -> bytes:
    """An answer for a client."""
    body: dict[str, object] = {
        "candidates": [_candidate(index, choice) for index, choice in enumerate(reply.choices)],
    }
    if reply.usage is not None:
        body["usageMetadata"] = encode_usage(reply.usage)
    return encode(body | {"modelVersion": reply.response_model, "responseId": reply.id})


def _candidate(index: int, choice: Choice) -> dict[str, object]:
    parts = [encoded for part in choice.parts if (encoded := encode_part(part)) is not None]
    body: dict[str, object] = {"content": {"parts": parts, "role": "model"}}
    if choice.finish_reason is not None:
        body["finishReason"] = FINISH_WORDS[choice.finish_reason]
    body["index"] = index
    if choice.logprobs is not None:
        body["logprobsResult"] = encode_logprobs(choice.logprobs)
    return body


def encode_part(part: Part) -> dict[str, object] | None:
    """A part of an answer or of a request's history; None for what has no place here."""
    if isinstance(part, TextPart):
        return _signed({"text": part.text}, part.signature) if part.text or part.signature else None
    if isinstance(part, ThinkingPart):
        if not part.text and not part.signature:
            return None
        return _signed({"text": part.text, "thought": True}, part.signature)
    if isinstance(part, RefusalPart):
        return {"text": part.text} if part.text else None
    if isinstance(part, ToolUsePart):
        call: dict[str, object] = {"id": part.id} if part.id else {}
        call |= {"name": part.name, "args": function_args(part.arguments)}
        return _signed({"functionCall": call}, part.signature)
    return None


def _signed(body: dict[str, object], signature: str) -> dict[str, object]:
    return body | {"thoughtSignature": signature} if signature else body


def function_args(arguments: str) -> msgspec.Raw:
    """The arguments' own bytes where they are a JSON object, else an object that holds them.

    A carriage return, in an object only ever white space between its members, becomes a space: lines of an event
    cannot carry one.
    """
    raw = arguments.encode()
    if not raw.strip():
        return _NOTHING
    try:
        raw_members(raw)
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(encode({"INVALID_JSON": arguments}))
    return msgspec.Raw(raw.replace(b"\r", b" ") if b"\r" in raw else raw)


def encode_logprobs(items: tuple[TokenLogprob, ...]) -> WireLogprobs:
    """Log-probabilities in Google's form."""
    tops = None
    if any(item.top for item in items):
        tops = [WireTokens([WireToken(top.token, top.logprob) for top in item.top]) for item in items]
    return WireLogprobs([WireToken(item.token, item.logprob) for item in items], tops)
