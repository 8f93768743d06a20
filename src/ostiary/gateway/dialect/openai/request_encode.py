"""A chat request for a provider that speaks OpenAI's form, from our terms.

What is decided here, each refusal being a drop where the caller allowed it:

- Thinking in the history is refused where it is signed or redacted: only the provider that made it can read that.
  Thinking without a signature came from a server of this form and goes back as `reasoning_content`.
- A final assistant turn is refused: elsewhere it is the beginning of the answer, here it would be a turn of its own.
- A failed tool's result (`is_error`) has no flag here and is refused; its text alone would read as success.
- Images and files inside a tool's result are refused: here a tool answers in text.
- A budget for thinking becomes an effort: below 4096 tokens low, below 16384 medium, else high. Adaptive thinking is
  the default of models that think and is carried by saying nothing; switched off it is effort `none`.
- That thinking is to be shown is a hint: servers of this form that show it do so unasked.
- A cache mark is refused: servers of this form differ in whether they know one, and the words for lifetimes differ.
- A structured answer is asked for under the name `answer` where the caller gave it none.
"""

from typing import Final

import msgspec

from ostiary.core.call import ChatCall, DialectName, Reasoning
from ostiary.core.message import (
    AudioPart,
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
    ToolChoice,
    ToolMode,
    ToolResultPart,
    ToolUsePart,
    UrlSource,
)
from ostiary.gateway.dialect import Encoded
from ostiary.gateway.dialect.openai.profile import PLAIN, fit_body
from ostiary.gateway.dialect.openai.reply import encode_tool_call
from ostiary.gateway.wire.custom_tool import custom_tools, with_custom
from ostiary.gateway.wire.json import encode
from ostiary.gateway.wire.leave import Leave
from ostiary.gateway.wire.openai import SHARED
from ostiary.snapshot.tables import ProfileRow

_SHARED: Final = {theirs: ours for ours, theirs in SHARED.items()}
PATH: Final = b"/chat/completions"
_EFFORT_LOW_BELOW: Final = 4096
_EFFORT_MEDIUM_BELOW: Final = 16384
_TIERS: Final = {"standard_only": "default"}
_OWN_TIERS: Final = ("auto", "default", "flex", "scale", "priority", "fast")


def encode_chat(call: ChatCall, *, model: str, max_tokens: int | None, drop: bool, profile: ProfileRow) -> Encoded:
    """See gateway/dialect."""
    leave = Leave(call.names, drop=drop, hints=call.hints)
    custom = custom_tools(call.extensions, wrapped=True) if call.dialect is DialectName.RESPONSES else {}
    offered = bool(call.tools or custom)
    body: dict[str, object] = {"model": model, "messages": _messages(call.messages, leave)}
    bound = max_tokens if call.max_tokens is None else call.max_tokens
    if bound is not None:
        body[profile.max_tokens_field] = bound
    members = (
        ("temperature", call.temperature),
        ("top_p", call.top_p),
        ("seed", call.seed),
        ("frequency_penalty", call.frequency_penalty),
        ("presence_penalty", call.presence_penalty),
        ("parallel_tool_calls", call.parallel_tool_calls if offered else None),
        ("top_logprobs", call.top_logprobs),
        ("user", call.end_user),
        ("prompt_cache_key", call.prompt_cache_key),
    )
    body |= {key: value for key, value in members if value is not None}
    if call.top_k is not None:
        leave.out("top_k")
    if call.stop:
        body["stop"] = call.stop
    if call.choices != 1:
        body["n"] = call.choices
    if call.logprobs:
        body["logprobs"] = True
    if offered:
        body["tools"] = with_custom([_tool(tool, index, leave) for index, tool in enumerate(call.tools)], custom)
    # Without tools, to choose freely and to choose none is to say nothing.
    if call.tool_choice is not None and (offered or call.tool_choice.mode not in (ToolMode.AUTO, ToolMode.NONE)):
        body["tool_choice"] = _tool_choice(call.tool_choice)
    if call.response_format is not None:
        body["response_format"] = _response_format(call.response_format)
    if call.reasoning is not None:
        _reasoning(call.reasoning, body, leave)
    if call.service_tier is not None:
        tier = _TIERS.get(call.service_tier, call.service_tier)
        if tier in _OWN_TIERS:
            body["service_tier"] = tier
        else:
            leave.out("service_tier")
    if call.stream:
        # Always asked for: the gateway meters by it. What the client sees is its own encoder's matter.
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    for path, raw in call.extensions.items():
        if call.dialect is DialectName.OPENAI and "." not in path and "[" not in path:
            body[path] = msgspec.Raw(raw)
        elif call.dialect is DialectName.RESPONSES and path in _SHARED:
            body[_SHARED[path]] = msgspec.Raw(raw)
        elif path in custom:
            if path == "tool_choice":
                body[path] = custom[path]
        else:
            leave.place(path)
    if profile != PLAIN:
        fit_body(profile, body, leave)
    return Encoded(PATH, encode(body), (), tuple(leave.dropped))


