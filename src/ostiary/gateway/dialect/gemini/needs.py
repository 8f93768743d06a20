"""What a request for content needs of a model, read off the parsed tree. Only what is certain is told."""

from typing import Final

from ostiary.core.capability import Capability
from ostiary.gateway.dialect.gemini.members import member
from ostiary.gateway.wire.json import Document

_MIME: Final = {
    "image": Capability.IMAGES,
    "audio": Capability.AUDIO,
    "video": Capability.VIDEO,
    "application/pdf": Capability.FILES,
}
_OUTPUTS: Final = {"AUDIO": Capability.AUDIO_OUTPUT, "IMAGE": Capability.IMAGE_OUTPUT}
_BLOBS: Final = (("inlineData", "inline_data"), ("fileData", "file_data"))
_SCHEMAS: Final = (("responseSchema", "response_schema"), ("responseJsonSchema", "response_json_schema"))


def chat_needs(document: Document, *, media: bool) -> tuple[Capability, ...]:
    """See gateway/dialect."""
    tree = document.tree
    found: dict[Capability, None] = {}
    if media:
        contents = tree.get("contents")
        for content in contents if type(contents) is list else ():
            _media(content.get("parts") if type(content) is dict else None, found)
    tools = tree.get("tools")
    for tool in tools if type(tools) is list else ():
        if type(tool) is dict and member(tool, "functionDeclarations", "function_declarations"):
            found[Capability.TOOLS] = None
    config = member(tree, "generationConfig", "generation_config")
    if type(config) is dict:
        _configured(config, found)
    return tuple(found)


def _configured(config: dict[str, object], found: dict[Capability, None]) -> None:
    if any(member(config, *names) for names in _SCHEMAS):
        found[Capability.STRUCTURED_OUTPUT] = None
    thinking = member(config, "thinkingConfig", "thinking_config")
    if type(thinking) is dict:
        budget = member(thinking, "thinkingBudget", "thinking_budget")
        level = member(thinking, "thinkingLevel", "thinking_level")
        if (type(budget) is int and budget > 0) or (type(level) is str and level.upper() in ("LOW", "MEDIUM", "HIGH")):
            found[Capability.THINKING] = None
    if member(config, "responseLogprobs", "response_logprobs") is True:
        found[Capability.LOGPROBS] = None
    wanted = member(config, "responseModalities", "response_modalities")
    for word in wanted if type(wanted) is list else ():
        capability = _OUTPUTS.get(word) if type(word) is str else None
        if capability is not None:
            found[capability] = None


def _media(parts: object, found: dict[Capability, None]) -> None:
    for part in parts if type(parts) is list else ():
        if type(part) is not dict:
            continue
        response = member(part, "functionResponse", "function_response")
        if type(response) is dict:
            _media(response.get("parts"), found)
        for names in _BLOBS:
            blob = member(part, *names)
            mime = member(blob, "mimeType", "mime_type") if type(blob) is dict else None
            if type(mime) is str:
                capability = _MIME.get(mime.lower()) or _MIME.get(mime.lower().partition("/")[0])
                if capability is not None:
                    found[capability] = None
