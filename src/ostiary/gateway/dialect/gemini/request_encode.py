"""A request for content for a provider that speaks Google's form, from our terms.

What is decided here, each refusal being a drop where the caller allowed it:

- System and developer messages, wherever they stand, become the system instruction, in their order.
- Turns of one role after another become one content, as Google wants all answers to a turn's calls in one.
- A function's response needs the function's name, which is found by the call's id earlier in the conversation.
- A tool's result that is a JSON object is the response; any other text is its `output`, a failure's its `error`.
- A final assistant turn is refused: for the caller it is a turn, here it would be the beginning of the answer.
- Schemas go as standard JSON Schema, in the members made for it. A strict tool is the mode VALIDATED.
- A first call of a turn without a signature, made by another model or told to a client that could not keep it, goes
  with the word Google gives for that case (ai.google.dev/gemini-api/docs/thought-signatures); models of the second
  generation ask for none.
- An effort becomes a thinking level; for models of the second generation, which know no levels, the budget by which
  Google reads efforts itself (ai.google.dev/gemini-api/docs/openai). Thinking is shown where the caller's way of
  asking for it shows it.
- The usual service tier is asked for by saying nothing, as not every server of this form knows tiers.
- Who the end user is, which calls may share a cached prompt and what a file is called are hints, and left out:
  Google's servers cache by themselves and take a name only in some places.
- Cache marks, calls that may not be parallel and token lists have no counterpart.
"""

from typing import Final
from urllib.parse import quote

import msgspec

from ostiary.core.call import ChatCall, DialectName, Reasoning
from ostiary.core.message import (
    AudioPart,
    Base64Source,
    CacheControl,
    FilePart,
    FormatKind,
    ImagePart,
    Message,
    Part,
    PlainTextSource,
    RedactedThinkingPart,
    ResponseFormat,
    Role,
    Source,
    TextPart,
    Tool,
    ToolChoice,
    ToolMode,
    ToolResultPart,
    ToolUsePart,
    UrlSource,
)
from ostiary.gateway.dialect import Encoded
from ostiary.gateway.dialect.gemini.reply import encode_part
from ostiary.gateway.wire.json import encode, raw_members
from ostiary.gateway.wire.leave import Leave

GENERATE: Final = b":generateContent"
STREAM: Final = b":streamGenerateContent"
SSE: Final = b"?alt=sse"
COUNT: Final = b":countTokens"

_NO_SIGNATURE: Final = "skip_thought_signature_validator"
_SECOND_GENERATION: Final = "gemini-2"
_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
_LEVELS: Final = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH"}
_MODES: Final = {ToolMode.AUTO: "AUTO", ToolMode.NONE: "NONE", ToolMode.REQUIRED: "ANY", ToolMode.NAMED: "ANY"}
_TIERS: Final = ("flex", "priority")
_USUAL_TIERS: Final = (None, "auto", "default", "standard_only")
_AUDIO: Final = {"mp3": "audio/mpeg"}
_WHY_URL: Final = "is behind a URL and says no media type, without which this model does not read it"


def model_path(model: str) -> bytes:
    """The model's path. A name with a slash is a path already (tunedModels/x)."""
    return b"/" + quote(model if "/" in model else f"models/{model}", safe="/@").encode()


def resource(model: str) -> str:
    """The model as it stands in a body."""
    return model if "/" in model else f"models/{model}"


_INSTRUCTIONS: Final = (Role.SYSTEM, Role.DEVELOPER)


def encode_chat(call: ChatCall, *, model: str, max_tokens: int | None, drop: bool) -> Encoded:
    """See gateway/dialect."""
    leave = Leave(call.names, drop=drop, hints=call.hints)
    body = _prompt(call, model, leave)
    config = _config(call, model, max_tokens, leave)
    if config:
        body["generationConfig"] = config
    if call.service_tier in _TIERS:
        body["serviceTier"] = call.service_tier
    elif call.service_tier not in _USUAL_TIERS:
        leave.out("service_tier")
    if call.end_user is not None:
        leave.hint("end_user")
    if call.prompt_cache_key is not None:
        leave.hint("prompt_cache_key")
    path = model_path(model) + (STREAM + SSE if call.stream else GENERATE)
    return Encoded(path, encode(body), (), tuple(leave.dropped))


def encode_count_tokens(call: ChatCall, *, model: str, drop: bool) -> Encoded:
    """See gateway/dialect. What does not change the prompt is not sent; contents alone are sent in the short form,
    which every server of this form knows."""
    leave = Leave(call.names, drop=drop, hints=call.hints)
    body = _prompt(call, model, leave)
    if body.keys() != {"contents"}:
        body = {"generateContentRequest": {"model": resource(model), **body}}
    return Encoded(model_path(model) + COUNT, encode(body), (), tuple(leave.dropped))