def _messages(messages: tuple[Message, ...], leave: Leave) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for index, message in enumerate(messages):
        if message.role is Role.ASSISTANT:
            if index == len(messages) - 1:
                leave.place(
                    message.path or "messages", "is a final assistant turn, which this model would not continue"
                )
                continue
            if encoded := _assistant(message, leave):
                out.append(encoded)
            continue
        out += _turn(message, leave)
    return out


def _assistant(message: Message, leave: Leave) -> dict[str, object] | None:
    content: list[dict[str, object]] = []
    calls: list[dict[str, object]] = []
    thoughts: list[str] = []
    for part, path in _placed(message):
        if isinstance(part, TextPart):
            content.append(_text(part, path, leave))
        elif isinstance(part, RefusalPart):
            content.append({"type": "refusal", "refusal": part.text})
        elif isinstance(part, ToolUsePart):
            _cache(part.cache, path, leave)
            _signature(part, path, leave)
            calls.append(encode_tool_call(msgspec.structs.replace(part, signature="")))
        elif isinstance(part, ThinkingPart) and not part.signature:
            thoughts.append(part.text)
        elif isinstance(part, ThinkingPart | RedactedThinkingPart):
            leave.place(path, "is thinking that only the provider that made it can read")
        else:
            leave.place(path)
    if not content and not calls and not thoughts and not message.name:
        return None
    # Content may be absent only beside tool calls.
    encoded: dict[str, object] = {"role": "assistant", "content": None if calls and not content else _compact(content)}
    if thoughts:
        encoded["reasoning_content"] = "".join(thoughts)
    if calls:
        encoded["tool_calls"] = calls
    if message.name:
        encoded["name"] = message.name
    return encoded


def _turn(message: Message, leave: Leave) -> list[dict[str, object]]:
    """A user, system or tool turn. Tool results come first, as messages of their own: they answer the calls just
    before them."""
    out: list[dict[str, object]] = []
    content: list[dict[str, object]] = []
    for part, path in _placed(message):
        if isinstance(part, ToolResultPart):
            out.append(_tool_result(part, path, leave))
            continue
        encoded = _content_part(part, path, leave)
        if encoded is not None:
            content.append(encoded)
    if content or (not out and not message.parts):
        role = Role.USER if message.role is Role.TOOL else message.role
        turn: dict[str, object] = {"role": str(role), "content": _compact(content)}
        if message.name:
            turn["name"] = message.name
        out.append(turn)
    return out


def _tool_result(part: ToolResultPart, path: str, leave: Leave) -> dict[str, object]:
    _cache(part.cache, path, leave)
    if part.is_error:
        leave.inside(path, "is_error")
    content: list[dict[str, object]] = []
    for index, item in enumerate(part.parts):
        place = f"{path}.content[{index}]"
        if isinstance(item, TextPart):
            content.append(_text(item, place, leave))
        else:
            leave.place(place, "cannot be carried to this model, whose tools answer in text")
    return {"role": "tool", "tool_call_id": part.tool_use_id, "content": _compact(content)}


