"""A messages request for a provider that speaks Anthropic's form, from our terms.

What is decided here, each refusal being a drop where the caller allowed it:

- `max_tokens` must be there: the caller's, else the model's default, else MAX_TOKENS_DEFAULT.
- System and developer messages, wherever they stand, become the system prompt, in their order.
- Turns of one role after another become one turn; tool results are blocks of a user turn and come first in it.
- A final assistant turn is refused: for the caller it is a turn, here it would be the beginning of the answer.
- Thinking without a signature is refused: Anthropic takes back only what it signed.
- An effort becomes adaptive thinking with that effort; `none` switches thinking off; `minimal` has no counterpart.
- A structured answer needs a schema; its name is a label nobody reads here and is left out, its description is not.
- A key for the prompt cache is a hint, and left out: here marks in the prompt say what is cached.
- The service tier `default` is `standard_only`; `auto` is the default on both sides.
- A temperature above 1, a seed, penalties, log-probabilities and several choices have no counterpart.
"""

from typing import Final

import msgspec

from ostiary.core.call import ChatCall, DialectName, Reasoning
from ostiary.core.message import (
    Base64Source,
    CacheControl,
    FilePart,
    FileSource,
    FormatKind,
    ImagePart,
    Message,
    Part,
    PlainTextSource,
    RedactedThinkingPart,
    RefusalPart,
    ResponseFormat,
    Role,
    Source,
    TextPart,
    ThinkingPart,
    Tool,
    ToolMode,
    ToolResultPart,
    ToolUsePart,
    UrlSource,
)
from ostiary.gateway.dialect import Encoded
from ostiary.gateway.dialect.anthropic.reply import encode_block
from ostiary.gateway.wire.json import encode
from ostiary.gateway.wire.leave import Leave

PATH: Final = b"/v1/messages"
COUNT_PATH: Final = b"/v1/messages/count_tokens"
HEADERS: Final = ((b"anthropic-version", b"2023-06-01"),)
MAX_TOKENS_DEFAULT: Final = 4096

_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_MODES: Final = {ToolMode.AUTO: "auto", ToolMode.NONE: "none", ToolMode.REQUIRED: "any", ToolMode.NAMED: "tool"}
_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_NO_SCHEMA: Final = b'{"type":"object","properties":{}}'


def encode_chat(call: ChatCall, *, model: str, max_tokens: int | None, drop: bool) -> Encoded:
    """See gateway/dialect."""
    leave = Leave(call.names, drop=drop, hints=call.hints)
    body = _prompt(call, model, leave)
    bound = max_tokens if call.max_tokens is None else call.max_tokens
    body["max_tokens"] = MAX_TOKENS_DEFAULT if bound is None else bound
    _sampling(call, body, leave)
    if call.end_user is not None:
        body["metadata"] = {"user_id": call.end_user}
    if call.prompt_cache_key is not None:
        leave.hint("prompt_cache_key")
    if call.service_tier is not None:
        tier = _TIERS.get(call.service_tier)
        if tier is None:
            leave.out("service_tier")
        else:
            body["service_tier"] = tier
    if call.stream:
        body["stream"] = True
    return Encoded(PATH, encode(body), HEADERS, tuple(leave.dropped))


def encode_count_tokens(call: ChatCall, *, model: str, drop: bool) -> Encoded:
    """See gateway/dialect. What does not change the prompt is not sent."""
    leave = Leave(call.names, drop=drop, hints=call.hints)
    return Encoded(COUNT_PATH, encode(_prompt(call, model, leave)), HEADERS, tuple(leave.dropped))


def _prompt(call: ChatCall, model: str, leave: Leave) -> dict[str, object]:
    """All that counts as input."""
    body: dict[str, object] = {"model": model}
    system = _system(call.messages, leave)
    if system:
        body["system"] = system[0]["text"] if len(system) == 1 and len(system[0]) == 2 else system
    body["messages"] = _turns(call.messages, leave)
    if call.tools:
        body["tools"] = [_tool(tool) for tool in call.tools]
    choice: dict[str, object] | None = None
    # Without tools, to choose freely and to choose none is to say nothing.
    if call.tool_choice is not None and (call.tools or call.tool_choice.mode not in (ToolMode.AUTO, ToolMode.NONE)):
        choice = {"type": _MODES[call.tool_choice.mode]}
        if call.tool_choice.mode is ToolMode.NAMED:
            choice["name"] = call.tool_choice.name
    # Without tools, or with none to be called, nothing can be parallel.
    if call.parallel_tool_calls is False and call.tools and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice
    output: dict[str, object] = {}
    if call.reasoning is not None:
        _reasoning(call.reasoning, body, output, leave)
    if call.response_format is not None:
        _response_format(call.response_format, output, leave)
    if output:
        body["output_config"] = output
    for path, raw in call.extensions.items():
        if call.dialect is DialectName.ANTHROPIC and "." not in path and "[" not in path:
            body[path] = msgspec.Raw(raw)
        else:
            leave.place(path)
    return body


