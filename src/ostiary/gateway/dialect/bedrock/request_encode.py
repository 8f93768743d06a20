"""A request for Converse, ConverseStream or CountTokens, from our terms.

What is decided here, each refusal being a drop where the caller allowed it:

- The model stands in the path, URL-encoded; whether the answer streams does too.
- System and developer messages, wherever they stand, become the system prompt, in their order.
- Turns of one role after another become one turn; tool results come first in it. A final assistant turn is refused:
  for the caller it is a turn, here it would be the beginning of the answer.
- A cache mark becomes a `cachePoint` after what it marks.
- Images and documents go as bytes. What stands behind a URL is refused: Bedrock fetches from S3 only. A document's
  name is made of the characters allowed and told apart by a number where two are the same.
- What Converse has no member for but Anthropic's models know goes into `additionalModelRequestFields` where the model's
  name says that it is one of theirs: `top_k` and `thinking`. For other models both are refused. An effort has a member
  of its own, `outputConfig.effort`, but for switching thinking off.
- Anthropic's models take back only thinking that is signed; others sign none.
- To choose no tool is to offer none, where the conversation has not used any; otherwise it is refused. That calls may
  not be parallel has no member.
- A structured answer needs a schema, which goes as text. A request for plain JSON is refused.
- The service tier `auto` says nothing; `standard_only` is `default`. Latency-optimised inference has no counterpart.
- Who the end user is goes into `requestMetadata`, which the operator's own invocation log keeps and the model never
  sees, where its characters are allowed there; else it is a hint, and left out, as a key for the prompt cache is.
- A seed, penalties, log-probabilities, several choices and a temperature above 1 have no counterpart.

Source: Amazon Bedrock Runtime API reference, "Converse", "ConverseStream", "CountTokens" and their types; "Inference
request parameters and response fields" of the user guide for Anthropic's models.
"""

import re
from typing import Final
from urllib.parse import quote

import msgspec

from ostiary.core.call import ChatCall, Reasoning
from ostiary.core.http import Header
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
from ostiary.gateway.wire.arguments import as_object
from ostiary.gateway.wire.json import encode
from ostiary.gateway.wire.leave import Leave

ACCEPT_STREAM: Final[Header] = (b"accept", b"application/vnd.amazon.eventstream")
ACCEPT_JSON: Final[Header] = (b"accept", b"application/json")

_IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_AUDIO: Final = frozenset(
    ("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm")
)
_TIERS: Final = {
    "auto": "",
    "default": "default",
    "standard_only": "default",
    "priority": "priority",
    "flex": "flex",
}
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_NO_SCHEMA: Final = b'{"type":"object","properties":{}}'
_NAME_CHARS_MAX: Final = 190
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
_BLANKS: Final = re.compile(r"\s+")
_METADATA: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,\-.]{0,256}")


def encode_chat(call: ChatCall, *, model: str, max_tokens: int | None, drop: bool) -> Encoded:
    """See gateway/dialect."""
    leave = Leave(call.names, drop=drop, hints=call.hints)
    body = _prompt(call, model, leave)
    if inference := _inference(call, max_tokens, leave):
        body["inferenceConfig"] = inference
    output: dict[str, object] = {}
    if call.response_format is not None:
        _response_format(call.response_format, output, leave)
    if call.reasoning is not None and call.reasoning.effort:
        if call.reasoning.effort in _EFFORTS:
            output["effort"] = call.reasoning.effort
        else:
            leave.out("reasoning.effort")
    if output:
        body["outputConfig"] = output
    if call.service_tier is not None:
        tier = _TIERS.get(call.service_tier)
        if tier is None:
            leave.out("service_tier")
        elif tier:
            body["serviceTier"] = {"type": tier}
    if call.end_user is not None:
        if _METADATA.fullmatch(call.end_user):
            body["requestMetadata"] = {"end_user": call.end_user}
        else:
            leave.hint("end_user")  # it has characters that request metadata does not take
    if call.prompt_cache_key is not None:
        leave.hint("prompt_cache_key")
    for path in call.extensions:
        leave.place(path)
    verb = "converse-stream" if call.stream else "converse"
    accept = ACCEPT_STREAM if call.stream else ACCEPT_JSON
    return Encoded(model_path(model, verb), encode(body), (accept,), tuple(leave.dropped))


