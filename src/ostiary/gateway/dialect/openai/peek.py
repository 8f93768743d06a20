"""What admission needs of a chat or embeddings request, read off the parsed tree without building anything.

Only what is read here is checked here; on the way to a provider of the same dialect the rest is the provider's to
judge. Bounds of core/limit.py hold on every way.
"""

from typing import Final

from ostiary.core.limit import (
    CHOICES_MAX,
    EMBEDDING_INPUTS_MAX,
    MESSAGES_MAX,
    PARTS_MAX,
    STOP_SEQUENCES_MAX,
)
from ostiary.gateway.dialect import ChatPeek, EmbeddingsPeek
from ostiary.gateway.wire.field import beyond, invalid, model_name, token_bound, tool_count, whole_number
from ostiary.gateway.wire.json import Document

_MEDIA: Final = {
    "image_url": ("image_url", "url"),
    "input_audio": ("input_audio", "data"),
    "file": ("file", "file_data"),
}
"""Content parts that hold media, and where the inline data stands in each."""


_RARE: Final = frozenset(("stream_options", "n", "stop", "tools", "functions", "safety_identifier", "user"))
"""What is looked at one by one only where a request has some of it."""

_RESULTS: Final = ("tool", "function")
"""The roles of what tools gave back."""


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
            more, size = _media(content, index)
            media += more
            inline += size
    stream = tree.get("stream")
    if stream is not None and type(stream) is not bool:
        invalid("stream", "must be true or false")
    include_usage, choices, tools = False, 1, 0
    rare = not _RARE.isdisjoint(tree)
    if rare:
        include_usage, choices, tools = _include_usage(tree), _choices(tree), _tools(document)
    return ChatPeek(
        model_name(tree),
        bool(stream),
        include_usage,
        max_tokens(tree),
        choices,
        len(messages),
        tools,
        _tool_depth(messages) if messages[-1].get("role") in _RESULTS else 0,
        len(document.raw) - inline,
        end_user(tree) if rare else None,
        media,
    )


def max_tokens(tree: dict[str, object]) -> int | None:
    """The caller's bound on output under either name; where both are sent, the greater one, so that nothing is
    let through by naming a small one beside."""
    old = token_bound(tree, "max_tokens", 1)
    if tree.get("max_completion_tokens") is None:
        return old
    new = token_bound(tree, "max_completion_tokens", 1)
    return new if old is None or new is None else max(old, new)


def end_user(tree: dict[str, object]) -> str | None:
    """The end user the caller names, under the newer or the older name."""
    for key in ("safety_identifier", "user"):
        value = tree.get(key)
        if value is None:
            continue
        if type(value) is not str:
            invalid(key, "must be a string")
        return value
    return None


def _include_usage(tree: dict[str, object]) -> bool:
    options = tree.get("stream_options")
    if options is None:
        return False
    if type(options) is not dict:
        invalid("stream_options", "must be an object")
    include_usage = options.get("include_usage")
    if include_usage is not None and type(include_usage) is not bool:
        invalid("stream_options.include_usage", "must be true or false")
    return bool(include_usage)


def _choices(tree: dict[str, object]) -> int:
    """How many answers are asked for; what else is bounded by a number of its own is checked here."""
    choices = tree.get("n")
    if choices is not None and choices != 1:
        whole_number(choices, "n", 1, CHOICES_MAX)
    elif type(choices) is bool or type(choices) is float:
        invalid("n", "must be an integer")
    stop = tree.get("stop")
    if type(stop) is list and len(stop) > STOP_SEQUENCES_MAX:
        beyond("stop", STOP_SEQUENCES_MAX, "items")
    return choices if type(choices) is int else 1


def _tools(document: Document) -> int:
    tools, functions = document.tree.get("tools"), document.tree.get("functions")
    count = 0 if tools is None else tool_count(document, tools)
    return count if functions is None else count + tool_count(document, functions, "functions")


def _media(content: list[object], index: int) -> tuple[int, int]:
    """How many media parts, and the bytes of inline data in them."""
    if len(content) > PARTS_MAX:
        beyond(f"messages[{index}].content", PARTS_MAX, "items")
    media = inline = 0
    for part in content:
        kind = part.get("type") if type(part) is dict else None
        place = _MEDIA.get(kind) if type(kind) is str else None
        if place is None or type(part) is not dict:
            continue
        media += 1
        holder = part.get(place[0])
        data = holder.get(place[1]) if type(holder) is dict else None
        if type(data) is str and (place[0] != "image_url" or data.startswith("data:")):
            inline += len(data)
    return media, inline


def _tool_depth(messages: list[object]) -> int:
    """Consecutive rounds, at the end, of an assistant's tool calls answered by tool results."""
    depth = 0
    answered = False
    for message in reversed(messages):
        role = message.get("role") if type(message) is dict else None
        if role in _RESULTS:
            answered = True
        elif answered and type(message) is dict and (message.get("tool_calls") or message.get("function_call")):
            depth += 1
            answered = False
        else:
            break
    return depth


def peek_embeddings(document: Document) -> EmbeddingsPeek:
    """See gateway/dialect."""
    tree = document.tree
    value = tree.get("input")
    if type(value) is str:
        inputs = 1
    elif type(value) is list and value:
        # A list of numbers is one text in tokens.
        inputs = 1 if type(value[0]) is int else len(value)
    else:
        invalid("input", "must be a string or an array that is not empty")
    if inputs > EMBEDDING_INPUTS_MAX:
        beyond("input", EMBEDDING_INPUTS_MAX, "items")
    return EmbeddingsPeek(model_name(tree), inputs, len(document.raw), end_user(tree))
