"""A chat request for a provider that speaks the responses form, from our terms.

What is decided here, each refusal being a drop where the caller allowed it:

- `store` is false: the gateway leaves nothing at a provider that its caller did not ask to be kept.
- System messages stay where they stand in the input; `instructions` is not used.
- Reasoning goes back where it is signed or encrypted, under its id where that is known. Reasoning without a signature
  is refused: this form takes back only what it encrypted. What it encrypts is asked for wherever reasoning is.
- A final assistant turn is refused unless it comes from the other of OpenAI's forms, where it means the same:
  elsewhere it is the beginning of the answer, here it is a turn of its own.
- A failed tool's result (`is_error`) has no flag here and is refused; its text alone would read as success.
- A function's `strict` is always sent: where it is absent this form takes it for true, every other for false.
- A budget for thinking becomes an effort: below 4096 tokens low, below 16384 medium, else high. Adaptive thinking is
  the default of models that think and is carried by saying nothing; switched off it is effort `none`.
- A signature of a text or a call is refused: it is another provider's proof, and this form has no place for one.
- A cache mark is refused: servers of this form differ in whether they know one, and the words for lifetimes differ.
- A structured answer is asked for under the name `answer` where the caller gave it none, and needs a schema.
- Several choices, a seed, penalties, stop sequences, `top_k` and inline audio have no counterpart.
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
    ToolChoice,
    ToolMode,
    ToolResultPart,
    ToolUsePart,
    UrlSource,
)
from ostiary.gateway.dialect import Encoded
from ostiary.gateway.dialect.responses.reply import encode_reasoning, encode_tool_call
from ostiary.gateway.wire.custom_tool import custom_tools, with_custom
from ostiary.gateway.wire.json import encode
from ostiary.gateway.wire.leave import Leave
from ostiary.gateway.wire.openai import SHARED

PATH: Final = b"/responses"
COUNT_PATH: Final = b"/responses/input_tokens"
_EFFORT_LOW_BELOW: Final = 4096
_EFFORT_MEDIUM_BELOW: Final = 16384
_TIERS: Final = {"standard_only": "default"}
_OWN_TIERS: Final = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
_SAME_TURNS: Final = (DialectName.OPENAI, DialectName.RESPONSES)


def encode_chat(call: ChatCall, *, model: str, max_tokens: int | None, drop: bool) -> Encoded:
    """See gateway/dialect."""
    leave = Leave(call.names, drop=drop, hints=call.hints)
    body = _prompt(call, model, leave)
    body["store"] = False
    include = []
    if _reasons(call):
        include.append("reasoning.encrypted_content")
    if call.logprobs:
        include.append("message.output_text.logprobs")
    if include:
        body["include"] = include
    bound = max_tokens if call.max_tokens is None else call.max_tokens
    members = (
        ("max_output_tokens", bound),
        ("temperature", call.temperature),
        ("top_p", call.top_p),
        ("top_logprobs", call.top_logprobs),
        ("user", call.end_user),
        ("prompt_cache_key", call.prompt_cache_key),
    )
    body |= {key: value for key, value in members if value is not None}
    for name, asked in (
        ("top_k", call.top_k is not None),
        ("stop", bool(call.stop)),
        ("choices", call.choices != 1),
        ("seed", call.seed is not None),
        ("frequency_penalty", bool(call.frequency_penalty)),
        ("presence_penalty", bool(call.presence_penalty)),
    ):
        if asked:
            leave.out(name)
    if call.service_tier is not None:
        tier = _TIERS.get(call.service_tier, call.service_tier)
        if tier in _OWN_TIERS:
            body["service_tier"] = tier
        else:
            leave.out("service_tier")
    if call.stream:
        body["stream"] = True
    _extensions(call, body, leave)
    return Encoded(PATH, encode(body), (), tuple(leave.dropped))


def encode_count_tokens(call: ChatCall, *, model: str, drop: bool) -> Encoded:
    """See gateway/dialect. What does not change the prompt is not sent."""
    leave = Leave(call.names, drop=drop, hints=call.hints)
    body = _prompt(call, model, leave)
    _extensions(call, body, leave)
    return Encoded(COUNT_PATH, encode(body), (), tuple(leave.dropped))


def _prompt(call: ChatCall, model: str, leave: Leave) -> dict[str, object]:
    """All that counts as input."""
    body: dict[str, object] = {"model": model, "input": _input(call, leave)}
    custom = _custom(call)
    offered = bool(call.tools or custom)
    if offered:
        body["tools"] = with_custom([_tool(tool, index, leave) for index, tool in enumerate(call.tools)], custom)
        if call.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = call.parallel_tool_calls
    # Without tools, to choose freely and to choose none is to say nothing.
    if call.tool_choice is not None and (offered or call.tool_choice.mode not in (ToolMode.AUTO, ToolMode.NONE)):
        body["tool_choice"] = _tool_choice(call.tool_choice)
    if call.response_format is not None:
        _response_format(call.response_format, body, leave)
    if call.reasoning is not None:
        _reasoning(call.reasoning, body, leave)
    return body


def _custom(call: ChatCall) -> dict[str, dict[str, object]]:
    """What of custom tools comes from the other of OpenAI's forms."""
    return custom_tools(call.extensions, wrapped=False) if call.dialect is DialectName.OPENAI else {}


