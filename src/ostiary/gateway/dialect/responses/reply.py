"""Plain answers of the responses form.

An answer is a list of items in the order in which the model produced them: messages (text and refusals), reasoning,
calls of functions and of custom tools. Texts and refusals that follow one another are one message. An item of another
kind comes only from tools that run at the provider, which no other dialect can ask for; it is an error here.

Reasoning is a ThinkingPart: its summary is the text, `encrypted_content` the signature, the item's id its id. Without
a summary it is a RedactedThinkingPart. Raw reasoning (`content`, which servers of open models give) is a ThinkingPart
of its own, before the summary's. Paragraphs of a summary are joined by an empty line.

Annotations, phases and ids of messages stay behind, as do log-probabilities of a refusal and every choice but the
first: the form has no place for those. What the form repeats of the request (tools, instructions, sampling) is not
known to the encoder and is told at its default. Log-probabilities stand with the last text.
"""

import re
from typing import Annotated, Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import USAGE_TOKENS_MAX
from ostiary.core.message import Part, RedactedThinkingPart, RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import ChatReply, Choice, FinishReason, TokenLogprob
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import ReplyTap
from ostiary.gateway.dialect.responses.error import failed
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.json import decode_as, encode, parse_answer
from ostiary.gateway.wire.openai import embedded_error

PARAGRAPH: Final = "\n\n"
SUMMARY_SLOT: Final = 1
"""Where the parts of a reasoning item stand among its own: raw reasoning first, then the summary."""

_INCOMPLETE: Final = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.CONTEXT_WINDOW: "max_output_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.REFUSAL: "content_filter",
}
_TIERS: Final = {"standard": "default"}
_NO_ID: Final = re.compile(r"[^A-Za-z0-9_-]")


class WireLogprob(msgspec.Struct):
    """A token with its probability, or an alternative to one."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["WireLogprob"] | None = None


class WireContent(msgspec.Struct):
    """A part of a message, of a summary or of reasoning."""

    type: str
    text: str | None = None
    refusal: str | None = None
    logprobs: list[WireLogprob] | None = None


class WireItem(msgspec.Struct):
    """An item of an answer: every member may be absent, `type` says which count."""

    type: str
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[WireContent] | None = None
    summary: list[WireContent] | None = None
    encrypted_content: str | None = None


class WireDetails(msgspec.Struct):
    """Why an answer is not complete."""

    reason: str | None = None


class WireReply(msgspec.Struct):
    """A plain answer. Items stay raw until their type is known to be one that is read."""

    output: list[msgspec.Raw]
    id: str | None = None
    model: str | None = None
    created_at: int | float | None = None
    status: str | None = None
    incomplete_details: WireDetails | None = None
    service_tier: str | None = None


class _Kind(msgspec.Struct):
    type: str


_DECODER: Final = msgspec.json.Decoder(WireReply)
_ITEM: Final = msgspec.json.Decoder(WireItem)
_KIND: Final = msgspec.json.Decoder(_Kind)
_KINDS: Final = frozenset({"message", "reasoning", "function_call", "custom_tool_call"})


_Count = Annotated[int, msgspec.Meta(ge=0, le=USAGE_TOKENS_MAX)]


class _WireInput(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None


class _WireOutput(msgspec.Struct):
    reasoning_tokens: _Count | None = None


class WireUsage(msgspec.Struct):
    """Token counts of the usual form."""

    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    input_tokens_details: _WireInput | None = None
    output_tokens_details: _WireOutput | None = None


def decode_usage(value: object) -> tuple[Usage | None, bool]:
    """The usage an answer reports, and whether it reported numbers that cannot be true (then there is no usage)."""
    if value is None:
        return None, False
    if type(value) is not dict:
        return None, True
    if value.get("input_tokens") is None and value.get("output_tokens") is None:
        return None, False
    given, produced = value.get("input_tokens_details"), value.get("output_tokens_details")
    usage = Usage(
        input_tokens=tokens(value.get("input_tokens")),
        output_tokens=tokens(value.get("output_tokens")),
        cached_tokens=tokens(given.get("cached_tokens")) if type(given) is dict else 0,
        cache_write_tokens=tokens(given.get("cache_write_tokens")) if type(given) is dict else 0,
        reasoning_tokens=tokens(produced.get("reasoning_tokens")) if type(produced) is dict else 0,
    )
    if NOT_TRUE in msgspec.structs.astuple(usage):
        return None, True
    return _plausible(usage)


def _counted(wire: WireUsage) -> tuple[Usage | None, bool]:
    """The same of counts that are known to be whole numbers in range."""
    if wire.input_tokens is None and wire.output_tokens is None:
        return None, False
    given, produced = wire.input_tokens_details, wire.output_tokens_details
    return _plausible(
        Usage(
            input_tokens=wire.input_tokens or 0,
            output_tokens=wire.output_tokens or 0,
            cached_tokens=0 if given is None else given.cached_tokens or 0,
            cache_write_tokens=0 if given is None else given.cache_write_tokens or 0,
            reasoning_tokens=0 if produced is None else produced.reasoning_tokens or 0,
        )
    )


def _plausible(usage: Usage) -> tuple[Usage | None, bool]:
    return (None, True) if usage.cached_tokens + usage.cache_write_tokens > usage.input_tokens else (usage, False)


def encode_usage(usage: Usage) -> dict[str, object]:
    """A usage object with all its details."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


