"""Reading the members of Google's messages, which may be spelled in two ways.

Google's JSON is proto3's: each member may be written in camelCase or as the proto file has it, in snake_case, and a
whole number as 40 or 40.0 (https://protobuf.dev/programming-guides/json/). Below members that hold the caller's own
JSON (arguments, responses, schemas) names are the caller's and stay as they are.
"""

from collections.abc import Mapping

from ostiary.gateway.wire.field import Fields, invalid


def member(tree: Mapping[str, object], name: str, snake: str) -> object:
    """The member under either spelling; None where it is absent."""
    value = tree.get(name)
    return tree.get(snake) if value is None else value


def camel(name: str) -> str:
    """The camelCase spelling of a member."""
    if "_" not in name or name.startswith("_"):
        return name
    head, *words = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in words)


class Members(Fields):
    """Fields that are asked for in camelCase and named in the caller's spelling."""

    __slots__ = ("_spelled",)

    def __init__(self, tree: object, path: str) -> None:
        super().__init__(tree, path)
        self._spelled: dict[str, str] = {}
        if any("_" in key for key in self.tree):
            read: dict[str, object] = {}
            for key, value in self.tree.items():
                name = camel(key)
                if name in read:
                    invalid(self.at(key), "is given twice, in two spellings")
                read[name] = value
                if name != key:
                    self._spelled[name] = key
            self.tree = read
            self._left = dict(read)

    def at(self, key: str) -> str:
        return super().at(self._spelled.get(key, key))

    def spelled(self, key: str) -> str:
        """The member's name as the caller wrote it."""
        return self._spelled.get(key, key)

    def integer(self, key: str, minimum: int, maximum: int | None = None) -> int | None:
        value = self._left.get(key)
        if type(value) is float and value.is_integer():
            self._left[key] = int(value)
        return super().integer(key, minimum, maximum)

    def members(self, key: str) -> "Members | None":
        value = self._left.pop(key, None)
        return None if value is None else Members(value, self.at(key))