def encode_count_tokens(call: ChatCall, *, model: str, drop: bool) -> Encoded:
    """See gateway/dialect. What does not change the prompt is not sent."""
    leave = Leave(call.names, drop=drop, hints=call.hints)
    body = _prompt(call, model, leave)
    for path in call.extensions:
        leave.place(path)
    counted = encode({"input": {"converse": body}})
    return Encoded(model_path(model, "count-tokens"), counted, (ACCEPT_JSON,), tuple(leave.dropped))


def model_path(model: str, verb: str) -> bytes:
    """`/model/{model}/{verb}`: the model's name, or its ARN, is one URL-encoded segment."""
    return f"/model/{quote(model, safe='')}/{verb}".encode()


def _prompt(call: ChatCall, model: str, leave: Leave) -> dict[str, object]:
    """All that counts as input."""
    anthropic = "anthropic" in model
    encoder = _Turns(leave, anthropic=anthropic)
    body: dict[str, object] = {"messages": encoder.turns(call.messages)}
    if system := encoder.system(call.messages):
        body["system"] = system
    if config := _tool_config(call, leave):
        body["toolConfig"] = config
    if additional := _additional(call, leave, anthropic=anthropic):
        body["additionalModelRequestFields"] = additional
    return body


def _inference(call: ChatCall, max_tokens: int | None, leave: Leave) -> dict[str, object]:
    config: dict[str, object] = {}
    bound = max_tokens if call.max_tokens is None else call.max_tokens
    if bound is not None:
        config["maxTokens"] = bound
    if call.temperature is not None:
        if call.temperature > 1:
            leave.out("temperature", "is above 1, the most this model takes")
        else:
            config["temperature"] = call.temperature
    if call.top_p is not None:
        config["topP"] = call.top_p
    if call.stop:
        config["stopSequences"] = call.stop
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
    return config


def _tool_config(call: ChatCall, leave: Leave) -> dict[str, object]:
    choice = call.tool_choice
    if choice is not None and choice.mode is ToolMode.NONE and not _uses_tools(call.messages):
        return {}
    config: dict[str, object] = {}
    if call.tools:
        config["tools"] = [entry for tool in call.tools for entry in _tool(tool)]
    if choice is not None:
        if choice.mode is ToolMode.NAMED:
            config["toolChoice"] = {"tool": {"name": choice.name}}
        elif choice.mode is ToolMode.REQUIRED:
            config["toolChoice"] = {"any": {}}
        elif choice.mode is ToolMode.AUTO and call.tools:
            config["toolChoice"] = {"auto": {}}
        elif choice.mode is ToolMode.NONE and call.tools:
            leave.out("tool_choice", "is `none` in a conversation that uses tools, which cannot be told to this model")
    if call.parallel_tool_calls is False and call.tools:
        leave.out("parallel_tool_calls")
    return config


def _uses_tools(messages: tuple[Message, ...]) -> bool:
    return any(isinstance(part, ToolUsePart | ToolResultPart) for message in messages for part in message.parts)


def _tool(tool: Tool) -> list[dict[str, object]]:
    spec: dict[str, object] = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    spec["inputSchema"] = {"json": msgspec.Raw(tool.parameters or _NO_SCHEMA)}
    # Absent and false are the same on both sides.
    if tool.strict:
        spec["strict"] = True
    return [{"toolSpec": spec}, *_cache_point(tool.cache)]


def _cache_point(cache: CacheControl | None) -> list[dict[str, object]]:
    if cache is None:
        return []
    point = {"type": "default", "ttl": cache.ttl} if cache.ttl else {"type": "default"}
    return [{"cachePoint": point}]