class _Skipped(msgspec.Struct):
    pass


class _Tapped(msgspec.Struct):
    output: list[_Skipped]
    model: str | None = None
    status: str | None = None
    incomplete_details: WireDetails | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_TAP: Final = msgspec.json.Decoder(_Tapped)


def tap_reply(body: bytes) -> ReplyTap:
    """What metering needs of an answer that passes through unchanged.

    The usual answer is read in one typed pass that skips what it does not need; whatever that pass does not like is
    judged by the strict one. Raises UpstreamError: upstream.protocol, or what a failed response says.
    """
    try:
        tapped = _TAP.decode(body)
        if not body.isascii():
            body.decode("utf-8")  # what is skipped is not looked at
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _strictly_tapped(body)
    error = failed(tapped.status, msgspec.json.decode(tapped.error))
    if error is not None:
        raise error
    usage, lie = (None, False) if tapped.usage is None else _counted(tapped.usage)
    return ReplyTap(tapped.model or "", usage, finish_word(tapped.status, tapped.incomplete_details), usage_invalid=lie)


def _strictly_tapped(body: bytes) -> ReplyTap:
    tree = _judged(parse_answer(body).tree)
    details = tree.get("incomplete_details")
    reason = details.get("reason") if type(details) is dict else None
    usage, lie = decode_usage(tree.get("usage"))
    model, status = tree.get("model"), tree.get("status")
    return ReplyTap(
        model if type(model) is str else "",
        usage,
        reason if type(reason) is str else status if type(status) is str else "",
        usage_invalid=lie,
    )


def finish_word(status: str | None, details: WireDetails | None) -> str:
    """The provider's own word for how it ended: why it is not complete, or its status."""
    return (details.reason if details is not None else None) or status or ""


def _judged(tree: dict[str, object]) -> dict[str, object]:
    """The tree of an answer. Raises UpstreamError where it is none."""
    error = failed(tree.get("status"), tree.get("error"))
    if error is not None:
        raise error
    if type(tree.get("output")) is not list:
        if tree.get("error") or "error" in (tree.get("type"), tree.get("object")):
            raise embedded_error(tree)
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no output.")
    return tree


def decode_reply(body: bytes) -> ChatReply:
    """A response. Raises UpstreamError: upstream.protocol, or what a failed response says."""
    tree = _judged(parse_answer(body).tree)
    wire = decode_as(_DECODER, body, UpstreamError, Code.UPSTREAM_PROTOCOL)
    parts: list[Part] = []
    logprobs: list[TokenLogprob] = []
    for raw in wire.output:
        item = decode_item(raw)
        parts += item_parts(item).values()
        logprobs += item_logprobs(item)
    usage, lie = decode_usage(tree.get("usage"))
    tools = any(isinstance(part, ToolUsePart) for part in parts)
    choice = Choice(
        tuple(parts),
        decode_finish(wire.status, wire.incomplete_details, tools=tools),
        logprobs=tuple(logprobs) or None,
    )
    created = None if wire.created_at is None else int(wire.created_at)
    return ChatReply(wire.id or "", wire.model or "", (choice,), usage, created, wire.service_tier, usage_invalid=lie)


