"""What a chat request needs of a model, read off the parsed tree. Only what is certain is told."""

from typing import Final

from ostiary.core.capability import Capability
from ostiary.gateway.wire.field import is_pdf
from ostiary.gateway.wire.json import Document

_PARTS: Final = {"image_url": Capability.IMAGES, "input_audio": Capability.AUDIO}
_THINKING: Final = frozenset({"low", "medium", "high", "xhigh", "max"})
_OUTPUTS: Final = (("audio", Capability.AUDIO_OUTPUT), ("image", Capability.IMAGE_OUTPUT))


_TELLING: Final = frozenset(
    ("tools", "functions", "response_format", "reasoning_effort", "logprobs", "modalities"),
)
"""The members that say what a request needs; most requests have none of them."""


def chat_needs(document: Document, *, media: bool) -> tuple[Capability, ...]:
    """See gateway/dialect."""
    tree = document.tree
    if not media and _TELLING.isdisjoint(tree):
        return ()
    found: list[Capability] = []
    if media:
        found += _media(tree.get("messages"))
    if tree.get("tools") or tree.get("functions"):
        found.append(Capability.TOOLS)
    form = tree.get("response_format")
    if type(form) is dict and form.get("type") == "json_schema":
        found.append(Capability.STRUCTURED_OUTPUT)
    effort = tree.get("reasoning_effort")
    if type(effort) is str and effort in _THINKING:
        found.append(Capability.THINKING)
    if tree.get("logprobs") is True:
        found.append(Capability.LOGPROBS)
    wanted = tree.get("modalities")
    if type(wanted) is list:
        found += [capability for word, capability in _OUTPUTS if word in wanted]
    return tuple(found)


def _media(messages: object) -> list[Capability]:
    found: dict[Capability, None] = {}
    for message in messages if type(messages) is list else ():
        content = message.get("content") if type(message) is dict else None
        for part in content if type(content) is list else ():
            kind = part.get("type") if type(part) is dict else None
            capability = _PARTS.get(kind) if type(kind) is str else None
            if capability is not None:
                found[capability] = None
            elif kind == "file" and is_pdf(part.get("file")):
                found[Capability.FILES] = None
    return list(found)
