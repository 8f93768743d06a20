"""What admission needs of a messages request, read off the parsed tree without building anything.

Only what is read here is checked here; on the way to a provider of the same dialect the rest is the provider's to
judge. Bounds of core/limit.py hold on every way.
"""

from typing import Final

from ostiary.core.limit import MESSAGES_MAX, PARTS_MAX, STOP_SEQUENCES_MAX
from ostiary.gateway.dialect import ChatPeek
from ostiary.gateway.wire.field import beyond, invalid, model_name, token_bound, tool_count
from ostiary.gateway.wire.json import Document

_MEDIA: Final = frozenset({"image", "document"})


def peek_chat(document: Document) -> ChatPeek:
    """See gateway/dialect."""
    tree = document.tree
    messages = tree.get("messages")
    if type(messages) is not list or not messages:
        invalid("messages", "must be an array that is not empty")
    if len(messages) > MESSAGES_MAX:
        beyond("messages", MESSAGES_MAX, "items")
    media = inline = 0
    for index, message in enumerate(messages):
        if type(message) is not dict:
            invalid(f"messages[{index}]", "must be an object")
        content = message.get("content")
        if type(content) is list:
            more, size = _media(content, f"messages[{index}].content")
            media += more
            inline += size
    stream = tree.get("stream")
    if stream is not None and type(stream) is not bool:
        invalid("stream", "must be true or false")
    stop = tree.get("stop_sequences")
    if type(stop) is list and len(stop) > STOP_SEQUENCES_MAX:
        beyond("stop_sequences", STOP_SEQUENCES_MAX, "items")
    tools = tree.get("tools")
    return ChatPeek(
        model_name(tree),
        bool(stream),
        # This form always reports usage at a stream's end.
        True,
        # 0 is legal: it fills a prompt cache without an answer.
        token_bound(tree, "max_tokens", 0),
        1,
        len(messages),
        0 if tools is None else tool_count(document, tools),
        _tool_depth(messages),
        len(document.raw) - inline,
        end_user(tree),
        media,
    )


def end_user(tree: dict[str, object]) -> str | None:
    """The end user the caller names."""
    metadata = tree.get("metadata")
    if metadata is None:
        return None
    if type(metadata) is not dict:
        invalid("metadata", "must be an object")
    value = metadata.get("user_id")
    if value is not None and type(value) is not str:
        invalid("metadata.user_id", "must be a string")
    return value


def _media(content: list[object], path: str) -> tuple[int, int]:
    """How many images and documents, tool results' own included, and the bytes of inline data in them."""
    if len(content) > PARTS_MAX:
        beyond(path, PARTS_MAX, "items")
    media = inline = 0
    for block in content:
        if type(block) is not dict:
            continue
        kind = block.get("type")
        if kind == "tool_result":
            inner = block.get("content")
            if type(inner) is list:
                more, size = _media(inner, path)
                media += more
                inline += size
        elif type(kind) is str and kind in _MEDIA:
            media += 1
            source = block.get("source")
            data = source.get("data") if type(source) is dict and source.get("type") == "base64" else None
            if type(data) is str:
                inline += len(data)
    return media, inline


def _tool_depth(messages: list[object]) -> int:
    """Consecutive rounds, at the end, of an assistant's tool calls answered by tool results."""
    depth = 0
    answered = False
    for message in reversed(messages):
        if type(message) is not dict:
            break
        role = message.get("role")
        if role == "user" and _holds(message, "tool_result"):
            answered = True
        elif role == "assistant" and answered and _holds(message, "tool_use"):
            depth += 1
            answered = False
        else:
            break
    return depth


def _holds(message: dict[str, object], kind: str) -> bool:
    content = message.get("content")
    if type(content) is not list:
        return False
    return any(type(block) is dict and block.get("type") == kind for block in content)