def decode_finish(status: str | None, details: WireDetails | None, *, tools: bool) -> FinishReason:
    """Why the model stopped. An incomplete answer whose reason is not known was cut off somewhere."""
    reason = None if details is None else details.reason
    if reason == "content_filter":
        return FinishReason.CONTENT_FILTER
    if reason is not None or status == "incomplete":
        return FinishReason.LENGTH
    return FinishReason.TOOL_USE if tools else FinishReason.STOP


def decode_item(raw: msgspec.Raw) -> WireItem:
    """An item. Raises UpstreamError upstream.protocol for a kind that cannot be told in our terms."""
    kind = decode_as(_KIND, raw, UpstreamError, Code.UPSTREAM_PROTOCOL).type
    if kind not in _KINDS:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has an item that is not known here.")
    return decode_as(_ITEM, raw, UpstreamError, Code.UPSTREAM_PROTOCOL)


def item_parts(item: WireItem) -> dict[int, Part]:
    """The parts of an item, each by its place among them. Empty texts are nothing."""
    if item.type == "message":
        parts: dict[int, Part] = {}
        for index, content in enumerate(item.content or ()):
            if content.text:
                parts[index] = TextPart(content.text)
            elif content.refusal:
                parts[index] = RefusalPart(content.refusal)
        return parts
    if item.type == "reasoning":
        return _reasoning(item)
    return {0: tool_use(item)}


def _reasoning(item: WireItem) -> dict[int, Part]:
    parts: dict[int, Part] = {}
    raw = "".join(content.text or "" for content in item.content or ())
    summary = PARAGRAPH.join(content.text for content in item.summary or () if content.text)
    item_id, encrypted = item.id or "", item.encrypted_content or ""
    if raw:
        parts[0] = ThinkingPart(raw, id=item_id)
    if summary or (encrypted and item.summary):
        parts[SUMMARY_SLOT] = ThinkingPart(summary, encrypted, item_id)
    elif encrypted:
        parts[SUMMARY_SLOT] = RedactedThinkingPart(encrypted, item_id)
    return parts


def tool_use(item: WireItem) -> ToolUsePart:
    """A tool call of either kind, its arguments as they came."""
    if not item.name:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has a tool call without a name.")
    call_id = item.call_id or item.id or ""
    if item.type == "custom_tool_call":
        return ToolUsePart(call_id, item.name, item.input or "", custom=True)
    return ToolUsePart(call_id, item.name, item.arguments or "")


def item_logprobs(item: WireItem) -> list[TokenLogprob]:
    """The log-probabilities of an item's texts, one after the other."""
    return [
        TokenLogprob(
            wire.token,
            wire.logprob,
            None if wire.bytes is None else tuple(wire.bytes),
            tuple(
                TokenLogprob(top.token, top.logprob, None if top.bytes is None else tuple(top.bytes))
                for top in wire.top_logprobs or ()
            ),
        )
        for content in item.content or ()
        for wire in content.logprobs or ()
    ]


def encode_logprobs(items: tuple[TokenLogprob, ...] | list[TokenLogprob]) -> list[WireLogprob]:
    """Log-probabilities with the bytes that this form requires: those given, else the token's own."""
    return [
        WireLogprob(
            item.token,
            item.logprob,
            _bytes(item),
            [WireLogprob(top.token, top.logprob, _bytes(top)) for top in item.top],
        )
        for item in items
    ]


def _bytes(item: TokenLogprob) -> list[int]:
    return list(item.token.encode() if item.bytes_ is None else item.bytes_)