def _prompt(call: ChatCall, model: str, leave: Leave) -> dict[str, object]:
    """All that counts as input."""
    body: dict[str, object] = {}
    system = _system(call.messages, leave)
    if system:
        body["systemInstruction"] = {"parts": system}
    body["contents"] = _Contents(leave, signs=_SECOND_GENERATION not in model).of(call.messages)
    if call.tools:
        functions = [_function(tool, index, leave) for index, tool in enumerate(call.tools)]
        body["tools"] = [{"functionDeclarations": functions}]
    choice = _tool_choice(call)
    if choice:
        body["toolConfig"] = {"functionCallingConfig": choice}
    if call.parallel_tool_calls is False and call.tools and choice.get("mode") != "NONE":
        leave.out("parallel_tool_calls")
    for path, raw in call.extensions.items():
        if call.dialect is DialectName.GEMINI and "." not in path and "[" not in path:
            body[path] = msgspec.Raw(raw)
        else:
            leave.place(path)
    return body


def _config(call: ChatCall, model: str, max_tokens: int | None, leave: Leave) -> dict[str, object]:
    members = (
        ("maxOutputTokens", max_tokens if call.max_tokens is None else call.max_tokens),
        ("temperature", call.temperature),
        ("topP", call.top_p),
        ("topK", call.top_k),
        ("seed", call.seed),
        ("stopSequences", call.stop or None),
        ("candidateCount", call.choices if call.choices != 1 else None),
        ("responseLogprobs", call.logprobs or None),
        ("logprobs", call.top_logprobs),
        ("frequencyPenalty", call.frequency_penalty),
        ("presencePenalty", call.presence_penalty),
    )
    config: dict[str, object] = {key: value for key, value in members if value is not None}
    if call.response_format is not None:
        _response_format(call.response_format, config, leave)
    if call.reasoning is not None:
        thinking = _thinking(call.reasoning, model, leave)
        if thinking:
            config["thinkingConfig"] = thinking
    return config


def _system(messages: tuple[Message, ...], leave: Leave) -> list[dict[str, object]]:
    parts: list[dict[str, object]] = []
    for message in messages:
        if message.role is not Role.SYSTEM and message.role is not Role.DEVELOPER:
            continue
        if message.name:
            leave.place(f"{message.path}.name")
        for part, path in _placed(message):
            if isinstance(part, TextPart):
                _cache(part.cache, path, leave)
                parts.append({"text": part.text})
            else:
                leave.place(path)
    return parts


def _placed(message: Message) -> list[tuple[Part, str]]:
    """The parts, each with its path in the caller's request, or the message's where that is not known."""
    paths = message.part_paths or (message.path or "messages",) * len(message.parts)
    return list(zip(message.parts, paths, strict=True))


class _Contents:
    """Writes contents one after the other; remembers the names of functions by the ids of their calls."""

    def __init__(self, leave: Leave, *, signs: bool) -> None:
        self._leave = leave
        self._signs = signs
        self._names: dict[str, str] = {}

    def of(self, messages: tuple[Message, ...]) -> list[dict[str, object]]:
        """The contents of a conversation."""
        turns: list[tuple[str, list[dict[str, object]]]] = []
        last = len(messages) - 1
        while last >= 0 and messages[last].role in _INSTRUCTIONS:
            last -= 1
        for index, message in enumerate(messages):
            if message.role in _INSTRUCTIONS:
                continue
            role = "model" if message.role is Role.ASSISTANT else "user"
            if role == "model" and index == last:
                self._leave.place(
                    message.path or "messages", "is a final assistant turn, which this model would not answer"
                )
                continue
            if message.name:
                self._leave.place(f"{message.path}.name")
            parts = [encoded for part, path in _placed(message) if (encoded := self._part(part, path)) is not None]
            if turns and turns[-1][0] == role:
                turns[-1][1].extend(parts)
            else:
                turns.append((role, parts))
        if self._signs:
            for role, parts in turns:
                if role == "model":
                    _sign(parts)
        return [{"role": role, "parts": parts} for role, parts in turns if parts]

    def _part(self, part: Part, path: str) -> dict[str, object] | None:
        if isinstance(part, ToolResultPart):
            return self._response(part, path)
        if isinstance(part, ImagePart | FilePart | AudioPart):
            return self._media(part, path)
        if isinstance(part, TextPart):
            _cache(part.cache, path, self._leave)
            if part.citations is not None:
                self._leave.inside(path, "citations")
        elif isinstance(part, ToolUsePart):
            _cache(part.cache, path, self._leave)
            if part.custom:
                self._leave.place(path, "is a call of a custom tool, which this model does not know")
                return None
            self._names[part.id] = part.name
        elif isinstance(part, RedactedThinkingPart):
            self._leave.place(path, "is thinking that only the provider that made it can read")
            return None
        return encode_part(part)

    def _response(self, part: ToolResultPart, path: str) -> dict[str, object] | None:
        leave = self._leave
        _cache(part.cache, path, leave)
        name = self._names.get(part.tool_use_id)
        if name is None:
            leave.place(path, "answers a tool call that is not in the conversation, so that its tool has no name")
            return None
        texts: list[str] = []
        media: list[dict[str, object]] = []
        for index, item in enumerate(part.parts):
            if isinstance(item, TextPart):
                _cache(item.cache, path, leave)
                texts.append(item.text)
            elif (encoded := self._media(item, f"{path}.content[{index}]")) is not None:
                media.append(encoded)
        response: dict[str, object] = {"id": part.tool_use_id} if part.tool_use_id else {}
        response |= {"name": name, "response": _result("\n".join(texts), failed=part.is_error)}
        if media:
            response["parts"] = media
        return {"functionResponse": response}

    def _media(self, part: ImagePart | FilePart | AudioPart, path: str) -> dict[str, object] | None:
        leave = self._leave
        if isinstance(part, AudioPart):
            kind = _AUDIO.get(part.format, f"audio/{part.format}")
            return {"inlineData": {"mimeType": kind, "data": part.data}}
        _cache(part.cache, path, leave)
        name = ""
        if isinstance(part, ImagePart):
            if part.detail not in ("", "auto"):
                leave.inside(path, "image.detail")
        else:
            name = part.filename
            if part.context:
                leave.inside(path, "file.context")
            if part.citations:
                leave.inside(path, "file.citations")
        return self._source(part.source, path, name, image=isinstance(part, ImagePart))

    def _source(self, source: Source, path: str, name: str, *, image: bool) -> dict[str, object] | None:
        if isinstance(source, Base64Source):
            if name:
                self._leave.hint_inside(path, "file.filename")
            return {"inlineData": {"mimeType": source.media_type, "data": source.data}}
        if isinstance(source, PlainTextSource):
            return {"text": f"{name}\n\n{source.text}" if name else source.text}
        if isinstance(source, UrlSource):
            kind = _url_type(source.url, image=image)
            if kind is None:
                self._leave.place(path, _WHY_URL)
                return None
            if name:
                self._leave.hint_inside(path, "file.filename")
            return {"fileData": {"mimeType": kind, "fileUri": source.url}}
        self._leave.place(path, "is a file kept at another provider")
        return None


