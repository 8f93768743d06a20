"""A client's request for content in Google's form, in our terms.

Read whole and strictly: every member is either understood, or known to change nothing at the value it has, or kept
in `extensions` under its path, where another dialect meets and names it. A part of a kind that no other dialect has
is refused at once: it has a place in the conversation that no extension can hold. Tools that run at Google (search,
code execution) are extensions under `tools[i]`.

A function's response names its call by id or only by the function's name: then it answers the first call of that name
not answered yet. Calls without an id get one.
"""

from typing import Final

import msgspec

from ostiary.core.call import ChatCall, DialectName, Reasoning
from ostiary.core.limit import CHOICES_MAX, MAX_TOKENS_MAX, MESSAGES_MAX, PARTS_MAX
from ostiary.core.message import (
    AudioPart,
    Base64Source,
    FilePart,
    FileSource,
    FormatKind,
    ImagePart,
    Message,
    Part,
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
from ostiary.gateway.dialect import Addressed
from ostiary.gateway.dialect.gemini.members import Members
from ostiary.gateway.dialect.gemini.peek import config_of, generate_request, tool_count
from ostiary.gateway.dialect.gemini.schema import json_schema
from ostiary.gateway.wire.field import Fields, beyond, invalid, model_name, stop_sequences, unsupported
from ostiary.gateway.wire.json import Document, encode, raw_items, raw_members

_CONFIG: Final = "generationConfig."
NAMES: Final = {
    "max_tokens": _CONFIG + "maxOutputTokens",
    "temperature": _CONFIG + "temperature",
    "top_p": _CONFIG + "topP",
    "top_k": _CONFIG + "topK",
    "seed": _CONFIG + "seed",
    "stop": _CONFIG + "stopSequences",
    "choices": _CONFIG + "candidateCount",
    "logprobs": _CONFIG + "responseLogprobs",
    "top_logprobs": _CONFIG + "logprobs",
    "frequency_penalty": _CONFIG + "frequencyPenalty",
    "presence_penalty": _CONFIG + "presencePenalty",
    "response_format": _CONFIG + "responseMimeType",
    "reasoning": _CONFIG + "thinkingConfig",
    "reasoning.effort": _CONFIG + "thinkingConfig.thinkingLevel",
    "reasoning.budget_tokens": _CONFIG + "thinkingConfig.thinkingBudget",
    "reasoning.display": _CONFIG + "thinkingConfig.includeThoughts",
    "service_tier": "serviceTier",
    "signature": "thoughtSignature",
    "is_error": "functionResponse.response.error",
    "file.filename": "inlineData.displayName",
}
"""Google's words for fields of ours that have another name."""

_MODES: Final = {"AUTO": ToolMode.AUTO, "ANY": ToolMode.REQUIRED, "NONE": ToolMode.NONE}
_UNSPECIFIED_MODES: Final = ("", "MODE_UNSPECIFIED")
_MODE_NUMBERS: Final = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
"""By their numbers in the proto file, which JSON may give instead of the names."""
_AUDIO: Final = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav"}
_TIERS: Final = {"standard": "default", "unspecified": "auto"}
# Values at which a field nobody else has changes nothing.
_NO_OPS: Final[dict[str, tuple[object, ...]]] = {"safetySettings": ([],), "labels": ({},), "store": (False,)}
_CONFIG_NO_OPS: Final[dict[str, tuple[object, ...]]] = {
    "responseModalities": ([], ["TEXT"], ["MODALITY_UNSPECIFIED"]),
    "mediaResolution": ("MEDIA_RESOLUTION_UNSPECIFIED",),
}


def decode_chat(document: Document, addressed: Addressed) -> ChatCall:
    """See gateway/dialect."""
    asked, path = generate_request(document)
    fields = Members(asked.tree, path)
    extensions: dict[str, bytes] = {}
    raws = raw_members(asked)
    if path:
        outer = Members(document.tree, "")
        outer.take("generateContentRequest")
        outer.rest(extensions)
    # The path names the model; a body that repeats it changes nothing.
    fields.maybe_text("model")
    _skip(fields, _NO_OPS)
    conversation = _Conversation(raws, extensions)
    system = conversation.system(fields.members("systemInstruction"))
    messages = conversation.messages(fields)
    hints: list[str] = []
    tools = _tools(asked, fields, raws, extensions, hints)
    choice = _tool_choice(fields, tools, extensions)
    fields.take("generationConfig")
    config = config_of(asked.tree, path)
    _skip(config, _CONFIG_NO_OPS)
    raw_config = raws.get(fields.spelled("generationConfig"))
    tier = (fields.maybe_text("serviceTier") or "").lower().removeprefix("service_tier_")
    call = ChatCall(
        original_model=model_name({"model": addressed.model}),
        messages=system + messages,
        stream=addressed.stream,
        include_usage=True,
        tools=tools,
        tool_choice=choice,
        max_tokens=config.integer("maxOutputTokens", 1, MAX_TOKENS_MAX),
        temperature=config.number("temperature", 0, 2),
        top_p=config.number("topP", 0, 1),
        top_k=config.integer("topK", 0, 1_000_000),
        stop=stop_sequences(config.take("stopSequences"), config.at("stopSequences")),
        seed=config.integer("seed", -(2**31), 2**31 - 1),
        choices=config.integer("candidateCount", 1, CHOICES_MAX) or 1,
        logprobs=bool(config.flag("responseLogprobs")),
        top_logprobs=config.integer("logprobs", 0, 20),
        response_format=_response_format(config, raw_config, extensions),
        reasoning=_reasoning(config, extensions),
        frequency_penalty=config.number("frequencyPenalty", -2, 2),
        presence_penalty=config.number("presencePenalty", -2, 2),
        service_tier=_TIERS.get(tier, tier) or None,
        extensions=extensions,
        hints=tuple(hints),
        dialect=DialectName.GEMINI,
        names=NAMES,
    )
    config.rest(extensions)
    fields.rest(extensions)
    return call


def _skip(fields: Fields, values: dict[str, tuple[object, ...]]) -> None:
    for key, same in values.items():
        if fields.tree.get(key) in same:
            fields.take(key)


def _tools(
    document: Document,
    fields: Members,
    raws: dict[str, msgspec.Raw],
    extensions: dict[str, bytes],
    hints: list[str],
) -> tuple[Tool, ...]:
    items = fields.items("tools")
    if not items:
        return ()
    tool_count(document, fields.path)
    tools: list[Tool] = []
    for index, (item, raw) in enumerate(zip(items, raw_items(raws["tools"]), strict=True)):
        tool = Members(item, f"{fields.at('tools')}[{index}]")
        functions = tool.items("functionDeclarations") or []
        raw_functions = raw_items(raw_members(raw)[tool.spelled("functionDeclarations")]) if functions else []
        for number, function in enumerate(functions):
            inner = Members(function, f"{tool.at('functionDeclarations')}[{number}]")
            tools.append(_function(inner, raw_functions[number]))
            # What a function gives back is for its caller to keep; nobody else's form of tools tells it. Google's SDKs
            # send it of every function of the caller's that says so.
            hints += [inner.at(key) for key in ("response", "responseJsonSchema") if inner.take(key) is not None]
            inner.rest(extensions)
        tool.rest(extensions)
    return tuple(tools)


def _function(function: Members, raw: msgspec.Raw) -> Tool:
    name, description = function.text("name"), function.maybe_text("description")
    return Tool(name, description, _schema_of(function, raw, "parameters", "parametersJsonSchema"))


def _schema_of(fields: Members, raw: msgspec.Raw, own: str, standard: str) -> bytes:
    """A schema in Google's form, or in the standard one under its own name; empty where there is neither."""
    for key in (own, standard):
        tree = fields.take(key)
        if tree is None:
            continue
        if type(tree) is not dict:
            invalid(fields.at(key), "must be an object")
        schema = bytes(raw_members(raw)[fields.spelled(key)])
        if fields.tree.get(standard) is not None and key == own:
            invalid(fields.at(standard), f"cannot stand beside `{fields.spelled(own)}`")
        return json_schema(tree, schema) if key == own else schema
    return b""


def _tool_choice(fields: Members, tools: tuple[Tool, ...], extensions: dict[str, bytes]) -> ToolChoice | None:
    config = fields.members("toolConfig")
    if config is None:
        return None
    calling = config.members("functionCallingConfig")
    config.rest(extensions)
    if calling is None:
        return None
    number = calling.tree.get("mode")
    if type(number) is int and 0 <= number < len(_MODE_NUMBERS):
        calling.take("mode")
        word = _MODE_NUMBERS[number]
    else:
        word = calling.maybe_text("mode") or ""
    names = calling.items("allowedFunctionNames") or []
    choice: ToolChoice | None = None
    if word in _MODES:
        choice = ToolChoice(_MODES[word])
    elif word == "VALIDATED":
        # Free choice, but calls that surely fit their schemas: nobody else promises that of tools not made for it.
        extensions[calling.at("mode")] = encode(word)
        choice = ToolChoice(ToolMode.AUTO)
    elif word not in _UNSPECIFIED_MODES:
        invalid(calling.at("mode"), "must be AUTO, ANY, NONE or VALIDATED")
    if names and word == "ANY" and len(names) == 1 and type(names[0]) is str:
        choice = ToolChoice(ToolMode.NAMED, names[0])
    elif names and not (word == "ANY" and all(tool.name in names for tool in tools)):
        extensions[calling.at("allowedFunctionNames")] = encode(names)
    if calling.tree.get("streamFunctionCallArguments") is False:
        calling.take("streamFunctionCallArguments")
    calling.rest(extensions)
    return choice


def _response_format(config: Members, raw: msgspec.Raw | None, extensions: dict[str, bytes]) -> ResponseFormat | None:
    kind = config.maybe_text("responseMimeType")
    schema = _schema_of(config, raw, "responseSchema", "responseJsonSchema") if raw is not None else b""
    if kind == "application/json":
        return ResponseFormat(FormatKind.JSON_SCHEMA if schema else FormatKind.JSON_OBJECT, schema=schema)
    if schema:
        invalid(config.at("responseMimeType"), "must be application/json beside a schema")
    if kind not in (None, "", "text/plain"):
        extensions[config.at("responseMimeType")] = encode(kind)
    return None


def _reasoning(config: Members, extensions: dict[str, bytes]) -> Reasoning | None:
    thinking = config.members("thinkingConfig")
    if thinking is None:
        return None
    budget = thinking.integer("thinkingBudget", -1, MAX_TOKENS_MAX)
    level = (thinking.maybe_text("thinkingLevel") or "").lower().removeprefix("thinking_level_")
    shown = thinking.flag("includeThoughts")
    thinking.rest(extensions)
    effort = "" if level == "unspecified" else level
    if budget == 0:
        return Reasoning(enabled=False)
    if budget is None and not effort and not shown:
        return None
    return Reasoning(
        enabled=True,
        effort=effort,
        budget_tokens=None if budget == -1 else budget,
        adaptive=budget in (None, -1),
        display="" if shown is None else "summarized" if shown else "omitted",
    )


class _Conversation:
    """Reads contents one after the other; remembers the calls not answered yet."""

    def __init__(self, raws: dict[str, msgspec.Raw], extensions: dict[str, bytes]) -> None:
        self._raws = raws
        self._extensions = extensions
        self._raw_contents: list[msgspec.Raw] | None = None
        self._raw_parts: tuple[int, list[msgspec.Raw]] = (-1, [])
        self._open: dict[str, str] = {}
        """The names of functions called and not answered, by the calls' ids."""

    def system(self, content: Members | None) -> tuple[Message, ...]:
        if content is None:
            return ()
        content.maybe_text("role")
        parts, paths = self._parts(content, -1)
        for part, path in zip(parts, paths, strict=True):
            if not isinstance(part, TextPart):
                invalid(path, "must be text")
        content.rest(self._extensions)
        return (Message(Role.SYSTEM, tuple(parts), path=content.path, part_paths=tuple(paths)),)

    def messages(self, fields: Members) -> tuple[Message, ...]:
        items = fields.items("contents")
        path = fields.at("contents")
        if not items:
            invalid(path, "must be an array that is not empty")
        if len(items) > MESSAGES_MAX:
            beyond(path, MESSAGES_MAX, "items")
        return tuple(self._message(Members(item, f"{path}[{index}]"), index) for index, item in enumerate(items))

    def _message(self, content: Members, index: int) -> Message:
        role = content.maybe_text("role") or "user"
        # `function` is what early versions called the user's turn that holds responses.
        if role not in ("user", "model", "function"):
            invalid(content.at("role"), "must be user or model")
        parts, paths = self._parts(content, index)
        content.rest(self._extensions)
        speaker = Role.ASSISTANT if role == "model" else Role.USER
        return Message(speaker, tuple(parts), path=content.path, part_paths=tuple(paths))

    def _parts(self, content: Members, index: int) -> tuple[list[Part], list[str]]:
        items = content.items("parts") or []
        path = content.at("parts")
        if len(items) > PARTS_MAX:
            beyond(path, PARTS_MAX, "items")
        paths = [f"{path}[{number}]" for number in range(len(items))]
        parts = [
            self._part(Members(item, place), index, number)
            for number, (item, place) in enumerate(zip(items, paths, strict=True))
        ]
        return parts, paths

    def _part(self, part: Members, index: int, number: int) -> Part:
        thought = bool(part.flag("thought"))
        signature = _signature(part)
        decoded: Part
        text = part.maybe_text("text")
        if (call := part.members("functionCall")) is not None:
            decoded = self._call(call, signature, index, number)
            call.rest(self._extensions)
        elif (response := part.members("functionResponse")) is not None:
            decoded = self._response(response, index, number)
            response.rest(self._extensions)
        elif (media := _media(part, self._extensions)) is not None:
            decoded = media
        elif text is not None or signature:
            decoded = ThinkingPart(text or "", signature) if thought else TextPart(text or "", signature=signature)
        else:
            kind = next((part.spelled(key) for key, value in part.tree.items() if value is not None), "")
            if not kind:
                invalid(part.path, "must have text, inlineData, fileData, functionCall or functionResponse")
            unsupported(f"{part.path}.{kind[:64]}", "is of a kind that cannot be carried to this model")
        part.rest(self._extensions)
        return decoded

    def _call(self, call: Members, signature: str, index: int, number: int) -> ToolUsePart:
        name = call.text("name")
        call_id = call.maybe_text("id") or f"call_{index}_{number}"
        args = call.take("args")
        arguments = "{}"
        if args is not None:
            if type(args) is not dict:
                invalid(call.at("args"), "must be an object")
            raw = raw_members(self._raw_part(index, number, "functionCall", "function_call"))
            arguments = bytes(raw["args"]).decode()
        self._open[call_id] = name
        return ToolUsePart(call_id, name, arguments, signature=signature)

    def _response(self, response: Members, index: int, number: int) -> ToolResultPart:
        name = response.text("name")
        call_id = response.maybe_text("id") or ""
        if call_id not in self._open:
            call_id = next((known for known, called in self._open.items() if called == name), call_id)
        if not call_id:
            invalid(response.path, "answers no function call of this conversation")
        self._open.pop(call_id, None)
        value = response.take("response")
        if type(value) is not dict:
            invalid(response.at("response"), "must be an object")
        raw = raw_members(self._raw_part(index, number, "functionResponse", "function_response"))["response"]
        text, failed = _result(value, raw)
        parts: list[TextPart | ImagePart | FilePart] = [TextPart(text)]
        for place, item in enumerate(response.items("parts") or []):
            inner = Members(item, f"{response.at('parts')}[{place}]")
            media = _media(inner, self._extensions)
            if not isinstance(media, ImagePart | FilePart):
                unsupported(inner.path, "cannot stand in a function's response")
            parts.append(media)
            inner.rest(self._extensions)
        return ToolResultPart(call_id, tuple(parts), failed)

    def _raw_part(self, index: int, number: int, name: str, snake: str) -> msgspec.Raw:
        """A member of a part as the bytes it was sent in."""
        if self._raw_contents is None:
            self._raw_contents = raw_items(self._raws["contents"])
        if self._raw_parts[0] != index:
            self._raw_parts = (index, raw_items(raw_members(self._raw_contents[index])["parts"]))
        members = raw_members(self._raw_parts[1][number])
        return members[name] if name in members else members[snake]


def _signature(part: Members) -> str:
    """A signature. It is bytes in base64, for which Google's JSON takes two alphabets and its SDKs write the one for
    URLs; other dialects compare it as text, so it is given in the standard one, in which providers make it."""
    return (part.maybe_text("thoughtSignature") or "").replace("-", "+").replace("_", "/")


def _result(value: dict[str, object], raw: msgspec.Raw) -> tuple[str, bool]:
    """What a function said, and whether it failed. Google reads `output` and `error` in a response; without them the
    whole of it is what the function said."""
    if len(value) == 1:
        for key in ("output", "error"):
            said = value.get(key)
            if said is not None:
                return said if type(said) is str else bytes(raw_members(raw)[key]).decode(), key == "error"
    return bytes(raw).decode(), False


def _media(part: Members, extensions: dict[str, bytes]) -> ImagePart | FilePart | AudioPart | None:
    """A part of inline data or of a file, or None where it is neither."""
    blob = part.members("inlineData")
    if blob is not None:
        kind, data, name = blob.text("mimeType"), blob.text("data"), blob.maybe_text("displayName") or ""
        blob.rest(extensions)
        family, _, subtype = kind.partition("/")
        if family == "audio":
            return AudioPart(data, _AUDIO.get(subtype, subtype))
        source: Source = Base64Source(kind, data)
        return ImagePart(source) if family == "image" else FilePart(source, name)
    file = part.members("fileData")
    if file is None:
        return None
    kind, uri, name = file.maybe_text("mimeType") or "", file.text("fileUri"), file.maybe_text("displayName") or ""
    file.rest(extensions)
    # Whatever is no web address, or one of Google's own files, only Google can fetch.
    web = uri.startswith(("https://", "http://")) and "generativelanguage.googleapis.com" not in uri
    source = UrlSource(uri) if web else FileSource(uri)
    return ImagePart(source) if kind.startswith("image/") else FilePart(source, name)
