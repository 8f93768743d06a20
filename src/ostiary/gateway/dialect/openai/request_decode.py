"""A client's chat request in OpenAI's form, in our terms.

Read whole and strictly: every member is either understood, or known to change nothing at the value it has, or kept
in `extensions` under its path, where another dialect meets and names it. A content part of a kind nobody knows is
refused at once: it has a place in the conversation that no extension can hold.

The legacy `functions` and `function_call` are extensions: an answer could not be given back in their form. Their
traces in a conversation's history are read as tool calls.
"""

from typing import Final

import msgspec

from ostiary.core.call import ChatCall, DialectName, Reasoning
from ostiary.core.limit import CHOICES_MAX, MESSAGES_MAX, PARTS_MAX
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
from ostiary.gateway.dialect.openai.peek import end_user, max_tokens
from ostiary.gateway.wire.field import (
    Fields,
    beyond,
    invalid,
    model_name,
    stop_sequences,
    tool_count,
    unsupported,
)
from ostiary.gateway.wire.json import Document, raw_items, raw_members

NAMES: Final = {
    "choices": "n",
    "end_user": "user",
    "reasoning": "reasoning_effort",
    "reasoning.effort": "reasoning_effort",
    "cache": "prompt_cache_breakpoint",
    "image.detail": "image_url.detail",
    "file.filename": "file.filename",
    "tool.strict": "function.strict",
    "signature": "extra_content.google.thought_signature",
    "response_format.name": "response_format.json_schema.name",
    "response_format.description": "response_format.json_schema.description",
    "response_format.strict": "response_format.json_schema.strict",
}
"""OpenAI's words for fields of ours that have another name."""

# Values at which a field nobody else has changes nothing.
_NO_OPS: Final[dict[str, tuple[object, ...]]] = {
    "store": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "logit_bias": ({},),
    "verbosity": ("medium",),
    "functions": ([],),
    "function_call": ("auto",),
    "tools": ([],),
}
_FORMATS: Final = frozenset(str(kind) for kind in FormatKind)
_MARKED: Final = ("text", "image_url", "file")
_IMAGE_DETAILS: Final = ("auto", "low", "high", "original")


def decode_chat(document: Document) -> ChatCall:
    """See gateway/dialect."""
    tree = document.tree
    fields = Fields(tree, "")
    extensions: dict[str, bytes] = {}
    for key, values in _NO_OPS.items():
        if tree.get(key) in values and type(tree.get(key)) is not int:
            fields.take(key)
    raws = raw_members(document)
    model = model_name(tree)
    messages = _Conversation(extensions).messages(fields.items("messages"))
    tools = _tools(document, fields, raws, extensions)
    logprobs = fields.flag("logprobs")
    names = {**NAMES, "end_user": "safety_identifier"} if tree.get("safety_identifier") is not None else NAMES
    call = ChatCall(
        original_model=model,
        messages=messages,
        stream=bool(fields.flag("stream")),
        include_usage=_include_usage(fields, extensions),
        tools=tools,
        tool_choice=_tool_choice(fields, extensions),
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        max_tokens=max_tokens(tree),
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        stop=_stop(fields),
        seed=fields.integer("seed", -(2**63)),
        choices=fields.integer("n", 1, CHOICES_MAX) or 1,
        logprobs=bool(logprobs),
        top_logprobs=fields.integer("top_logprobs", 0, 20),
        response_format=_response_format(fields, raws, extensions),
        reasoning=_reasoning(fields),
        frequency_penalty=fields.number("frequency_penalty", -2, 2),
        presence_penalty=fields.number("presence_penalty", -2, 2),
        end_user=end_user(tree),
        prompt_cache_key=fields.maybe_text("prompt_cache_key"),
        service_tier=fields.maybe_text("service_tier"),
        extensions=extensions,
        dialect=DialectName.OPENAI,
        names=names,
    )
    for key in ("model", "max_tokens", "max_completion_tokens", "safety_identifier"):
        fields.take(key)
    # Two different end users: the one that was not taken is a field of its own.
    if tree.get("safety_identifier") is None or tree.get("user") in (None, call.end_user):
        fields.take("user")
    rest: dict[str, bytes] = {}
    fields.rest(rest)
    extensions.update({key: bytes(raws[key]) for key in rest})
    return call


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.take("stop")
    return (value,) if type(value) is str else stop_sequences(value, "stop")