_SUFFIXES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
}


def _url_type(url: str, *, image: bool) -> str | None:
    """The media type of what stands behind a URL, which Google must be told: by the name's ending, else the usual
    one of an image; None for a file whose name says nothing."""
    name = url.partition("?")[0].partition("#")[0].rpartition("/")[2]
    kind = _SUFFIXES.get(name.rpartition(".")[2].lower())
    return "image/jpeg" if kind is None and image else kind


def _sign(parts: list[dict[str, object]]) -> None:
    """Give the first call of a turn the word that stands for a signature where it has none."""
    for part in parts:
        if "functionCall" in part:
            part.setdefault("thoughtSignature", _NO_SIGNATURE)
            return


def _result(text: str, *, failed: bool) -> object:
    if failed:
        return {"error": text}
    try:
        raw_members(text.encode())
    except (msgspec.DecodeError, RecursionError):
        return {"output": text}
    return msgspec.Raw(text.encode())


def _cache(cache: CacheControl | None, path: str, leave: Leave) -> None:
    if cache is not None:
        leave.inside(path, "cache")


def _function(tool: Tool, index: int, leave: Leave) -> dict[str, object]:
    if tool.cache is not None:
        leave.inside(f"tools[{index}]", "cache")
    function: dict[str, object] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters:
        function["parametersJsonSchema"] = msgspec.Raw(tool.parameters)
    return function


def _tool_choice(call: ChatCall) -> dict[str, object]:
    choice = call.tool_choice or ToolChoice(ToolMode.AUTO)
    strict = any(tool.strict for tool in call.tools)
    if choice.mode is ToolMode.AUTO and strict:
        return {"mode": "VALIDATED"}
    # Without tools, to choose freely and to choose none is to say nothing.
    if call.tool_choice is None or (not call.tools and choice.mode in (ToolMode.AUTO, ToolMode.NONE)):
        return {}
    body: dict[str, object] = {"mode": _MODES[choice.mode]}
    if choice.mode is ToolMode.NAMED:
        body["allowedFunctionNames"] = [choice.name]
    return body


def _response_format(form: ResponseFormat, config: dict[str, object], leave: Leave) -> None:
    if form.kind is FormatKind.TEXT:
        return
    config["responseMimeType"] = "application/json"
    if form.description:
        leave.out("response_format.description")
    if form.schema:
        config["responseJsonSchema"] = msgspec.Raw(form.schema)


def _thinking(reasoning: Reasoning, model: str, leave: Leave) -> dict[str, object]:
    if reasoning.enabled is False:
        return {"thinkingBudget": 0}
    thinking: dict[str, object] = {}
    if reasoning.budget_tokens is not None:
        thinking["thinkingBudget"] = reasoning.budget_tokens
    elif reasoning.effort:
        budgets = _SECOND_GENERATION in model
        value: object = _BUDGETS.get(reasoning.effort) if budgets else _LEVELS.get(reasoning.effort)
        if value is None:
            leave.out("reasoning.effort")
        else:
            thinking["thinkingBudget" if budgets else "thinkingLevel"] = value
    # Asked for in Anthropic's way, thinking is shown unless the caller says otherwise.
    shows = reasoning.display == "summarized" or reasoning.adaptive or reasoning.budget_tokens is not None
    if shows and reasoning.display != "omitted":
        thinking["includeThoughts"] = True
    return thinking
