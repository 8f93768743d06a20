"""Where text stands in a JSON document.

Every string is a place, in fields nobody here knows too, except those a dialect lists as structure: kinds, roles,
ids, inline data. Below a member listed as free (a tool's input, a schema, metadata) nothing is structure, since
there the caller chooses the names.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from ostiary.core.message import Role
from ostiary.gateway.wire.json import Document, encode, splice

Path = tuple[str | int, ...]

_ROLES: Final = {str(role): role for role in Role} | {"function": Role.TOOL, "model": Role.ASSISTANT}


class TextPlace(msgspec.Struct, frozen=True):
    """A place where text stands in a request or reply: the path of keys and indexes to it, who says it, the text.

    Tool arguments, tool results, names, descriptions and end-user fields are places too.
    """

    path: Path
    role: Role
    text: str


class Structure:
    """A dialect's lists: members that are structure, members below which all is free, kinds (`type`) of objects
    whose `data` is opaque, who speaks where no message says, and who speaks in objects of a kind."""

    __slots__ = ("free", "kinds", "opaque", "speakers", "structural")

    def __init__(
        self,
        *,
        structural: frozenset[str],
        free: frozenset[str],
        speakers: Mapping[str, Role] | None = None,
        opaque: frozenset[str] = frozenset(),
        kinds: Mapping[str, Role] | None = None,
    ) -> None:
        self.kinds = kinds or {}
        self.opaque = opaque
        self.structural = structural
        self.free = free
        self.speakers = speakers or {}


def places(tree: object, structure: Structure, role: Role) -> list[TextPlace]:
    """Every place of text, in the order of the document. `role` speaks where nothing else says."""
    return list(_walk(tree, structure, (), role, free=False))


def edited(document: Document, edits: Mapping[Path, str]) -> bytes:
    """The document with these strings replaced; the bytes of every value that holds no edit are unchanged."""
    if not edits:
        return document.raw
    return splice(document.raw, {path: encode(text) for path, text in edits.items()})


def _walk(value: object, structure: Structure, path: Path, role: Role, *, free: bool) -> Iterator[TextPlace]:
    if type(value) is str:
        yield TextPlace(path, role, value)
    elif type(value) is list:
        for index, item in enumerate(value):
            yield from _walk(item, structure, (*path, index), role, free=free)
    elif type(value) is dict:
        said, kind = value.get("role"), value.get("type")
        if not free and type(said) is str:
            role = _ROLES.get(said, role)
        elif not free and type(kind) is str:
            role = structure.kinds.get(kind, role)
        for key, item in value.items():
            # The name of a structural member says what its string is; an object under it is read all the same.
            if not free and type(item) is str and (key in structure.structural or _inline(key, item)):
                continue
            if not free and key == "data" and type(kind) is str and kind in structure.opaque:
                continue
            speaker = structure.speakers.get(key, role) if not path else role
            yield from _walk(item, structure, (*path, key), speaker, free=free or key in structure.free)


def _inline(key: str, item: str) -> bool:
    """Whether this is the data of an image or file, not text."""
    return key in ("url", "image_url", "file_data", "data") and item.startswith("data:")