def _include_usage(fields: Fields, extensions: dict[str, bytes]) -> bool:
    options = fields.members("stream_options")
    if options is None:
        return False
    include_usage = options.flag("include_usage")
    # Padding against side channels is between the client and the server it speaks to.
    options.flag("include_obfuscation")
    options.rest(extensions)
    return bool(include_usage)


def _reasoning(fields: Fields) -> Reasoning | None:
    effort = fields.maybe_text("reasoning_effort")
    if effort is None:
        return None
    return Reasoning(enabled=False) if effort == "none" else Reasoning(enabled=True, effort=effort)


def _tools(
    document: Document, fields: Fields, raws: dict[str, msgspec.Raw], extensions: dict[str, bytes]
) -> tuple[Tool, ...]:
    items = fields.items("tools")
    if not items:
        return ()
    tool_count(document, items)
    tools: list[Tool] = []
    for index, (item, raw) in enumerate(zip(items, raw_items(raws["tools"]), strict=True)):
        tool = Fields(item, f"tools[{index}]")
        kind = tool.text("type")
        if kind != "function":
            extensions[tool.path] = bytes(raw)
            continue
        function = tool.members("function")
        if function is None:
            invalid(tool.at("function"), "must be an object")
        parameters = b""
        if function.take("parameters") is not None:
            parameters = bytes(raw_members(raw_members(raw)["function"])["parameters"])
            if parameters[:1] != b"{":
                invalid(function.at("parameters"), "must be an object")
        tools.append(
            Tool(function.text("name"), function.maybe_text("description"), parameters, function.flag("strict"))
        )
        function.rest(extensions)
        tool.rest(extensions)
    return tuple(tools)


def _tool_choice(fields: Fields, extensions: dict[str, bytes]) -> ToolChoice | None:
    value = fields.take("tool_choice")
    if value is None:
        return None
    if type(value) is str:
        if value not in ("auto", "none", "required"):
            invalid("tool_choice", "must be auto, none, required or an object")
        return ToolChoice(ToolMode(value))
    choice = Fields(value, "tool_choice")
    kind = choice.text("type")
    function = choice.members("function")
    if kind != "function" or function is None:
        # A custom tool, or a subset of the tools: only OpenAI knows these.
        Fields({"tool_choice": value}, "").rest(extensions)
        return None
    named = ToolChoice(ToolMode.NAMED, function.text("name"))
    function.rest(extensions)
    choice.rest(extensions)
    return named


def _response_format(
    fields: Fields, raws: dict[str, msgspec.Raw], extensions: dict[str, bytes]
) -> ResponseFormat | None:
    form = fields.members("response_format")
    if form is None:
        return None
    kind = form.text("type")
    if kind not in _FORMATS:
        unsupported(form.at("type"), "is of an unknown kind")
    if kind != FormatKind.JSON_SCHEMA:
        form.rest(extensions)
        return ResponseFormat(FormatKind(kind))
    named = form.members("json_schema")
    if named is None:
        invalid(form.at("json_schema"), "must be an object")
    schema = b""
    if named.take("schema") is not None:
        schema = bytes(raw_members(raw_members(raws["response_format"])["json_schema"])["schema"])
        if schema[:1] != b"{":
            invalid(named.at("schema"), "must be an object")
    decoded = ResponseFormat(
        FormatKind.JSON_SCHEMA, named.text("name"), schema, named.maybe_text("description"), named.flag("strict")
    )
    named.rest(extensions)
    form.rest(extensions)
    return decoded


