"""A client's responses request, in our terms.

Read whole and strictly: every member is either understood, or known to change nothing at the value it has, or kept
in `extensions` under its path, where another dialect meets and names it. An item or a content part of a kind nobody
knows is refused at once: it has a place in the conversation that no extension can hold; so is what `peek.py` refuses,
since it refers to state kept by a provider. Tools that run at the provider (web search, code interpreter, remote MCP
and the like) and custom tools are extensions under `tools[i]`.

Items that the model produced one after the other are one turn of the assistant's. Their `id` and `status` name them
in a store that is not asked, and change nothing; so do log-probabilities that a client sends back. The id of
reasoning is kept.
"""

from typing import Final

import msgspec

from ostiary.core.call import ChatCall, DialectName, Reasoning
from ostiary.core.limit import MESSAGES_MAX, PARTS_MAX
from ostiary.core.message import (
    Base64Source,
    CacheControl,
    FilePart,
    FileSource,
    FormatKind,
    ImagePart,
    Message,
    Part,
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
from ostiary.gateway.dialect.responses.peek import end_user, peek_chat
from ostiary.gateway.dialect.responses.reply import PARAGRAPH
from ostiary.gateway.wire.field import Fields, beyond, invalid, model_name, token_bound, tool_count, unsupported
from ostiary.gateway.wire.json import Document, encode, raw_items, raw_members

NAMES: Final = {
    "choices": "n",
    "max_tokens": "max_output_tokens",
    "end_user": "user",
    "logprobs": "include",
    "reasoning.display": "reasoning.summary",
    "response_format": "text.format",
    "response_format.name": "text.format.name",
    "response_format.description": "text.format.description",
    "response_format.strict": "text.format.strict",
    "cache": "prompt_cache_breakpoint",
    "image.detail": "detail",
    "file.filename": "filename",
    "tool.strict": "strict",
}
"""This form's words for fields of ours that have another name."""

# Values at which a field nobody else has changes nothing.
_NO_OPS: Final[dict[str, tuple[object, ...]]] = {
    "store": (False,),
    "background": (False,),
    "metadata": ({},),
    "truncation": ("disabled",),
    "tools": ([],),
    "context_management": ([],),
}
_TEXT_NO_OPS: Final[dict[str, tuple[object, ...]]] = {"verbosity": ("medium",)}
_REASONING_NO_OPS: Final[dict[str, tuple[object, ...]]] = {"mode": ("standard",), "context": ("auto",)}
_TOOL_NO_OPS: Final[dict[str, tuple[object, ...]]] = {"defer_loading": (False,), "allowed_callers": (["direct"],)}
_CALL_NO_OPS: Final[dict[str, tuple[object, ...]]] = {"caller": ({"type": "direct"},)}
_CONTENT_NO_OPS: Final[dict[str, tuple[object, ...]]] = {"annotations": ([],)}
_FILE_NO_OPS: Final[dict[str, tuple[object, ...]]] = {"detail": ("auto",)}

_FORMATS: Final = frozenset(str(kind) for kind in FormatKind)
_IMAGE_DETAILS: Final = ("auto", "low", "high", "original")
_LOGPROBS: Final = "message.output_text.logprobs"
# Signatures of reasoning are given in every answer that has them.
_ENCRYPTED: Final = "reasoning.encrypted_content"


def decode_chat(document: Document) -> ChatCall:
    """See gateway/dialect."""
    tree = document.tree
    peek_chat(document)
    fields = Fields(tree, "")
    extensions: dict[str, bytes] = {}
    _no_ops(fields, _NO_OPS)
    raws = raw_members(document)
    model = model_name(tree)
    messages = _messages(fields, extensions)
    tools = _tools(document, fields, raws, extensions)
    options = fields.members("stream_options")
    if options is not None:
        # Padding against side channels is between the client and the server it speaks to.
        options.flag("include_obfuscation")
        options.rest(extensions)
    names = {**NAMES, "end_user": "safety_identifier"} if tree.get("safety_identifier") is not None else NAMES
    call = ChatCall(
        original_model=model,
        messages=messages,
        stream=bool(fields.flag("stream")),
        include_usage=True,
        tools=tools,
        tool_choice=_tool_choice(fields, extensions),
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        max_tokens=token_bound(tree, "max_output_tokens", 1),
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        logprobs=_include(fields, extensions),
        top_logprobs=fields.integer("top_logprobs", 0, 20),
        response_format=_text(fields, raws, extensions),
        reasoning=_reasoning(fields, extensions),
        end_user=end_user(tree),
        prompt_cache_key=fields.maybe_text("prompt_cache_key"),
        service_tier=fields.maybe_text("service_tier"),
        extensions=extensions,
        dialect=DialectName.RESPONSES,
        names=names,
    )
    for key in ("model", "max_output_tokens", "safety_identifier"):
        fields.take(key)
    # Two different end users: the one that was not taken is a field of its own.
    if tree.get("safety_identifier") is None or tree.get("user") in (None, call.end_user):
        fields.take("user")
    rest: dict[str, bytes] = {}
    fields.rest(rest)
    extensions.update({key: bytes(raws[key]) for key in rest})
    return call


def _no_ops(fields: Fields, values: dict[str, tuple[object, ...]]) -> None:
    """Take the members that change nothing at the value they have."""
    for key, known in values.items():
        value = fields.tree.get(key)
        if value in known and type(value) is not int:
            fields.take(key)


def _include(fields: Fields, extensions: dict[str, bytes]) -> bool:
    """Whether log-probabilities are asked for."""
    asked = False
    for index, item in enumerate(fields.items("include") or ()):
        if item == _LOGPROBS:
            asked = True
        elif item != _ENCRYPTED:
            extensions[f"include[{index}]"] = encode(item)
    return asked


def _reasoning(fields: Fields, extensions: dict[str, bytes]) -> Reasoning | None:
    members = fields.members("reasoning")
    if members is None:
        return None
    _no_ops(members, _REASONING_NO_OPS)
    effort = members.maybe_text("effort")
    display = ""
    # How long a summary is to be is this form's own matter; that there is to be one is not.
    if members.tree.get("summary") == "auto":
        members.take("summary")
        display = "summarized"
    members.rest(extensions)
    if effort == "none":
        return Reasoning(enabled=False, display=display)
    return Reasoning(enabled=True, effort=effort or "", display=display) if effort or display else None


def _text(fields: Fields, raws: dict[str, msgspec.Raw], extensions: dict[str, bytes]) -> ResponseFormat | None:
    text = fields.members("text")
    if text is None:
        return None
    _no_ops(text, _TEXT_NO_OPS)
    form = text.members("format")
    text.rest(extensions)
    if form is None:
        return None
    kind = form.text("type")
    if kind not in _FORMATS:
        unsupported(form.at("type"), "is of an unknown kind")
    decoded = ResponseFormat(FormatKind(kind))
    if kind == FormatKind.JSON_SCHEMA:
        if form.take("schema") is None:
            invalid(form.at("schema"), "must be an object")
        schema = bytes(raw_members(raw_members(raws["text"])["format"])["schema"])
        if schema[:1] != b"{":
            invalid(form.at("schema"), "must be an object")
        decoded = ResponseFormat(
            FormatKind.JSON_SCHEMA, form.text("name"), schema, form.maybe_text("description"), form.flag("strict")
        )
    form.rest(extensions)
    return decoded


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
        if tool.text("type") != "function":
            extensions[tool.path] = bytes(raw)
            continue
        _no_ops(tool, _TOOL_NO_OPS)
        parameters = b""
        if tool.take("parameters") is not None:
            parameters = bytes(raw_members(raw)["parameters"])
            if parameters[:1] != b"{":
                invalid(tool.at("parameters"), "must be an object")
        tools.append(Tool(tool.text("name"), tool.maybe_text("description"), parameters, tool.flag("strict")))
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
    if choice.text("type") != "function":
        # Another kind of tool, or a subset of the tools.
        extensions["tool_choice"] = encode(value)
        return None
    named = ToolChoice(ToolMode.NAMED, choice.text("name"))
    choice.rest(extensions)
    return named


def _messages(fields: Fields, extensions: dict[str, bytes]) -> tuple[Message, ...]:
    messages: list[Message] = []
    instructions = fields.maybe_text("instructions")
    if instructions:
        messages.append(
            Message(Role.SYSTEM, (TextPart(instructions),), path="instructions", part_paths=("instructions",))
        )
    value = fields.take("input")
    if type(value) is str:
        return (*messages, Message(Role.USER, (TextPart(value),), path="input", part_paths=("input",)))
    if type(value) is not list or not value:
        invalid("input", "must be a string or an array that is not empty")
    if len(value) > MESSAGES_MAX:
        beyond("input", MESSAGES_MAX, "items")
    said: list[tuple[Part, str]] = []
    for index, entry in enumerate(value):
        item = Fields(entry, f"input[{index}]")
        role, parts = _item(item, extensions)
        item.rest(extensions)
        if role is Role.ASSISTANT:
            said += parts
            continue
        if said:
            messages.append(_message(Role.ASSISTANT, said))
            said = []
        messages.append(_message(role, parts, item.path))
    if said:
        messages.append(_message(Role.ASSISTANT, said))
    return tuple(messages)


def _message(role: Role, parts: list[tuple[Part, str]], path: str = "") -> Message:
    """A turn. A turn of the assistant's is where its first part is."""
    return Message(
        role,
        tuple(part for part, _ in parts),
        path=path or parts[0][1].partition(".")[0],
        part_paths=tuple(place for _, place in parts),
    )


def _item(item: Fields, extensions: dict[str, bytes]) -> tuple[Role, list[tuple[Part, str]]]:
    """An item: who speaks in it, and its parts with the path of each."""
    kind = item.maybe_text("type") or "message"
    if kind == "message":
        role = item.text("role")
        if role not in (Role.SYSTEM, Role.DEVELOPER, Role.USER, Role.ASSISTANT):
            invalid(item.at("role"), "is not a role")
        item.take("id")
        item.take("status")
        return Role(role), _content(item, "content", extensions)
    if kind == "reasoning":
        return Role.ASSISTANT, _thinking(item, extensions)
    item.take("id")
    item.take("status")
    _no_ops(item, _CALL_NO_OPS)
    if kind == "function_call":
        part = ToolUsePart(item.text("call_id"), item.text("name"), item.text("arguments"))
        return Role.ASSISTANT, [(part, item.path)]
    if kind == "custom_tool_call":
        part = ToolUsePart(item.text("call_id"), item.text("name"), item.text("input"), custom=True)
        return Role.ASSISTANT, [(part, item.path)]
    if kind not in ("function_call_output", "custom_tool_call_output"):
        unsupported(item.path, f"is of a kind that is not known here: {kind[:64]}")
    return Role.TOOL, [(_tool_result(item, extensions), item.path)]


def _thinking(item: Fields, extensions: dict[str, bytes]) -> list[tuple[Part, str]]:
    item_id = item.maybe_text("id") or ""
    item.take("status")
    encrypted = item.maybe_text("encrypted_content") or ""
    raw = [text for text in _texts(item, "content", "reasoning_text", extensions) if text]
    paragraphs = _texts(item, "summary", "summary_text", extensions)
    summary = PARAGRAPH.join(text for text in paragraphs if text)
    parts: list[tuple[Part, str]] = []
    if raw:
        parts.append((ThinkingPart("".join(raw), id=item_id), item.at("content")))
    if summary or (encrypted and paragraphs):
        parts.append((ThinkingPart(summary, encrypted, item_id), item.path))
    elif encrypted:
        parts.append((RedactedThinkingPart(encrypted, item_id), item.path))
    if not parts and item_id:
        # Nothing but an id: what it stands for is kept by the provider.
        extensions[item.path] = encode(item.tree)
    return parts


def _texts(item: Fields, key: str, kind: str, extensions: dict[str, bytes]) -> list[str]:
    texts: list[str] = []
    for index, entry in enumerate(item.items(key) or ()):
        part = Fields(entry, f"{item.at(key)}[{index}]")
        if part.text("type") != kind:
            unsupported(part.path, "is of a kind that is not known here")
        texts.append(part.text("text"))
        part.rest(extensions)
    return texts


def _tool_result(item: Fields, extensions: dict[str, bytes]) -> ToolResultPart:
    call_id = item.maybe_text("call_id")
    if call_id is None:
        unsupported(item.at("call_id"), "must name the call that this answers")
    results: list[TextPart | ImagePart | FilePart] = []
    for part, path in _content(item, "output", extensions):
        if not isinstance(part, TextPart | ImagePart | FilePart):
            unsupported(path, "cannot stand in a tool's output")
        results.append(part)
    return ToolResultPart(call_id, tuple(results))


def _content(item: Fields, key: str, extensions: dict[str, bytes]) -> list[tuple[Part, str]]:
    """The parts of a message or of a tool's output and the path of each."""
    value = item.take(key)
    path = item.at(key)
    if type(value) is str:
        return [(TextPart(value), path)]
    if type(value) is not list:
        invalid(path, "must be a string or an array of parts")
    if len(value) > PARTS_MAX:
        beyond(path, PARTS_MAX, "items")
    places = [f"{path}[{index}]" for index in range(len(value))]
    return [(_part(Fields(entry, place), extensions), place) for entry, place in zip(value, places, strict=True)]


def _part(part: Fields, extensions: dict[str, bytes]) -> Part:
    kind = part.text("type")
    # Elsewhere a mark is a field that nobody knows.
    cache = _cache(part, extensions) if kind != "refusal" else None
    decoded: Part
    if kind == "input_text":
        decoded = TextPart(part.text("text"), cache)
    elif kind == "output_text":
        decoded = TextPart(part.text("text"), cache)
        part.take("logprobs")
        _no_ops(part, _CONTENT_NO_OPS)
    elif kind == "refusal":
        decoded = RefusalPart(part.text("refusal"))
    elif kind == "input_image":
        detail = part.maybe_text("detail") or ""
        if detail and detail not in _IMAGE_DETAILS:
            invalid(part.at("detail"), "must be auto, low, high or original")
        decoded = ImagePart(_source(part, "image_url", None), detail, cache)
    elif kind == "input_file":
        _no_ops(part, _FILE_NO_OPS)
        decoded = FilePart(_source(part, "file_url", "file_data"), part.maybe_text("filename") or "", cache=cache)
    else:
        unsupported(part.path, f"is of a kind that is not known here: {kind[:64]}")
    part.rest(extensions)
    return decoded


def _cache(part: Fields, extensions: dict[str, bytes]) -> CacheControl | None:
    mark = part.members("prompt_cache_breakpoint")
    if mark is None:
        return None
    mark.take("mode")
    cache = CacheControl(mark.maybe_text("ttl") or "")
    mark.rest(extensions)
    return cache


def _source(part: Fields, url_key: str, data_key: str | None) -> Source:
    """Where an image or file is: inline, behind a URL, or at the provider. The first that is given counts; another
    beside it is left in `part` for `rest` to name."""
    data = None if data_key is None or part.tree.get(data_key) is None else part.text(data_key)
    if data is not None and data_key is not None:
        source = data_url(data, part.at(data_key))
        return Base64Source("application/pdf", data) if isinstance(source, UrlSource) else source
    if part.tree.get(url_key) is not None:
        return data_url(part.text(url_key), part.at(url_key))
    file_id = part.maybe_text("file_id")
    if file_id is None:
        invalid(part.path, f"must have {data_key or url_key} or file_id")
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
