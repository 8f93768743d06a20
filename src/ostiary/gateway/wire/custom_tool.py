"""Custom tools, which only OpenAI's two forms of chat know: from the words of one into those of the other.

The form of chat completions wraps what it says of a tool, and of its grammar, in a member named like the kind; the
form of responses does not (CustomToolChatCompletions and CustomToolParam of the API's description). Each decoder keeps
such a tool as an extension under `tools[i]`, and the choice of one under `tool_choice`, where every other dialect
refuses it by name.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

Tree = dict[str, object]

_PLACE: Final = re.compile(r"tools\[(\d+)\]")
_MEMBERS: Final = frozenset({"type", "name", "description", "format"})


def custom_tools(extensions: Mapping[str, bytes], *, wrapped: bool) -> dict[str, Tree]:
    """The custom tools, and the choice of one, among the extensions of the other form, by their paths: in the words of
    chat completions where `wrapped`, else in those of responses. What is of another kind, or says more than is known
    here, is not among them."""
    found: dict[str, Tree] = {}
    for path, raw in extensions.items():
        if path != "tool_choice" and _PLACE.fullmatch(path) is None:
            continue
        tree = msgspec.json.decode(raw)
        if type(tree) is not dict or tree.get("type") != "custom":
            continue
        turned = _turned(tree, wrapped=wrapped)
        if turned is not None:
            found[path] = turned
    return found


def with_custom(tools: list[Tree], custom: Mapping[str, Tree]) -> list[Tree]:
    """The tools in the caller's order: the custom ones in the places their paths name."""
    whole = list(tools)
    placed = [(int(place[1]), tool) for path, tool in custom.items() if (place := _PLACE.fullmatch(path)) is not None]
    for index, tool in sorted(placed, key=lambda one: one[0]):
        whole.insert(index, tool)
    return whole


def _turned(tree: Tree, *, wrapped: bool) -> Tree | None:
    flat = tree if wrapped else _opened(tree, "custom")
    if flat is None or not flat.keys() <= _MEMBERS or type(flat.get("name")) is not str:
        return None
    form = flat.get("format")
    if type(form) is dict and form.get("type") == "grammar":
        turned = _closed(form, "grammar") if wrapped else _opened(form, "grammar")
        if turned is None:
            return None
        flat = {**flat, "format": turned}
    return _closed(flat, "custom") if wrapped else flat


def _opened(tree: Tree, kind: str) -> Tree | None:
    """{"type": kind, kind: {...}} without the member around what it says; None where it has another form."""
    inner = tree.get(kind)
    return {"type": kind, **inner} if tree.keys() == {"type", kind} and type(inner) is dict else None


def _closed(tree: Tree, kind: str) -> Tree:
    return {"type": kind, kind: {key: value for key, value in tree.items() if key != "type"}}
