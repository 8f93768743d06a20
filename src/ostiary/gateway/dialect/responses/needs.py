"""What a responses request needs of a model, read off the parsed tree. Only what is certain is told."""

from typing import Final

from ostiary.core.capability import Capability
from ostiary.gateway.wire.field import is_pdf
from ostiary.gateway.wire.json import Document

_FUNCTIONS: Final = ("function", "custom")
_THINKING: Final = frozenset({"low", "medium", "high", "xhigh", "max"})


def chat_needs(document: Document, *, media: bool) -> tuple[Capability, ...]:
    """See gateway/dialect. Tools that the provider runs itself are not the model's to call."""
    tree = document.tree
    found: list[Capability] = []
    if media:
        found += _media(tree.get("input"))
    tools = tree.get("tools")
    if type(tools) is list and any(type(tool) is dict and tool.get("type") in _FUNCTIONS for tool in tools):
        found.append(Capability.TOOLS)
    text = tree.get("text")
    form = text.get("format") if type(text) is dict else None
    if type(form) is dict and form.get("type") == "json_schema":
        found.append(Capability.STRUCTURED_OUTPUT)
    reasoning = tree.get("reasoning")
    effort = reasoning.get("effort") if type(reasoning) is dict else None
    if type(effort) is str and effort in _THINKING:
        found.append(Capability.THINKING)
    if tree.get("top_logprobs"):
        found.append(Capability.LOGPROBS)
    return tuple(found)


def _media(items: object) -> list[Capability]:
    found: dict[Capability, None] = {}
    for item in items if type(items) is list else ():
        if type(item) is not dict:
            continue
        for key in ("content", "output"):
            content = item.get(key)
            for part in content if type(content) is list else ():
                kind = part.get("type") if type(part) is dict else None
                if kind == "input_image":
                    found[Capability.IMAGES] = None
                elif kind == "input_file" and is_pdf(part):
                    found[Capability.FILES] = None
    return list(found)