class _Conversation:
    """Reads messages one after the other; remembers the last legacy call, whose result names no id."""

    def __init__(self, extensions: dict[str, bytes]) -> None:
        self._extensions = extensions
        self._function_id = ""

    def messages(self, items: list[object] | None) -> tuple[Message, ...]:
        if not items:
            invalid("messages", "must be an array that is not empty")
        if len(items) > MESSAGES_MAX:
            beyond("messages", MESSAGES_MAX, "items")
        return tuple(self._message(item, index) for index, item in enumerate(items))

    def _message(self, item: object, index: int) -> Message:
        fields = Fields(item, f"messages[{index}]")
        role = fields.text("role")
        name = ""
        parts: list[Part]
        if role == "tool":
            parts, paths = [_tool_result(fields, fields.text("tool_call_id"), self._extensions)], [fields.at("content")]
        elif role == "function":
            fields.text("name")
            parts, paths = [_tool_result(fields, self._function_id, self._extensions)], [fields.at("content")]
            role = Role.TOOL
        elif role in (Role.SYSTEM, Role.DEVELOPER, Role.USER, Role.ASSISTANT):
            parts, paths = _content(fields, "content", self._extensions, optional=role == Role.ASSISTANT)
            name = fields.maybe_text("name") or ""
            if role == Role.ASSISTANT:
                self._assistant(fields, index, parts, paths)
        else:
            invalid(fields.at("role"), "is not a role")
        fields.rest(self._extensions)
        return Message(Role(role), tuple(parts), name, fields.path, tuple(paths))

    def _assistant(self, fields: Fields, index: int, parts: list[Part], paths: list[str]) -> None:
        for key in ("reasoning_content", "reasoning"):
            thinking = fields.maybe_text(key)
            if thinking:
                parts.insert(0, ThinkingPart(thinking))
                paths.insert(0, fields.at(key))
        refusal = fields.maybe_text("refusal")
        if refusal:
            parts.append(RefusalPart(refusal))
            paths.append(fields.at("refusal"))
        calls = fields.items("tool_calls") or []
        if len(calls) > PARTS_MAX:
            beyond(fields.at("tool_calls"), PARTS_MAX, "items")
        for number, item in enumerate(calls):
            call = Fields(item, f"{fields.path}.tool_calls[{number}]")
            parts.append(_tool_call(call, self._extensions))
            paths.append(call.path)
        # What an SDK copies from an answer into the history, empty: nothing is lost.
        if fields.tree.get("annotations") == []:
            fields.take("annotations")
        legacy = fields.members("function_call")
        if legacy is not None:
            self._function_id = f"call_function_{index}"
            parts.append(ToolUsePart(self._function_id, legacy.text("name"), legacy.text("arguments")))
            paths.append(legacy.path)
            legacy.rest(self._extensions)


def _tool_call(call: Fields, extensions: dict[str, bytes]) -> ToolUsePart:
    call_id = call.text("id")
    kind = call.maybe_text("type") or "function"
    if kind not in ("function", "custom"):
        unsupported(call.at("type"), "is of an unknown kind")
    inner = call.members(kind)
    if inner is None:
        invalid(call.at(kind), "must be an object")
    part = ToolUsePart(
        call_id,
        inner.text("name"),
        inner.text("arguments" if kind == "function" else "input"),
        kind == "custom",
        signature=_signature(call, extensions),
    )
    call.take("index")
    inner.rest(extensions)
    call.rest(extensions)
    return part


def _signature(call: Fields, extensions: dict[str, bytes]) -> str:
    """A call's signature, where Google's own servers of this form put it."""
    extra = call.members("extra_content")
    if extra is None:
        return ""
    google = extra.members("google")
    signature = None
    if google is not None:
        signature = google.maybe_text("thought_signature")
        google.rest(extensions)
    extra.rest(extensions)
    return signature or ""