def _placed(message: Message) -> list[tuple[Part, str]]:
    """The parts, each with its path in the caller's request, or the message's where that is not known."""
    paths = message.part_paths or (message.path or "messages",) * len(message.parts)
    return list(zip(message.parts, paths, strict=True))


def _compact(content: list[dict[str, object]]) -> object:
    """A single plain text as a string, which every compatible server understands; anything else as parts."""
    if not content:
        return ""
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        return content[0]["text"]
    return content


def _signature(part: TextPart | ToolUsePart, path: str, leave: Leave) -> None:
    if part.signature:
        leave.inside(path, "signature", "is a proof of thinking that only the provider that made it can read")


def _text(part: TextPart, path: str, leave: Leave) -> dict[str, object]:
    _cache(part.cache, path, leave)
    _signature(part, path, leave)
    if part.citations is not None:
        leave.inside(path, "citations")
    return {"type": "text", "text": part.text}


def _content_part(part: Part, path: str, leave: Leave) -> dict[str, object] | None:
    if isinstance(part, TextPart):
        return _text(part, path, leave)
    if isinstance(part, ImagePart):
        _cache(part.cache, path, leave)
        url = _url(part.source)
        if url is None:
            leave.place(path, "is a file kept at another provider")
            return None
        image: dict[str, object] = {"url": url}
        if part.detail:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    if isinstance(part, FilePart):
        return _file(part, path, leave)
    if isinstance(part, AudioPart):
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
    leave.place(path)
    return None


def _file(part: FilePart, path: str, leave: Leave) -> dict[str, object] | None:
    _cache(part.cache, path, leave)
    if part.context:
        leave.inside(path, "file.context")
    if part.citations:
        leave.inside(path, "file.citations")
    if isinstance(part.source, PlainTextSource):
        # A document in plain text is text; its title, which is part of what the model reads, goes before it.
        text = f"{part.filename}\n\n{part.source.text}" if part.filename else part.source.text
        return {"type": "text", "text": text}
    if not isinstance(part.source, Base64Source):
        kind = "a file kept at another provider" if isinstance(part.source, FileSource) else "a file behind a URL"
        leave.place(path, f"is {kind}, which cannot be carried to this model")
        return None
    return {
        "type": "file",
        "file": {
            "filename": part.filename or "document.pdf",
            "file_data": f"data:{part.source.media_type};base64,{part.source.data}",
        },
    }


def _url(source: Source) -> str | None:
    if isinstance(source, UrlSource):
        return source.url
    return f"data:{source.media_type};base64,{source.data}" if isinstance(source, Base64Source) else None


def _cache(cache: CacheControl | None, path: str, leave: Leave) -> None:
    if cache is not None:
        leave.inside(path, "cache")


def _tool(tool: Tool, index: int, leave: Leave) -> dict[str, object]:
    if tool.cache is not None:
        leave.inside(f"tools[{index}]", "cache")
    function: dict[str, object] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = msgspec.Raw(tool.parameters)
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> object:
    if choice.mode is ToolMode.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return str(choice.mode)


def _response_format(form: ResponseFormat) -> dict[str, object]:
    if form.kind is not FormatKind.JSON_SCHEMA:
        return {"type": str(form.kind)}
    named: dict[str, object] = {"name": form.name or "answer"}
    if form.description is not None:
        named["description"] = form.description
    if form.schema:
        named["schema"] = msgspec.Raw(form.schema)
    if form.strict is not None:
        named["strict"] = form.strict
    return {"type": "json_schema", "json_schema": named}


def _reasoning(reasoning: Reasoning, body: dict[str, object], leave: Leave) -> None:
    if reasoning.display == "summarized":
        leave.hint("reasoning.display")
    if reasoning.enabled is False:
        body["reasoning_effort"] = "none"
    elif reasoning.effort:
        body["reasoning_effort"] = reasoning.effort
    elif reasoning.budget_tokens is not None:
        budget = reasoning.budget_tokens
        body["reasoning_effort"] = (
            "low" if budget < _EFFORT_LOW_BELOW else "medium" if budget < _EFFORT_MEDIUM_BELOW else "high"
        )
