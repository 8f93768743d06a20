"""Canonical conversation: messages, content parts and tools, in terms every dialect can be translated to and from.

Values are frozen. Text that must survive byte for byte (tool arguments, schemas, thinking signatures) is kept as
the exact text it arrived in. A dialect that meets a content part it does not know raises; nothing is left out
silently. `CacheControl` marks where a prompt cache may end (Anthropic's cache_control).
"""

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """Who speaks. DEVELOPER is OpenAI's newer name of an instruction above the user's; others treat it as SYSTEM."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class CacheControl(msgspec.Struct, frozen=True):
    """A prompt-cache breakpoint after this part; `ttl` is the provider's own word ("5m", "1h") or empty."""

    ttl: str = ""


class Base64Source(msgspec.Struct, frozen=True, tag="base64"):
    """Inline data: `media_type` and the base64 text exactly as sent."""

    media_type: str
    data: str


class UrlSource(msgspec.Struct, frozen=True, tag="url"):
    """Data the provider fetches itself. The gateway never fetches it."""

    url: str


class FileSource(msgspec.Struct, frozen=True, tag="file"):
    """A file uploaded earlier to the provider."""

    file_id: str


class PlainTextSource(msgspec.Struct, frozen=True, tag="text"):
    """A document given as plain text (Anthropic's text document source)."""

    text: str


Source = Base64Source | UrlSource | FileSource | PlainTextSource


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """Text. `citations` is the raw JSON of the provider's citation list, if it gave one; `signature` is Gemini's proof
    of the thinking behind it, opaque."""

    text: str
    cache: CacheControl | None = None
    citations: bytes | None = None
    signature: str = ""


class ImagePart(msgspec.Struct, frozen=True, tag="image"):
    """An image; `detail` is OpenAI's low | high | auto or empty."""

    source: Source
    detail: str = ""
    cache: CacheControl | None = None


class FilePart(msgspec.Struct, frozen=True, tag="file"):
    """A document such as a PDF; `citations` asks the provider to cite it (Anthropic)."""

    source: Source
    filename: str = ""
    context: str = ""
    citations: bool = False
    cache: CacheControl | None = None


class AudioPart(msgspec.Struct, frozen=True, tag="audio"):
    """Inline audio in base64; `format` is wav, mp3, ..."""

    data: str
    format: str


class ToolUsePart(msgspec.Struct, frozen=True, tag="tool_use"):
    """A call the model makes. `arguments` is the JSON text exactly as produced; `custom` marks free-form input;
    `signature` is Gemini's proof of the thinking behind it, opaque."""

    id: str
    name: str
    arguments: str
    custom: bool = False
    cache: CacheControl | None = None
    signature: str = ""


class ToolResultPart(msgspec.Struct, frozen=True, tag="tool_result"):
    """The answer to a tool call; `parts` are text, image or file parts."""

    tool_use_id: str
    parts: tuple["TextPart | ImagePart | FilePart", ...]
    is_error: bool = False
    cache: CacheControl | None = None


class ThinkingPart(msgspec.Struct, frozen=True, tag="thinking"):
    """Reasoning shown by the model. `signature` proves to its provider that it is unchanged; it is opaque. `id` is the
    provider's name for this piece of reasoning, where it has one."""

    text: str
    signature: str = ""
    id: str = ""


class RedactedThinkingPart(msgspec.Struct, frozen=True, tag="redacted_thinking"):
    """Reasoning the provider encrypted; opaque, must go back as it came. `id` as in ThinkingPart."""

    data: str
    id: str = ""


class RefusalPart(msgspec.Struct, frozen=True, tag="refusal"):
    """The model's refusal, in words."""

    text: str


Part = (
    TextPart
    | ImagePart
    | FilePart
    | AudioPart
    | ToolUsePart
    | ToolResultPart
    | ThinkingPart
    | RedactedThinkingPart
    | RefusalPart
)


class Message(msgspec.Struct, frozen=True):
    """One turn. `name` is OpenAI's participant name.

    `path` is where the turn stands in the caller's request and `part_paths` where each of its parts does: so that
    whatever refuses one can name it in the caller's terms. Both may be empty.
    """

    role: Role
    parts: tuple[Part, ...]
    name: str = ""
    path: str = ""
    part_paths: tuple[str, ...] = ()


class Tool(msgspec.Struct, frozen=True):
    """A function the model may call. `parameters` is its JSON Schema as the exact bytes sent (empty: none)."""

    name: str
    description: str | None = None
    parameters: bytes = b""
    strict: bool | None = None
    cache: CacheControl | None = None


class ToolMode(StrEnum):
    """Whether the model may, must or must not call tools, or must call one by name."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


class ToolChoice(msgspec.Struct, frozen=True):
    """The mode, and the tool's name where the mode is NAMED."""

    mode: ToolMode
    name: str = ""


class FormatKind(StrEnum):
    """The shape of an answer's text."""

    TEXT = "text"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"


class ResponseFormat(msgspec.Struct, frozen=True):
    """Structured output. `schema` is the JSON Schema as the exact bytes sent."""

    kind: FormatKind
    name: str = ""
    schema: bytes = b""
    description: str | None = None
    strict: bool | None = None