def _extensions(call: ChatCall, body: dict[str, object], leave: Leave) -> None:
    custom = _custom(call)
    for path, raw in call.extensions.items():
        if call.dialect is DialectName.RESPONSES and "." not in path and "[" not in path:
            body[path] = msgspec.Raw(raw)
        elif path in custom:
            if path == "tool_choice":
                body[path] = custom[path]
        elif call.dialect is DialectName.OPENAI and path in SHARED:
            place, _, member = SHARED[path].partition(".")
            inner = body.get(place)
            body[place] = (
                {**(inner if type(inner) is dict else {}), member: msgspec.Raw(raw)} if member else msgspec.Raw(raw)
            )
        else:
            leave.place(path)


def _reasons(call: ChatCall) -> bool:
    """Whether reasoning is asked for or has been going on. Models that never reason refuse to be asked for what it
    was encrypted to."""
    if call.reasoning is not None and call.reasoning.enabled is not False:
        return True
    return any(
        isinstance(part, ThinkingPart | RedactedThinkingPart) for message in call.messages for part in message.parts
    )


def _input(call: ChatCall, leave: Leave) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    custom: set[str] = set()
    for index, message in enumerate(call.messages):
        if message.name:
            leave.place(f"{message.path}.name")
        if message.role is Role.ASSISTANT:
            if index == len(call.messages) - 1 and call.dialect not in _SAME_TURNS:
                leave.place(
                    message.path or "messages", "is a final assistant turn, which this model would not continue"
                )
                continue
            items += _assistant(message, custom, leave)
        else:
            items += _turn(message, custom, leave)
    return items


def _assistant(message: Message, custom: set[str], leave: Leave) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    texts: list[dict[str, object]] = []
    for part, path in _placed(message):
        if isinstance(part, TextPart | RefusalPart):
            texts.append(_said(part, path, leave))
            continue
        if isinstance(part, ThinkingPart) and not part.signature:
            leave.place(path, "is thinking without a signature, which this model does not take back")
            continue
        _flush(items, texts)
        if isinstance(part, ToolUsePart):
            _cache(part.cache, path, leave)
            _signature(part, path, leave)
            if part.custom:
                custom.add(part.id)
            items.append(encode_tool_call(part))
        elif isinstance(part, ThinkingPart | RedactedThinkingPart):
            named: dict[str, object] = {"id": part.id} if part.id else {}
            items.append(encode_reasoning(part) | named)
        else:
            leave.place(path)
    _flush(items, texts)
    return items


def _flush(items: list[dict[str, object]], texts: list[dict[str, object]]) -> None:
    """Texts and refusals that follow one another are one message."""
    if texts:
        items.append({"type": "message", "role": "assistant", "content": list(texts)})
        texts.clear()


def _said(part: TextPart | RefusalPart, path: str, leave: Leave) -> dict[str, object]:
    if isinstance(part, RefusalPart):
        return {"type": "refusal", "refusal": part.text}
    _text(part, path, leave)
    return {"type": "output_text", "text": part.text, "annotations": []}


