"""A client's messages request in Anthropic's form, in our terms.

Read whole and strictly: every member is either understood, or known to change nothing at the value it has, or kept
in `extensions` under its path, where another dialect meets and names it. A content block of a kind nobody knows is
refused at once: it has a place in the conversation that no extension can hold; so is a thread, in which the provider
keeps the conversation: left out, the next turn would come without what was said. Tools that run at the provider (web
search, code execution) are extensions under `tools[i]`.
"""

from typing import Final

import msgspec

from ostiary.core.call import ChatCall, DialectName, Reasoning
from ostiary.core.limit import MAX_TOKENS_MAX, MESSAGES_MAX, PARTS_MAX
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
from ostiary.gateway.dialect.anthropic.peek import end_user
from ostiary.gateway.wire.field import (
    Fields,
    beyond,
    invalid,
    model_name,
    stop_sequences,
    token_bound,
    tool_count,
    unsupported,
)
from ostiary.gateway.wire.json import Document, encode, raw_items, raw_members

NAMES: Final = {
    "stop": "stop_sequences",
    "end_user": "metadata.user_id",
    "reasoning": "thinking",
    "reasoning.budget_tokens": "thinking.budget_tokens",
    "reasoning.display": "thinking.display",
    "reasoning.effort": "output_config.effort",
    "response_format": "output_config.format",
    "cache": "cache_control",
    "file.filename": "title",
    "file.context": "context",
    "file.citations": "citations",
    "tool.strict": "strict",
}
"""Anthropic's words for fields of ours that have another name."""

_CHOICES: Final = {"auto": ToolMode.AUTO, "any": ToolMode.REQUIRED, "none": ToolMode.NONE, "tool": ToolMode.NAMED}


def decode_chat(document: Document) -> ChatCall:
    """See gateway/dialect."""
    tree = document.tree
    fields = Fields(tree, "")
    extensions: dict[str, bytes] = {}
    raws = raw_members(document)
    model = model_name(tree)
    if fields.take("thread") is not None:
        unsupported("thread", "is kept by the provider and cannot be carried to this model; send all messages")
    conversation = _Conversation(raws, extensions)
    system = conversation.system(fields)
    messages = conversation.messages(fields.items("messages"))
    choice, parallel = _tool_choice(fields, extensions)
    response_format, effort = _output(fields, raws, extensions)
    metadata = fields.members("metadata")
    if metadata is not None:
        metadata.take("user_id")
        metadata.rest(extensions)
    call = ChatCall(
        original_model=model,
        messages=system + messages,
        stream=bool(fields.flag("stream")),
        include_usage=True,
        tools=_tools(document, fields, raws, extensions),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=token_bound(tree, "max_tokens", 0),
        temperature=fields.number("temperature", 0, 1),
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.integer("top_k", 0, 1_000_000),
        stop=stop_sequences(fields.take("stop_sequences"), "stop_sequences"),
        response_format=response_format,
        reasoning=_reasoning(fields, effort, extensions),
        end_user=end_user(tree),
        service_tier=fields.maybe_text("service_tier"),
        extensions=extensions,
        dialect=DialectName.ANTHROPIC,
        names=NAMES,
    )
    for key in ("model", "max_tokens"):
        fields.take(key)
    rest: dict[str, bytes] = {}
    fields.rest(rest)
    extensions.update({key: bytes(raws[key]) for key in rest})
    return call


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
        kind = tool.maybe_text("type")
        if kind is not None and kind != "custom":
            extensions[tool.path] = bytes(raw)
            continue
        parameters = b""
        if tool.take("input_schema") is not None:
            parameters = bytes(raw_members(raw)["input_schema"])
            if parameters[:1] != b"{":
                invalid(tool.at("input_schema"), "must be an object")
        # How finely a provider cuts the arguments it streams is no part of what they say.
        tool.take("eager_input_streaming")
        if tool.tree.get("defer_loading") is False:
            tool.take("defer_loading")
        if tool.tree.get("allowed_callers") == ["direct"]:
            tool.take("allowed_callers")
        tools.append(
            Tool(
                tool.text("name"),
                tool.maybe_text("description"),
                parameters,
                tool.flag("strict"),
                _cache(tool, extensions),
            )
        )
        tool.rest(extensions)
    return tuple(tools)


