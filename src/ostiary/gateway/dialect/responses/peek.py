"""What admission needs of a responses request, read off the parsed tree without building anything.

Only what is read here is checked here; on the way to a provider of the same dialect the rest is the provider's to
judge. Bounds of core/limit.py hold on every way.

What continues from state that the provider keeps is refused on every way: earlier responses, conversations, stored
prompts, items by their id, work in the background. The gateway keeps no such state, and the provider's is shared by
all callers of the gateway, so that one could continue from what another said.
"""

from typing import Final, NoReturn

from ostiary.core.limit import MESSAGES_MAX, PARTS_MAX
from ostiary.gateway.dialect import ChatPeek
from ostiary.gateway.wire.field import beyond, invalid, model_name, token_bound, tool_count, unsupported
from ostiary.gateway.wire.json import Document

_STATE: Final = ("previous_response_id", "conversation", "prompt")
_MEDIA: Final = {"input_image": "image_url", "input_file": "file_data"}
"""Content parts that hold media, and where the inline data stands in each."""


def peek_chat(document: Document) -> ChatPeek:
    """See gateway/dialect."""
    tree = document.tree
    for key in _STATE:
        if tree.get(key) is not None:
            _kept_elsewhere(key)
    if tree.get("background") not in (None, False):
        unsupported("background", "is not offered by this gateway, which keeps no answers; leave it out or send false")
    items, media, inline = _input(tree)
    stream = tree.get("stream")
    if stream is not None and type(stream) is not bool:
        invalid("stream", "must be true or false")
    tools = tree.get("tools")
    return ChatPeek(
        model_name(tree),
        bool(stream),
        # This form always reports usage at a stream's end.
        True,
        token_bound(tree, "max_output_tokens", 1),
        1,
        len(items),
        0 if tools is None else tool_count(document, tools),
        _tool_depth(items),
        len(document.raw) - inline,
        end_user(tree),
        media,
    )


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


def _kept_elsewhere(path: str) -> NoReturn:
    unsupported(path, "refers to what the provider keeps, which this gateway does not offer; send the whole input")


def _input(tree: dict[str, object]) -> tuple[list[object], int, int]:
    """The items, how many media parts are in them, and the bytes of inline data in those."""
    items = tree.get("input")
    if type(items) is str:
        return [items], 0, 0
    if type(items) is not list or not items:
        invalid("input", "must be a string or an array that is not empty")
    if len(items) > MESSAGES_MAX:
        beyond("input", MESSAGES_MAX, "items")
    media = inline = 0
    for index, item in enumerate(items):
        if type(item) is not dict:
            invalid(f"input[{index}]", "must be an object")
        kind = item.get("type")
        # The kind may be left out of a message and of a reference; only a message has a role.
        if kind == "item_reference" or (kind is None and "role" not in item and "id" in item):
            _kept_elsewhere(f"input[{index}]")
        for key in ("content", "output"):
            content = item.get(key)
            if type(content) is list:
                more, size = _media(content, f"input[{index}].{key}")
                media += more
                inline += size
    return items, media, inline


def _media(content: list[object], path: str) -> tuple[int, int]:
    """How many media parts, and the bytes of inline data in them."""
    if len(content) > PARTS_MAX:
        beyond(path, PARTS_MAX, "items")
    media = inline = 0
    for part in content:
        kind = part.get("type") if type(part) is dict else None
        place = _MEDIA.get(kind) if type(kind) is str else None
        if place is None or type(part) is not dict:
            continue
        media += 1
        data = part.get(place)
        if type(data) is str and (place == "file_data" or data.startswith("data:")):
            inline += len(data)
    return media, inline


def _tool_depth(items: list[object]) -> int:
    """Consecutive rounds, at the end, of tool calls answered by their outputs. What else the model said in a turn
    that calls tools (reasoning, text, more calls) belongs to its round."""
    depth = 0
    answered = calling = False
    for item in reversed(items):
        kind = item.get("type") if type(item) is dict else None
        if type(kind) is str and kind.endswith("_call_output"):
            answered, calling = True, False
        elif type(kind) is str and kind.endswith("_call") and (answered or calling):
            depth += answered
            answered, calling = False, True
        elif not calling or type(item) is not dict or not (kind == "reasoning" or item.get("role") == "assistant"):
            break
    return depth
