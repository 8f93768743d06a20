"""A request for Cohere's chat, from our terms.

What is decided here, each refusal being a drop where the caller allowed it:

- Developer messages are system messages. A final assistant turn is refused: there it would be a turn, not the
  beginning of the answer, and what a caller means by it differs.
- Thinking goes back as the plan of a turn that calls tools and as thinking of any other. What is signed or encrypted
  only its own provider can read, and is refused.
- Images may stand behind a URL; documents are refused, but for plain text, which goes as text with its title before it.
- A failed tool's result has no flag here and is refused, as are images and files inside a result.
- `strict_tools` holds for all tools: it is set where every one asks for it, and refused where only some do.
- To name a tool, or to forbid parallel calls, has no counterpart.
- A budget for thinking is carried; an effort has no counterpart. Adaptive thinking is thinking switched on.
- A structured answer is a JSON object, with the schema where there is one; its name is a label nobody reads here.
- There is one service tier: `auto`, `default` and `standard_only` all mean it.
- `safety_mode`, `citation_options` and `documents` are Cohere's own and carried where a caller sends them by that name.
- Who the end user is and a key for the prompt cache are hints, and left out.
- Several choices, alternatives of log-probabilities and a cache mark have no counterpart; nor has a number outside the
  range Cohere takes.

Source: Cohere API reference, "Chat" (v2).
"""

from typing import Final

import msgspec

from ostiary.core.call import ChatCall, Reasoning
from ostiary.core.message import (
    Base64Source,
    CacheControl,
    FilePart,
    FormatKind,
    ImagePart,
    Message,
    Part,
    PlainTextSource,
    RedactedThinkingPart,
    RefusalPart,
    ResponseFormat,
    Role,
    TextPart,
    ThinkingPart,
    Tool,
    ToolMode,
    ToolResultPart,
    ToolUsePart,
    UrlSource,
)
from ostiary.gateway.dialect import Encoded
from ostiary.gateway.wire.json import encode
from ostiary.gateway.wire.leave import Leave

PATH: Final = b"/v2/chat"

_STOPS_MAX: Final = 5
_TOP_K_MAX: Final = 500
_TOP_P_MIN: Final = 0.01
_TOP_P_MAX: Final = 0.99
_TIERS: Final = frozenset({"auto", "default", "standard_only"})
_OWN: Final = frozenset({"safety_mode", "citation_options", "documents"})
_NO_SCHEMA: Final = b'{"type":"object","properties":{}}'


def encode_chat(call: ChatCall, *, model: str, max_tokens: int | None, drop: bool) -> Encoded:
    """See gateway/dialect."""
    leave = Leave(call.names, drop=drop, hints=call.hints)
    body: dict[str, object] = {"model": model, "messages": _messages(call.messages, leave)}
    bound = max_tokens if call.max_tokens is None else call.max_tokens
    if bound is not None:
        body["max_tokens"] = bound
    _sampling(call, body, leave)
    _tools(call, body, leave)
    if call.response_format is not None:
        _response_format(call.response_format, body, leave)
    if call.reasoning is not None:
        _reasoning(call.reasoning, body, leave)
    if call.service_tier is not None and call.service_tier not in _TIERS:
        leave.out("service_tier")
    if call.end_user is not None:
        leave.hint("end_user")
    if call.prompt_cache_key is not None:
        leave.hint("prompt_cache_key")
    for path, raw in call.extensions.items():
        if path in _OWN:
            body[path] = msgspec.Raw(raw)
        else:
            leave.place(path)
    if call.stream:
        body["stream"] = True
    return Encoded(PATH, encode(body), (), tuple(leave.dropped))


def _sampling(call: ChatCall, body: dict[str, object], leave: Leave) -> None:
    if call.temperature is not None:
        body["temperature"] = call.temperature
    if call.stop:
        if len(call.stop) > _STOPS_MAX:
            leave.out("stop", f"has more than {_STOPS_MAX} items, the most this model takes")
        else:
            body["stop_sequences"] = call.stop
    ranged = (
        ("top_p", "p", call.top_p, _TOP_P_MIN, _TOP_P_MAX),
        ("top_k", "k", call.top_k, 0, _TOP_K_MAX),
        ("seed", "seed", call.seed, 0, 2**64 - 1),
        ("frequency_penalty", "frequency_penalty", call.frequency_penalty, 0, 1),
        ("presence_penalty", "presence_penalty", call.presence_penalty, 0, 1),
    )
    for ours, theirs, value, least, most in ranged:
        if value is None:
            continue
        if least <= value <= most:
            body[theirs] = value
        else:
            leave.out(ours, f"is outside {least} to {most}, which this model takes")
    if call.logprobs:
        body["logprobs"] = True
    if call.top_logprobs:
        leave.out("top_logprobs")
    if call.choices != 1:
        leave.out("choices")