def _additional(call: ChatCall, leave: Leave, *, anthropic: bool) -> dict[str, object]:
    """What Anthropic's models know and Converse does not."""
    fields: dict[str, object] = {}
    if call.top_k is not None:
        if anthropic:
            fields["top_k"] = call.top_k
        else:
            leave.out("top_k")
    reasoning = call.reasoning
    if reasoning is None or reasoning.enabled is None:
        return fields
    if anthropic:
        fields["thinking"] = _thinking(reasoning)
    elif not reasoning.enabled:
        leave.out("reasoning", "cannot be switched off at this model")
    elif reasoning.budget_tokens is not None:
        leave.out("reasoning.budget_tokens")
    if reasoning.display and not anthropic:
        leave.out("reasoning.display")
    return fields


def _thinking(reasoning: Reasoning) -> dict[str, object]:
    if not reasoning.enabled:
        return {"type": "disabled"}
    thinking: dict[str, object] = {"type": "adaptive"}
    if reasoning.budget_tokens is not None:
        thinking = {"type": "enabled", "budget_tokens": reasoning.budget_tokens}
    if reasoning.display:
        thinking["display"] = reasoning.display
    return thinking


def _response_format(form: ResponseFormat, output: dict[str, object], leave: Leave) -> None:
    if form.kind is FormatKind.TEXT:
        return
    if form.kind is FormatKind.JSON_OBJECT or not form.schema:
        leave.out("response_format", "has no schema, without which this model cannot promise JSON")
        return
    definition: dict[str, object] = {"schema": form.schema.decode()}
    if form.name:
        definition["name"] = form.name
    if form.description is not None:
        definition["description"] = form.description
    output["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": definition}}


