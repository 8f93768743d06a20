"""What a messages request needs of a model, read off the parsed tree. Only what is certain is told."""

from typing import Final

from ostiary.core.capability import Capability
from ostiary.gateway.wire.json import Document

_THINKING: Final = ("enabled", "adaptive")
_OWN: Final = (None, "custom")
"""The types of tools that the caller defines; the others are Anthropic's, which says which models have them."""


def chat_needs(document: Document, *, media: bool) -> tuple[Capability, ...]:
    """See gateway/dialect."""
    tree = document.tree
    found: list[Capability] = []
    if media:
        blocks: dict[Capability, None] = {}
        messages = tree.get("messages")
        for message in messages if type(messages) is list else ():
            _media(message.get("content") if type(message) is dict else None, blocks)
        found += blocks
    tools = tree.get("tools")
    if type(tools) is list and any(type(tool) is dict and tool.get("type") in _OWN for tool in tools):
        found.append(Capability.TOOLS)
    config = tree.get("output_config")
    if tree.get("output_format") is not None or (type(config) is dict and config.get("format") is not None):
        found.append(Capability.STRUCTURED_OUTPUT)
    thinking = tree.get("thinking")
    if type(thinking) is dict and thinking.get("type") in _THINKING:
        found.append(Capability.THINKING)
    return tuple(found)


def _media(content: object, found: dict[Capability, None]) -> None:
    for block in content if type(content) is list else ():
        if type(block) is not dict:
            continue
        kind, source = block.get("type"), block.get("source")
        if kind == "image":
            found[Capability.IMAGES] = None
        elif kind == "document" and type(source) is dict:
            # A document of plain text is text to any model; what a stored file is, only the provider knows.
            if source.get("type") == "url" or source.get("media_type") == "application/pdf":
                found[Capability.FILES] = None
        elif kind == "tool_result":
            _media(block.get("content"), found)
