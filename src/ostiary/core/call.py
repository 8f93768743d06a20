"""A call: what a client asked for, in our terms.

`original_model` is the name the client sent. What goes upstream and what the provider reports are other words
(`request_model`, `response_model`) and live with the attempt and the reply, so that they cannot be mixed up.
"""

from enum import StrEnum

import msgspec

from ostiary.core.message import Message, ResponseFormat, Tool, ToolChoice


class Operation(StrEnum):
    """What is asked for, whatever the dialect (OpenTelemetry GenAI's gen_ai.operation.name where it has one)."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    COUNT_TOKENS = "count_tokens"
    LIST_MODELS = "list_models"
    MODERATION = "moderation"
    IMAGE_GENERATION = "image_generation"
    IMAGE_EDIT = "image_edit"
    IMAGE_VARIATION = "image_variation"
    SPEECH = "speech"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    RERANK = "rerank"
    PASSTHROUGH = "passthrough"
    REALTIME = "realtime"
    REALTIME_RESPONSE = "realtime_response"


class DialectName(StrEnum):
    """The wire formats spoken."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    RESPONSES = "openai-responses"
    COMPLETIONS = "openai-completions"
    GEMINI = "gemini"
    BEDROCK = "bedrock"
    COHERE = "cohere"


class Reasoning(msgspec.Struct, frozen=True):
    """How much the model may think: OpenAI's effort word, Anthropic's token budget, or both unset.

    `enabled` is False where the caller switched thinking off, None where it said nothing; `adaptive` is
    Anthropic's mode in which the model decides; `display` is its word for how thinking is shown.
    """

    enabled: bool | None = None
    effort: str = ""
    budget_tokens: int | None = None
    adaptive: bool = False
    display: str = ""


class ChatCall(msgspec.Struct, frozen=True):
    """A chat completion. None means that the caller did not say.

    `extensions` holds fields only the caller's own dialect knows, by their path in its request, as raw JSON bytes:
    another dialect refuses each by name or, told to, drops it. `dialect` is that dialect, and `names` gives its
    word for a field of ours where that is another word, so that a refusal speaks the caller's language.
    `end_user` and `prompt_cache_key` (which calls may share a cached prompt) are hints: no answer depends on them.
    `hints` holds the paths of others, which only the caller's own dialect has a place for.
    """

    original_model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    choices: int = 1
    logprobs: bool = False
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    end_user: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    extensions: dict[str, bytes] = {}
    hints: tuple[str, ...] = ()
    dialect: DialectName | None = None
    names: dict[str, str] = {}


class EmbeddingsCall(msgspec.Struct, frozen=True):
    """Vectors for texts or for token lists. `encoding_format` is float or base64, `dimensions` a shortened length;
    `extensions` and `dialect` as in a chat call. `first` is the place of the first of these texts in the caller's
    request, where they are a part of it; `extensions` name places of the whole."""

    original_model: str
    inputs: tuple[str | tuple[int, ...], ...]
    encoding_format: str = ""
    dimensions: int | None = None
    end_user: str | None = None
    extensions: dict[str, bytes] = {}
    dialect: DialectName | None = None
    first: int = 0


Call = ChatCall | EmbeddingsCall
