"""What a model may be able to do, and what a call may need of it: one closed vocabulary."""

from enum import StrEnum
from typing import Final

import msgspec


class Capability(StrEnum):
    """A thing some models can do and others cannot. The first four are kinds of input besides text, the next two kinds
    of output."""

    IMAGES = "images"
    FILES = "files"
    AUDIO = "audio"
    VIDEO = "video"
    IMAGE_OUTPUT = "image_output"
    AUDIO_OUTPUT = "audio_output"
    TOOLS = "tools"
    PARALLEL_TOOLS = "parallel_tools"
    STRUCTURED_OUTPUT = "structured_output"
    THINKING = "thinking"
    PROMPT_CACHING = "prompt_caching"
    WEB_SEARCH = "web_search"
    LOGPROBS = "logprobs"


class Need(msgspec.Struct, frozen=True):
    """What a call needs of a model: capabilities, room for at least `input_tokens`, and `max_tokens` of output where
    the caller asks for so many at most."""

    capabilities: tuple[Capability, ...] = ()
    input_tokens: int = 0
    max_tokens: int | None = None


NO_NEED: Final = Need()