def encode_reply(reply: ChatReply, created: int) -> bytes:
    """A response for a client."""
    choice = reply.choices[0] if reply.choices else Choice((), None)
    head = response_head(
        reply.id, reply.response_model, created if reply.created is None else reply.created, reply.service_tier
    )
    items = encode_items(choice.parts, reply.id, choice.finish_reason, choice.logprobs or ())
    return encode(finished(head, items, choice.finish_reason, reply.usage))


def response_head(reply_id: str, model: str, created: int, tier: str | None) -> dict[str, object]:
    """A response that has just begun."""
    head: dict[str, object] = {
        "id": reply_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
        "metadata": {},
    }
    if tier is not None:
        head["service_tier"] = _TIERS.get(tier, tier)
    return head


def finished(
    head: dict[str, object], items: list[dict[str, object]], reason: FinishReason | None, usage: Usage | None
) -> dict[str, object]:
    """The response `head` once it has ended."""
    why = None if reason is None else _INCOMPLETE.get(reason)
    return head | {
        "status": "completed" if why is None else "incomplete",
        "incomplete_details": None if why is None else {"reason": why},
        "output": items,
        "usage": None if usage is None else encode_usage(usage),
    }


def encode_items(
    parts: tuple[Part, ...], reply_id: str, reason: FinishReason | None, logprobs: tuple[TokenLogprob, ...]
) -> list[dict[str, object]]:
    """The items of a whole answer. Where it is not complete, the last of them is not."""
    items: list[dict[str, object]] = []
    last_text: dict[str, object] | None = None
    for part in parts:
        if isinstance(part, TextPart | RefusalPart):
            content = encode_content(part)
            if isinstance(part, TextPart):
                last_text = content
            if items and items[-1]["type"] == "message":
                contents = items[-1]["content"]
                assert type(contents) is list
                contents.append(content)
                continue
            items.append({**encode_item(part, reply_id, len(items)), "content": [content]})
        else:
            items.append(encode_item(part, reply_id, len(items)))
    for item in items:
        if "status" in item:
            item["status"] = "completed"
    if items and reason in _INCOMPLETE and "status" in items[-1]:
        items[-1]["status"] = "incomplete"
    if last_text is not None and logprobs:
        last_text["logprobs"] = encode_logprobs(logprobs)
    return items


def encode_content(part: TextPart | RefusalPart) -> dict[str, object]:
    """A part of a message."""
    if isinstance(part, RefusalPart):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}


def encode_item(part: Part, reply_id: str, index: int) -> dict[str, object]:
    """The item that `part` is or, for a text or refusal, begins. Its id depends on nothing but its place."""
    suffix = f"{_NO_ID.sub('', reply_id)[:64]}_{index}"
    item: dict[str, object]
    if isinstance(part, TextPart | RefusalPart):
        item = {"id": f"msg_{suffix}", "type": "message", "role": "assistant", "content": []}
    elif isinstance(part, ThinkingPart | RedactedThinkingPart):
        item = {"id": part.id or f"rs_{suffix}", **encode_reasoning(part)}
    elif isinstance(part, ToolUsePart):
        item = {"id": f"{'ctc' if part.custom else 'fc'}_{suffix}", **encode_tool_call(part)}
        if part.custom:  # which has no status in this form
            return item
    else:
        raise TypeError(f"a reply holds no {type(part).__name__}")
    return item | {"status": "in_progress"}


def encode_reasoning(part: ThinkingPart | RedactedThinkingPart) -> dict[str, object]:
    """A reasoning item without its id: an empty summary says that there was nothing to read."""
    if isinstance(part, RedactedThinkingPart):
        return {"type": "reasoning", "summary": [], "encrypted_content": part.data}
    item: dict[str, object] = {"type": "reasoning", "summary": [{"type": "summary_text", "text": part.text}]}
    if part.signature:
        item["encrypted_content"] = part.signature
    return item


def encode_tool_call(part: ToolUsePart) -> dict[str, object]:
    """A tool call without its item's id, in an answer or in a request's history."""
    if part.custom:
        return {"type": "custom_tool_call", "call_id": part.id, "name": part.name, "input": part.arguments}
    return {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