def _sampling(call: ChatCall, body: dict[str, object], leave: Leave) -> None:
    if call.temperature is not None:
        if call.temperature > 1:
            leave.out("temperature", "is above 1, the most this model takes")
        else:
            body["temperature"] = call.temperature
    if call.top_p is not None:
        body["top_p"] = call.top_p
    if call.top_k is not None:
        body["top_k"] = call.top_k
    if call.stop:
        body["stop_sequences"] = call.stop
    for name, asked in (
        ("choices", call.choices != 1),
        ("seed", call.seed is not None),
        ("logprobs", call.logprobs),
        ("top_logprobs", bool(call.top_logprobs)),
        ("frequency_penalty", bool(call.frequency_penalty)),
        ("presence_penalty", bool(call.presence_penalty)),
    ):
        if asked:
            leave.out(name)


def _system(messages: tuple[Message, ...], leave: Leave) -> list[dict[str, object]]:
    blocks: list[dict[str, object]] = []
    for message in messages:
        if message.role is not Role.SYSTEM and message.role is not Role.DEVELOPER:
            continue
        if message.name:
            leave.place(f"{message.path}.name")
        for part, path in _placed(message):
            if isinstance(part, TextPart):
                blocks.append({"type": "text", "text": part.text, **_cache(part.cache, path, leave)})
            else:
                leave.place(path)
    return blocks


def _turns(messages: tuple[Message, ...], leave: Leave) -> list[dict[str, object]]:
    turns: list[tuple[str, list[dict[str, object]]]] = []
    last = max((i for i, m in enumerate(messages) if m.role not in (Role.SYSTEM, Role.DEVELOPER)), default=-1)
    for index, message in enumerate(messages):
        if message.role is Role.SYSTEM or message.role is Role.DEVELOPER:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        if role == "assistant" and index == last:
            leave.place(message.path or "messages", "is a final assistant turn, which this model would continue")
            continue
        if message.name:
            leave.place(f"{message.path}.name")
        blocks: list[dict[str, object]] = []
        for part, path in _placed(message):
            block = _block(part, path, leave)
            if block is not None:
                blocks.append(block)
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    return [{"role": role, "content": _compact(_results_first(blocks))} for role, blocks in turns if blocks]


def _results_first(blocks: list[dict[str, object]]) -> list[dict[str, object]]:
    results = [block for block in blocks if block["type"] == "tool_result"]
    return results + [block for block in blocks if block["type"] != "tool_result"] if results else blocks


def _placed(message: Message) -> list[tuple[Part, str]]:
    """The parts, each with its path in the caller's request, or the message's where that is not known."""
    paths = message.part_paths or (message.path or "messages",) * len(message.parts)
    return list(zip(message.parts, paths, strict=True))