class _Turns:
    """Writes the turns of one conversation; remembers the names its documents have been given."""

    def __init__(self, leave: Leave, *, anthropic: bool) -> None:
        self._leave = leave
        self._anthropic = anthropic
        self._names: dict[str, int] = {}

    def system(self, messages: tuple[Message, ...]) -> list[dict[str, object]]:
        blocks: list[dict[str, object]] = []
        for message in messages:
            if message.role is not Role.SYSTEM and message.role is not Role.DEVELOPER:
                continue
            if message.name:
                self._leave.place(f"{message.path}.name")
            for part, path in _placed(message):
                if isinstance(part, TextPart):
                    self._check_cache(part.cache, path)
                    blocks += [{"text": part.text}, *_cache_point(part.cache)]
                else:
                    self._leave.place(path)
        return blocks

    def turns(self, messages: tuple[Message, ...]) -> list[dict[str, object]]:
        turns: list[tuple[str, list[dict[str, object]]]] = []
        last = max((i for i, m in enumerate(messages) if m.role not in (Role.SYSTEM, Role.DEVELOPER)), default=-1)
        for index, message in enumerate(messages):
            if message.role is Role.SYSTEM or message.role is Role.DEVELOPER:
                continue
            role = "assistant" if message.role is Role.ASSISTANT else "user"
            if role == "assistant" and index == last:
                self._leave.place(
                    message.path or "messages", "is a final assistant turn, which this model would continue"
                )
                continue
            if message.name:
                self._leave.place(f"{message.path}.name")
            blocks = [block for part, path in _placed(message) for block in self._blocks(part, path)]
            if turns and turns[-1][0] == role:
                turns[-1][1].extend(blocks)
            else:
                turns.append((role, blocks))
        return [{"role": role, "content": _results_first(blocks)} for role, blocks in turns if blocks]

    def _blocks(self, part: Part, path: str) -> list[dict[str, object]]:
        """The block of a part and the cache point after it."""
        block = self._block(part, path)
        if block is None:
            return []
        cache = getattr(part, "cache", None)
        self._check_cache(cache, path)
        return [block, *_cache_point(cache)]

    def _check_cache(self, cache: CacheControl | None, path: str) -> None:
        if cache is not None and cache.ttl not in ("", "5m", "1h"):
            self._leave.inside(path, "cache", "has a lifetime this model does not offer")

    def _block(self, part: Part, path: str) -> dict[str, object] | None:
        if isinstance(part, TextPart | ImagePart | FilePart):
            return self._plain(part, path)
        if isinstance(part, RefusalPart):
            return {"text": part.text}
        if isinstance(part, AudioPart) and part.format in _AUDIO:
            return {"audio": {"format": part.format, "source": {"bytes": part.data}}}
        if isinstance(part, ToolUsePart):
            if part.custom:
                self._leave.place(path, "is a call of a custom tool, which this model does not know")
                return None
            return {"toolUse": {"toolUseId": part.id, "name": part.name, "input": as_object(part.arguments)}}
        if isinstance(part, ToolResultPart):
            return self._tool_result(part, path)
        if isinstance(part, ThinkingPart):
            if self._anthropic and not part.signature:
                self._leave.place(path, "is thinking without a signature, which this model does not take back")
                return None
            text = {"text": part.text, "signature": part.signature} if part.signature else {"text": part.text}
            return {"reasoningContent": {"reasoningText": text}}
        if isinstance(part, RedactedThinkingPart):
            return {"reasoningContent": {"redactedContent": part.data}}
        self._leave.place(path)
        return None

    def _plain(self, part: TextPart | ImagePart | FilePart, path: str) -> dict[str, object] | None:
        """A block that may stand in a tool result too."""
        if isinstance(part, TextPart):
            if part.citations is not None:
                self._leave.inside(path, "citations")
            return {"text": part.text}
        if isinstance(part, FilePart):
            return self._document(part, path)
        if part.detail not in ("", "auto"):
            self._leave.inside(path, "image.detail")
        if not isinstance(part.source, Base64Source):
            self._leave.place(path, _elsewhere(part.source))
            return None
        form = _IMAGES.get(part.source.media_type)
        if form is None:
            self._leave.place(path, "is an image of a type this model does not read")
            return None
        return {"image": {"format": form, "source": {"bytes": part.source.data}}}

    def _document(self, part: FilePart, path: str) -> dict[str, object] | None:
        if isinstance(part.source, PlainTextSource):
            form: str | None = "txt"
            source = {"text": part.source.text}
        elif isinstance(part.source, Base64Source):
            form = _DOCUMENTS.get(part.source.media_type)
            source = {"bytes": part.source.data}
        else:
            self._leave.place(path, _elsewhere(part.source))
            return None
        if form is None:
            self._leave.place(path, "is a document of a type this model does not read")
            return None
        document: dict[str, object] = {"format": form, "name": self._name(part.filename, form), "source": source}
        if part.context:
            document["context"] = part.context
        if part.citations:
            document["citations"] = {"enabled": True}
        return {"document": document}

    def _name(self, filename: str, form: str) -> str:
        """A name Bedrock takes: letters, digits, single blanks, hyphens and brackets."""
        name = _BLANKS.sub(" ", _NOT_IN_NAMES.sub("-", filename.removesuffix(f".{form}"))).strip(" -")
        name = name[:_NAME_CHARS_MAX] or "document"
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name} ({count})"

    def _tool_result(self, part: ToolResultPart, path: str) -> dict[str, object]:
        content: list[dict[str, object]] = []
        for item in part.parts:
            block = self._plain(item, path)
            if block is not None:
                content.append(block)
            if item.cache is not None:
                self._leave.inside(path, "cache", "stands inside a tool's result, where this model takes no mark")
        result: dict[str, object] = {"toolUseId": part.tool_use_id, "content": content}
        if part.is_error:
            result["status"] = "error"
        return {"toolResult": result}


def _elsewhere(source: Source) -> str:
    if isinstance(source, UrlSource):
        return "stands behind a URL, which this provider does not fetch"
    return "is a file kept at another provider"


def _results_first(blocks: list[dict[str, object]]) -> list[dict[str, object]]:
    """Tool results, each with a cache point behind it, before everything else."""
    results: list[dict[str, object]] = []
    others: list[dict[str, object]] = []
    last = others
    for block in blocks:
        if "cachePoint" not in block:
            last = results if "toolResult" in block else others
        last.append(block)
    return results + others


def _placed(message: Message) -> list[tuple[Part, str]]:
    """The parts, each with its path in the caller's request, or the message's where that is not known."""
    paths = message.part_paths or (message.path or "messages",) * len(message.parts)
    return list(zip(message.parts, paths, strict=True))