def _tools(call: ChatCall, body: dict[str, object], leave: Leave) -> None:
    if call.tools:
        body["tools"] = [_tool(tool, index, leave) for index, tool in enumerate(call.tools)]
        strict = [bool(tool.strict) for tool in call.tools]
        if all(strict):
            body["strict_tools"] = True
        else:
            for index, one in enumerate(strict):
                if one:
                    leave.inside(f"tools[{index}]", "tool.strict", "holds for every tool or for none at this model")
        if call.parallel_tool_calls is False:
            leave.out("parallel_tool_calls")
    choice = call.tool_choice
    if choice is None:
        return
    if choice.mode is ToolMode.NAMED:
        leave.out("tool_choice", "names a tool, and this model can only be told to call any")
    elif choice.mode is ToolMode.REQUIRED:
        body["tool_choice"] = "REQUIRED"
    elif choice.mode is ToolMode.NONE and call.tools:
        body["tool_choice"] = "NONE"


def _tool(tool: Tool, index: int, leave: Leave) -> dict[str, object]:
    if tool.cache is not None:
        leave.inside(f"tools[{index}]", "cache")
    function: dict[str, object] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = msgspec.Raw(tool.parameters or _NO_SCHEMA)
    return {"type": "function", "function": function}


def _response_format(form: ResponseFormat, body: dict[str, object], leave: Leave) -> None:
    if form.kind is FormatKind.TEXT:
        return
    asked: dict[str, object] = {"type": "json_object"}
    if form.schema:
        asked["json_schema"] = msgspec.Raw(form.schema)
    if form.description:
        leave.out("response_format.description")
    body["response_format"] = asked


def _reasoning(reasoning: Reasoning, body: dict[str, object], leave: Leave) -> None:
    if reasoning.effort:
        leave.out("reasoning.effort")
    if reasoning.display:
        leave.out("reasoning.display")
    if reasoning.enabled is None:
        return
    thinking: dict[str, object] = {"type": "enabled" if reasoning.enabled else "disabled"}
    if reasoning.enabled and reasoning.budget_tokens is not None:
        thinking["token_budget"] = reasoning.budget_tokens
    body["thinking"] = thinking


def _messages(messages: tuple[Message, ...], leave: Leave) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for index, message in enumerate(messages):
        if message.name:
            leave.place(f"{message.path}.name")
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
    plan: list[str] = []
    calls_tools = any(isinstance(part, ToolUsePart) for part in message.parts)
    for part, path in _placed(message):
        if isinstance(part, TextPart):
            content.append(_text(part, path, leave))
        elif isinstance(part, RefusalPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, ToolUsePart) and not part.custom:
            _cache(part.cache, path, leave)
            function = {"name": part.name, "arguments": part.arguments}
            calls.append({"id": part.id, "type": "function", "function": function})
        elif isinstance(part, ThinkingPart) and not part.signature:
            if calls_tools:
                plan.append(part.text)
            else:
                content.append({"type": "thinking", "thinking": part.text})
        elif isinstance(part, ThinkingPart | RedactedThinkingPart):
            leave.place(path, "is thinking that only the provider that made it can read")
        else:
            leave.place(path)
    if not content and not calls:
        return None
    encoded: dict[str, object] = {"role": "assistant"}
    if content:
        encoded["content"] = _compact(content)
    if plan:
        encoded["tool_plan"] = "".join(plan)
    if calls:
        encoded["tool_calls"] = calls
    return encoded


def _turn(message: Message, leave: Leave) -> list[dict[str, object]]:
    """A user, system or tool turn. Tool results come first, as messages of their own."""
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
        role = "system" if message.role in (Role.SYSTEM, Role.DEVELOPER) else "user"
        out.append({"role": role, "content": _compact(content)})
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
    """A single plain text as a string; anything else as parts."""
    if not content:
        return ""
    if len(content) == 1 and content[0]["type"] == "text":
        return content[0]["text"]
    return content


def _text(part: TextPart, path: str, leave: Leave) -> dict[str, object]:
    _cache(part.cache, path, leave)
    if part.citations is not None:
        leave.inside(path, "citations")
    return {"type": "text", "text": part.text}


def _content_part(part: Part, path: str, leave: Leave) -> dict[str, object] | None:
    if isinstance(part, TextPart):
        return _text(part, path, leave)
    if isinstance(part, ImagePart):
        return _image(part, path, leave)
    if isinstance(part, FilePart):
        return _file(part, path, leave)
    leave.place(path)
    return None


def _image(part: ImagePart, path: str, leave: Leave) -> dict[str, object] | None:
    _cache(part.cache, path, leave)
    if isinstance(part.source, UrlSource):
        url = part.source.url
    elif isinstance(part.source, Base64Source):
        url = f"data:{part.source.media_type};base64,{part.source.data}"
    else:
        leave.place(path, "is a file kept at another provider")
        return None
    image: dict[str, object] = {"url": url}
    if part.detail:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _file(part: FilePart, path: str, leave: Leave) -> dict[str, object] | None:
    _cache(part.cache, path, leave)
    if part.context:
        leave.inside(path, "file.context")
    if part.citations:
        leave.inside(path, "file.citations")
    if not isinstance(part.source, PlainTextSource):
        leave.place(path, "is a document, which this model does not read")
        return None
    text = f"{part.filename}\n\n{part.source.text}" if part.filename else part.source.text
    return {"type": "text", "text": text}


def _cache(cache: CacheControl | None, path: str, leave: Leave) -> None:
    if cache is not None:
        leave.inside(path, "cache")