def _compact(blocks: list[dict[str, object]]) -> object:
    """A single plain text as a string, as most clients write it."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _block(part: Part, path: str, leave: Leave) -> dict[str, object] | None:
    if isinstance(part, TextPart | ImagePart | FilePart):
        return _plain(part, path, leave)
    if isinstance(part, RefusalPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ToolUsePart):
        if part.custom:
            leave.place(path, "is a call of a custom tool, which this model does not know")
            return None
        _signature(part, path, leave)
        return {**encode_block(part), **_cache(part.cache, path, leave)}
    if isinstance(part, ToolResultPart):
        return _tool_result(part, path, leave)
    if isinstance(part, ThinkingPart):
        if not part.signature:
            leave.place(path, "is thinking without a signature, which this model does not take back")
            return None
        return encode_block(part)
    if isinstance(part, RedactedThinkingPart):
        return encode_block(part)
    leave.place(path)
    return None


def _plain(part: TextPart | ImagePart | FilePart, path: str, leave: Leave) -> dict[str, object] | None:
    """A block that may stand in a tool result too."""
    cache = _cache(part.cache, path, leave)
    if isinstance(part, TextPart):
        _signature(part, path, leave)
        return {**encode_block(part), **cache}
    source = _source(part.source)
    if source is None:
        leave.place(path, "is a file kept at another provider")
        return None
    if isinstance(part, ImagePart):
        if part.detail not in ("", "auto"):
            leave.inside(path, "image.detail")
        return {"type": "image", "source": source, **cache}
    if isinstance(part.source, Base64Source) and part.source.media_type != "application/pdf":
        leave.place(path, "is a document of a type this model does not read")
        return None
    block: dict[str, object] = {"type": "document", "source": source, **cache}
    if part.filename:
        block["title"] = part.filename
    if part.context:
        block["context"] = part.context
    if part.citations:
        block["citations"] = {"enabled": True}
    return block


def _signature(part: TextPart | ToolUsePart, path: str, leave: Leave) -> None:
    if part.signature:
        leave.inside(path, "signature", "is a proof of thinking that only the provider that made it can read")


def _source(source: Source) -> dict[str, object] | None:
    if isinstance(source, Base64Source):
        return {"type": "base64", "media_type": source.media_type, "data": source.data}
    if isinstance(source, UrlSource):
        return {"type": "url", "url": source.url}
    if isinstance(source, PlainTextSource):
        return {"type": "text", "media_type": "text/plain", "data": source.text}
    assert isinstance(source, FileSource)
    return None


def _tool_result(part: ToolResultPart, path: str, leave: Leave) -> dict[str, object]:
    content: list[dict[str, object]] = []
    for item in part.parts:
        block = _plain(item, path, leave)
        if block is not None:
            content.append(block)
    result: dict[str, object] = {"type": "tool_result", "tool_use_id": part.tool_use_id}
    if content:
        result["content"] = _compact(content)
    if part.is_error:
        result["is_error"] = True
    return result | _cache(part.cache, path, leave)


def _cache(cache: CacheControl | None, path: str, leave: Leave) -> dict[str, object]:
    if cache is None:
        return {}
    if cache.ttl not in ("", "5m", "1h"):
        leave.inside(path, "cache", "has a lifetime this model does not offer")
        return {}
    return {"cache_control": {"type": "ephemeral", "ttl": cache.ttl} if cache.ttl else {"type": "ephemeral"}}


def _tool(tool: Tool) -> dict[str, object]:
    body: dict[str, object] = {"name": tool.name}
    if tool.description is not None:
        body["description"] = tool.description
    body["input_schema"] = msgspec.Raw(tool.parameters or _NO_SCHEMA)
    # Absent and false are the same on both sides.
    if tool.strict:
        body["strict"] = True
    if tool.cache is not None:
        body["cache_control"] = (
            {"type": "ephemeral", "ttl": tool.cache.ttl} if tool.cache.ttl else {"type": "ephemeral"}
        )
    return body


def _reasoning(reasoning: Reasoning, body: dict[str, object], output: dict[str, object], leave: Leave) -> None:
    if reasoning.effort:
        if reasoning.effort not in _EFFORTS:
            leave.out("reasoning.effort")
            return
        output["effort"] = reasoning.effort
    if reasoning.enabled is None:
        return
    if not reasoning.enabled:
        body["thinking"] = {"type": "disabled"}
        return
    thinking: dict[str, object] = {"type": "adaptive"}
    if reasoning.budget_tokens is not None:
        thinking = {"type": "enabled", "budget_tokens": reasoning.budget_tokens}
    if reasoning.display:
        thinking["display"] = reasoning.display
    body["thinking"] = thinking


def _response_format(form: ResponseFormat, output: dict[str, object], leave: Leave) -> None:
    if form.kind is FormatKind.TEXT:
        return
    if form.kind is FormatKind.JSON_OBJECT or not form.schema:
        leave.out("response_format", "has no schema, without which this model cannot promise JSON")
        return
    if form.description:
        leave.out("response_format.description")
    output["format"] = {"type": "json_schema", "schema": msgspec.Raw(form.schema)}