def _turn(message: Message, custom: set[str], leave: Leave) -> list[dict[str, object]]:
    """A user, system or tool turn. Tool results come first, as items of their own: they answer the calls just before
    them."""
    items: list[dict[str, object]] = []
    content: list[dict[str, object]] = []
    for part, path in _placed(message):
        if isinstance(part, ToolResultPart):
            items.append(_tool_result(part, path, custom, leave))
            continue
        encoded = _content_part(part, path, leave)
        if encoded is not None:
            content.append(encoded)
    if content or not message.parts:
        role = Role.USER if message.role is Role.TOOL else message.role
        items.append({"role": str(role), "content": _compact(content)})
    return items


def _tool_result(part: ToolResultPart, path: str, custom: set[str], leave: Leave) -> dict[str, object]:
    _cache(part.cache, path, leave)
    if part.is_error:
        leave.inside(path, "is_error")
    content: list[dict[str, object]] = []
    for index, item in enumerate(part.parts):
        encoded = _content_part(item, f"{path}.content[{index}]", leave)
        if encoded is not None:
            content.append(encoded)
    kind = "custom_tool_call_output" if part.tool_use_id in custom else "function_call_output"
    return {"type": kind, "call_id": part.tool_use_id, "output": _compact(content)}


def _placed(message: Message) -> list[tuple[Part, str]]:
    """The parts, each with its path in the caller's request, or the message's where that is not known."""
    paths = message.part_paths or (message.path or "messages",) * len(message.parts)
    return list(zip(message.parts, paths, strict=True))


def _compact(content: list[dict[str, object]]) -> object:
    """A single plain text as a string, as most clients write it."""
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
    return {"type": "input_text", "text": part.text}


def _content_part(part: Part, path: str, leave: Leave) -> dict[str, object] | None:
    if isinstance(part, TextPart):
        return _text(part, path, leave)
    if isinstance(part, ImagePart):
        _cache(part.cache, path, leave)
        url = _url(part.source)
        if url is None:
            leave.place(path, "is a file kept at another provider")
            return None
        return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
    if isinstance(part, FilePart):
        return _file(part, path, leave)
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
        return {"type": "input_text", "text": text}
    if isinstance(part.source, FileSource):
        leave.place(path, "is a file kept at another provider")
        return None
    file: dict[str, object] = {"type": "input_file"}
    if isinstance(part.source, UrlSource):
        file["file_url"] = part.source.url
        if part.filename:
            file["filename"] = part.filename
        return file
    file["filename"] = part.filename or "document.pdf"
    file["file_data"] = f"data:{part.source.media_type};base64,{part.source.data}"
    return file


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
    function: dict[str, object] = {"type": "function", "name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = msgspec.Raw(tool.parameters) if tool.parameters else None
    function["strict"] = bool(tool.strict)
    return function


def _tool_choice(choice: ToolChoice) -> object:
    return {"type": "function", "name": choice.name} if choice.mode is ToolMode.NAMED else str(choice.mode)


def _response_format(form: ResponseFormat, body: dict[str, object], leave: Leave) -> None:
    if form.kind is not FormatKind.JSON_SCHEMA:
        body["text"] = {"format": {"type": str(form.kind)}}
        return
    if not form.schema:
        leave.out("response_format", "has no schema, which this model needs")
        return
    named: dict[str, object] = {"type": "json_schema", "name": form.name or "answer"}
    if form.description is not None:
        named["description"] = form.description
    named["schema"] = msgspec.Raw(form.schema)
    if form.strict is not None:
        named["strict"] = form.strict
    body["text"] = {"format": named}


def _reasoning(reasoning: Reasoning, body: dict[str, object], leave: Leave) -> None:
    members: dict[str, object] = {}
    if reasoning.enabled is False:
        members["effort"] = "none"
    elif reasoning.effort:
        members["effort"] = reasoning.effort
    elif reasoning.budget_tokens is not None:
        budget = reasoning.budget_tokens
        members["effort"] = (
            "low" if budget < _EFFORT_LOW_BELOW else "medium" if budget < _EFFORT_MEDIUM_BELOW else "high"
        )
    if reasoning.display == "summarized":
        members["summary"] = "auto"
    elif reasoning.display not in ("", "omitted"):
        leave.out("reasoning.display")
    if members:
        body["reasoning"] = members