def _tool_choice(fields: Fields, extensions: dict[str, bytes]) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and whether calls may be parallel where the caller said so."""
    choice = fields.members("tool_choice")
    if choice is None:
        return None, None
    kind = choice.text("type")
    mode = _CHOICES.get(kind)
    if mode is None:
        invalid(choice.at("type"), "must be auto, any, tool or none")
    disabled = choice.flag("disable_parallel_tool_use")
    decoded = ToolChoice(mode, choice.text("name") if mode is ToolMode.NAMED else "")
    choice.rest(extensions)
    return decoded, None if disabled is None else not disabled


def _output(
    fields: Fields, raws: dict[str, msgspec.Raw], extensions: dict[str, bytes]
) -> tuple[ResponseFormat | None, str]:
    """The structured format, under its name today or its first one, and the effort."""
    config = fields.members("output_config")
    effort = ""
    form: Fields | None = None
    raw: msgspec.Raw | None = None
    if config is not None:
        effort = config.maybe_text("effort") or ""
        form = config.members("format")
        if form is not None:
            raw = raw_members(raws["output_config"])["format"]
        config.rest(extensions)
    if form is None:
        form, raw = fields.members("output_format"), raws.get("output_format")
    if form is None or raw is None:
        return None, effort
    kind = form.text("type")
    if kind != FormatKind.JSON_SCHEMA:
        unsupported(form.at("type"), "is of an unknown kind")
    if type(form.take("schema")) is not dict:
        invalid(form.at("schema"), "must be an object")
    form.rest(extensions)
    return ResponseFormat(FormatKind.JSON_SCHEMA, schema=bytes(raw_members(raw)["schema"])), effort


def _reasoning(fields: Fields, effort: str, extensions: dict[str, bytes]) -> Reasoning | None:
    thinking = fields.members("thinking")
    if thinking is None:
        return Reasoning(effort=effort) if effort else None
    kind = thinking.text("type")
    if kind not in ("enabled", "disabled", "adaptive"):
        Fields({"thinking": thinking.tree}, "").rest(extensions)
        return Reasoning(effort=effort) if effort else None
    reasoning = Reasoning(
        kind != "disabled",
        effort,
        thinking.integer("budget_tokens", 1, MAX_TOKENS_MAX),
        kind == "adaptive",
        thinking.maybe_text("display") or "",
    )
    thinking.rest(extensions)
    return reasoning


class _Conversation:
    """Reads the system prompt and the messages; the raw bytes of a message are looked up only for tool inputs."""

    def __init__(self, raws: dict[str, msgspec.Raw], extensions: dict[str, bytes]) -> None:
        self._raws = raws
        self._extensions = extensions
        self._raw_messages: list[msgspec.Raw] | None = None

    def system(self, fields: Fields) -> tuple[Message, ...]:
        if fields.tree.get("system") is None:
            return ()
        parts, paths = self._content(fields, "system", 0)
        for part, path in zip(parts, paths, strict=True):
            if not isinstance(part, TextPart):
                invalid(path, "must be text")
        return (Message(Role.SYSTEM, tuple(parts), path="system", part_paths=tuple(paths)),)

    def messages(self, items: list[object] | None) -> tuple[Message, ...]:
        if not items:
            invalid("messages", "must be an array that is not empty")
        if len(items) > MESSAGES_MAX:
            beyond("messages", MESSAGES_MAX, "items")
        return tuple(self._message(item, index) for index, item in enumerate(items))

    def _message(self, item: object, index: int) -> Message:
        fields = Fields(item, f"messages[{index}]")
        role = fields.text("role")
        if role not in (Role.USER, Role.ASSISTANT, Role.SYSTEM):
            invalid(fields.at("role"), "must be user, assistant or system")
        parts, paths = self._content(fields, "content", index)
        fields.rest(self._extensions)
        return Message(Role(role), tuple(parts), path=fields.path, part_paths=tuple(paths))

    def _content(self, fields: Fields, key: str, index: int) -> tuple[list[Part], list[str]]:
        value = fields.take(key)
        path = fields.at(key)
        if type(value) is str:
            return [TextPart(value)], [path]
        if type(value) is not list:
            invalid(path, "must be a string or an array of blocks")
        if len(value) > PARTS_MAX:
            beyond(path, PARTS_MAX, "items")
        paths = [f"{path}[{number}]" for number in range(len(value))]
        parts = [
            self._block(Fields(item, place), index, number)
            for number, (item, place) in enumerate(zip(value, paths, strict=True))
        ]
        return parts, paths

    def _block(self, block: Fields, index: int, number: int) -> Part:
        kind = block.text("type")
        decoded: Part
        if kind == "tool_use":
            if block.tree.get("caller") == {"type": "direct"}:
                block.take("caller")
            if type(block.take("input")) is not dict:
                invalid(block.at("input"), "must be an object")
            arguments = self._tool_input(index, number)
            cache = _cache(block, self._extensions)
            decoded = ToolUsePart(block.text("id"), block.text("name"), arguments, cache=cache)
        elif kind == "tool_result":
            decoded = self._tool_result(block)
        elif kind == "thinking":
            decoded = ThinkingPart(block.text("thinking"), block.maybe_text("signature") or "")
        elif kind == "redacted_thinking":
            decoded = RedactedThinkingPart(block.text("data"))
        else:
            decoded = self._plain(block, kind)
        block.rest(self._extensions)
        return decoded

    def _tool_input(self, index: int, number: int) -> str:
        """A tool call's input as the bytes it was sent in."""
        if self._raw_messages is None:
            self._raw_messages = raw_items(self._raws["messages"])
        content = raw_items(raw_members(self._raw_messages[index])["content"])
        return bytes(raw_members(content[number])["input"]).decode()

    def _tool_result(self, block: Fields) -> ToolResultPart:
        content = block.take("content")
        path = block.at("content")
        parts: list[TextPart | ImagePart | FilePart] = []
        if type(content) is str:
            parts.append(TextPart(content))
        elif type(content) is list:
            for number, item in enumerate(content):
                inner = Fields(item, f"{path}[{number}]")
                parts.append(self._plain(inner, inner.text("type")))
                inner.rest(self._extensions)
        elif content is not None:
            invalid(path, "must be a string or an array of blocks")
        cache = _cache(block, self._extensions)
        return ToolResultPart(block.text("tool_use_id"), tuple(parts), bool(block.flag("is_error")), cache)

    def _plain(self, block: Fields, kind: str) -> TextPart | ImagePart | FilePart:
        """A block that may stand in a tool result too."""
        cache = _cache(block, self._extensions)
        if kind == "text":
            text = block.text("text")
            cites = block.items("citations")
            return TextPart(text, cache, encode(cites) if cites else None)
        if kind == "image":
            return ImagePart(_source(block, ("base64", "url", "file"), self._extensions), cache=cache)
        if kind != "document":
            unsupported(block.path, f"is of a kind that is not known here: {kind[:64]}")
        source = _source(block, ("base64", "url", "file", "text"), self._extensions)
        cited = block.members("citations")
        citations = bool(cited is not None and cited.flag("enabled"))
        return FilePart(source, block.maybe_text("title") or "", block.maybe_text("context") or "", citations, cache)


def _source(block: Fields, kinds: tuple[str, ...], extensions: dict[str, bytes]) -> Source:
    source = block.members("source")
    if source is None:
        invalid(block.at("source"), "must be an object")
    kind = source.text("type")
    if kind not in kinds:
        unsupported(source.at("type"), "is of an unknown kind")
    decoded: Source
    if kind == "base64":
        decoded = Base64Source(source.text("media_type"), source.text("data"))
    elif kind == "url":
        decoded = UrlSource(source.text("url"))
    elif kind == "file":
        decoded = FileSource(source.text("file_id"))
    else:
        source.take("media_type")
        decoded = PlainTextSource(source.text("data"))
    source.rest(extensions)
    return decoded


def _cache(block: Fields, extensions: dict[str, bytes]) -> CacheControl | None:
    mark = block.members("cache_control")
    if mark is None:
        return None
    mark.take("type")
    cache = CacheControl(mark.maybe_text("ttl") or "")
    mark.rest(extensions)
    return cache
