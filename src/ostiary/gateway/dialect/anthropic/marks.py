"""Where the marks of a prompt cache go in a messages request that passes through, if the caller placed none: behind the
last tool, behind the system prompt and behind the turn before the last, each only where what stands before it is long
enough to be cached at all. Three marks at most, of the four that Anthropic takes.

The last turn is what changes from call to call; the one before it is where the next call of the conversation finds again
what this one wrote.
"""

from typing import Final

import msgspec

from ostiary.core.limit import PROMPT_CACHE_BYTES_MIN
from ostiary.gateway.wire.json import Document, edit, encode, raw_items, raw_members, splice

_MARKED: Final = frozenset({"text", "image", "document", "tool_use", "tool_result"})
"""Kinds of blocks that take a mark: thinking does not."""


def marks(document: Document, lifetime: str) -> dict[str, bytes]:
    """The members of the request that hold a mark, as raw JSON; every value in them that holds none is as it came. Empty
    where the caller placed marks, or wrote of them."""
    if b"cache_control" in document.raw:
        return {}
    raws, tree = raw_members(document), document.tree
    mark = encode({"type": "ephemeral", "ttl": lifetime} if lifetime == "1h" else {"type": "ephemeral"})
    found: dict[str, bytes] = {}
    before = 0
    tools, system, messages = tree.get("tools"), tree.get("system"), tree.get("messages")
    if type(tools) is list and tools:
        before += len(bytes(raws["tools"]))
        last = tools[-1]
        if before >= PROMPT_CACHE_BYTES_MIN and type(last) is dict and not last.get("defer_loading"):
            found["tools"] = _in_last(raws["tools"], mark)
    if system:
        before += len(bytes(raws["system"]))
        if before >= PROMPT_CACHE_BYTES_MIN:
            marked = _marked(raws["system"], system, mark)
            if marked is not None:
                found["system"] = marked
    if type(messages) is list and len(messages) > 1:
        items = raw_items(raws["messages"])
        place = len(items) - 2
        turn = messages[place]
        before += sum(len(bytes(item)) for item in items[:-1])
        if before >= PROMPT_CACHE_BYTES_MIN and type(turn) is dict and turn.get("content"):
            marked = _marked(raw_members(items[place])["content"], turn["content"], mark)
            if marked is not None:
                found["messages"] = splice(raws["messages"], {(place, "content"): marked})
    return found


def _marked(raw: msgspec.Raw, value: object, mark: bytes) -> bytes | None:
    """A text, or blocks, with the mark behind the last; None where the last takes none."""
    if type(value) is str:
        return b'[{"type":"text","text":' + bytes(raw) + b',"cache_control":' + mark + b"}]" if value.strip() else None
    last = value[-1] if type(value) is list and value else None
    if type(last) is not dict or last.get("type") not in _MARKED or (last["type"] == "text" and not last.get("text")):
        return None
    return _in_last(raw, mark)


def _in_last(raw: msgspec.Raw, mark: bytes) -> bytes:
    """A list with the mark in its last object."""
    items = raw_items(raw)
    last = edit(Document(bytes(items[-1]), {}), {"cache_control": mark})
    return splice(raw, {(len(items) - 1,): last})