def _tool_result(fields: Fields, call_id: str, extensions: dict[str, bytes]) -> ToolResultPart:
    parts, paths = _content(fields, "content", extensions, optional=True)
    results: list[TextPart | ImagePart | FilePart] = []
    for part, path in zip(parts, paths, strict=True):
        if not isinstance(part, TextPart | ImagePart | FilePart):
            unsupported(path, "cannot stand in a tool result")
        results.append(part)
    return ToolResultPart(call_id, tuple(results))


def _content(fields: Fields, key: str, extensions: dict[str, bytes], *, optional: bool) -> tuple[list[Part], list[str]]:
    """The parts of a message's content and the path of each."""
    value = fields.take(key)
    path = fields.at(key)
    if type(value) is str:
        return ([TextPart(value)], [path]) if value or not optional else ([], [])
    if value is None and optional:
        return [], []
    if type(value) is not list:
        invalid(path, "must be a string or an array of parts")
    if len(value) > PARTS_MAX:
        beyond(path, PARTS_MAX, "items")
    paths = [f"{path}[{index}]" for index in range(len(value))]
    return [_part(Fields(item, place), extensions) for item, place in zip(value, paths, strict=True)], paths


def _part(part: Fields, extensions: dict[str, bytes]) -> Part:
    kind = part.text("type")
    # Elsewhere a mark is a field that nobody knows.
    cache = _cache(part, extensions) if kind in _MARKED else None
    decoded: Part
    if kind == "text":
        decoded = TextPart(part.text("text"), cache)
    elif kind == "refusal":
        decoded = RefusalPart(part.text("refusal"))
    elif kind == "image_url":
        image = _inner(part, "image_url")
        detail = image.maybe_text("detail") or ""
        if detail and detail not in _IMAGE_DETAILS:
            invalid(image.at("detail"), "must be auto, low, high or original")
        decoded = ImagePart(data_url(image.text("url"), image.at("url")), detail, cache)
        image.rest(extensions)
    elif kind == "input_audio":
        audio = _inner(part, "input_audio")
        decoded = AudioPart(audio.text("data"), audio.text("format"))
        audio.rest(extensions)
    elif kind == "file":
        file = _inner(part, "file")
        decoded = FilePart(_file_source(file), file.maybe_text("filename") or "", cache=cache)
        file.rest(extensions)
    else:
        unsupported(part.path, f"is of a kind that is not known here: {kind[:64]}")
    part.rest(extensions)
    return decoded


def _inner(part: Fields, key: str) -> Fields:
    inner = part.members(key)
    if inner is None:
        invalid(part.at(key), "must be an object")
    return inner


def _cache(part: Fields, extensions: dict[str, bytes]) -> CacheControl | None:
    mark = part.members("prompt_cache_breakpoint")
    if mark is None:
        return None
    mark.take("mode")
    cache = CacheControl(mark.maybe_text("ttl") or "")
    mark.rest(extensions)
    return cache


def _file_source(file: Fields) -> Source:
    data = file.maybe_text("file_data")
    file_id = file.maybe_text("file_id")
    if data is not None:
        source = data_url(data, file.at("file_data"))
        return Base64Source("application/pdf", data) if isinstance(source, UrlSource) else source
    if file_id is None:
        invalid(file.path, "must have file_data or file_id")
    return FileSource(file_id)


def data_url(url: str, path: str) -> Source:
    """The source behind a URL: inline data where it is a base64 data URL, else something the provider fetches."""
    if not url.startswith("data:"):
        return UrlSource(url)
    head, comma, data = url.partition(",")
    media_type, mark, encoding = head[5:].partition(";")
    if not comma or not mark or encoding != "base64" or not media_type:
        invalid(path, "must be a data URL of the form data:<media type>;base64,<data>")
    return Base64Source(media_type, data)
