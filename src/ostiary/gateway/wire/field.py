"""Reading a caller's fields: one place that checks types and ranges and names the path at fault.

A `Fields` remembers what was read; `rest` hands over what nobody knows, so that no field disappears silently.
"""

import math
from typing import NoReturn

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import (
    MAX_TOKENS_MAX,
    MODEL_NAME_BYTES_MAX,
    STOP_SEQUENCES_MAX,
    TOOL_SCHEMA_BYTES_MAX,
    TOOLS_MAX,
)
from ostiary.gateway.wire.json import Document, encode, raw_items, raw_members


def invalid(param: str, message: str) -> NoReturn:
    """Raise CallerError request.invalid for the field at `param`."""
    raise CallerError(Code.REQUEST_INVALID, f"`{param}` {message}.", param=param)


def beyond(param: str, bound: int, unit: str) -> NoReturn:
    """Raise CallerError request.limit for the field at `param`."""
    raise CallerError(Code.REQUEST_LIMIT, f"`{param}` is beyond the bound of {bound} {unit}.", param=param)


def unsupported(param: str, message: str) -> NoReturn:
    """Raise CallerError request.unsupported for the field at `param`."""
    raise CallerError(Code.REQUEST_UNSUPPORTED, f"`{param}` {message}.", param=param)


class Fields:
    """The members of one object of a request, read one by one; null is the same as absent."""

    __slots__ = ("_left", "path", "tree")

    def __init__(self, tree: object, path: str) -> None:
        if type(tree) is not dict:
            invalid(path, "must be an object")
        self.tree: dict[str, object] = tree
        self.path = path
        self._left = dict(self.tree)

    def at(self, key: str) -> str:
        """The path of member `key`."""
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str) -> object:
        """The member's value, unchecked; None where it is absent."""
        return self._left.pop(key, None)

    def maybe_text(self, key: str) -> str | None:
        value = self._left.pop(key, None)
        if value is not None and type(value) is not str:
            invalid(self.at(key), "must be a string")
        return value

    def text(self, key: str) -> str:
        value = self._left.pop(key, None)
        if type(value) is not str:
            invalid(self.at(key), "must be a string")
        return value

    def flag(self, key: str) -> bool | None:
        value = self._left.pop(key, None)
        if value is not None and type(value) is not bool:
            invalid(self.at(key), "must be true or false")
        return value

    def integer(self, key: str, minimum: int, maximum: int | None = None) -> int | None:
        value = self._left.pop(key, None)
        return None if value is None else whole_number(value, self.at(key), minimum, maximum)

    def number(self, key: str, minimum: float, maximum: float) -> float | None:
        value = self._left.pop(key, None)
        if value is None:
            return None
        if (type(value) is not float and type(value) is not int) or not math.isfinite(value):
            invalid(self.at(key), "must be a number")
        if not minimum <= value <= maximum:
            invalid(self.at(key), f"must be from {minimum:g} to {maximum:g}")
        return float(value)

    def items(self, key: str) -> list[object] | None:
        value = self._left.pop(key, None)
        if value is not None and type(value) is not list:
            invalid(self.at(key), "must be an array")
        return value

    def members(self, key: str) -> "Fields | None":
        value = self._left.pop(key, None)
        return None if value is None else Fields(value, self.at(key))

    def rest(self, extensions: dict[str, bytes]) -> None:
        """Hand over, by path, every member that is set and that nobody took."""
        for key, value in self._left.items():
            if value is not None:
                extensions[self.at(key)] = encode(value)


def whole_number(value: object, path: str, minimum: int, maximum: int | None) -> int:
    """`value` as an integer within its range: no boolean, no string, no float."""
    if type(value) is not int:
        invalid(path, "must be an integer")
    if value < minimum:
        invalid(path, f"must be at least {minimum}")
    if maximum is not None and value > maximum:
        beyond(path, maximum, "")
    return value


def model_name(tree: dict[str, object]) -> str:
    """The request's `model`."""
    model = tree.get("model")
    if type(model) is not str or not model:
        invalid("model", "must be a string that is not empty")
    if len(model) > MODEL_NAME_BYTES_MAX or (not model.isascii() and len(model.encode()) > MODEL_NAME_BYTES_MAX):
        beyond("model", MODEL_NAME_BYTES_MAX, "bytes")
    return model


def token_bound(tree: dict[str, object], key: str, minimum: int) -> int | None:
    """The request's bound on output tokens, under its name `key`."""
    value = tree.get(key)
    if value is None or (type(value) is int and minimum <= value <= MAX_TOKENS_MAX):
        return value
    return whole_number(value, key, minimum, MAX_TOKENS_MAX)


def stop_sequences(value: object, path: str) -> tuple[str, ...]:
    """Up to STOP_SEQUENCES_MAX strings."""
    if value is None:
        return ()
    if type(value) is not list:
        invalid(path, "must be an array of strings")
    if len(value) > STOP_SEQUENCES_MAX:
        beyond(path, STOP_SEQUENCES_MAX, "items")
    for index, item in enumerate(value):
        if type(item) is not str:
            invalid(f"{path}[{index}]", "must be a string")
    return tuple(value)


def tool_count(document: Document, tools: object, path: str = "tools") -> int:
    """The number of tools, after checking it and the size of each as sent."""
    if tools is None:
        return 0
    if type(tools) is not list:
        invalid(path, "must be an array")
    if len(tools) > TOOLS_MAX:
        beyond(path, TOOLS_MAX, "items")
    if len(document.raw) > TOOL_SCHEMA_BYTES_MAX:
        for index, raw in enumerate(raw_items(raw_members(document)[path])):
            if len(bytes(raw)) > TOOL_SCHEMA_BYTES_MAX:
                beyond(f"{path}[{index}]", TOOL_SCHEMA_BYTES_MAX, "bytes")
    return len(tools)


def is_pdf(holder: object) -> bool:
    """Whether a file part in one of OpenAI's forms certainly is a PDF, by its data URL or its name."""
    if type(holder) is not dict:
        return False
    data, name = holder.get("file_data"), holder.get("filename")
    if type(data) is str and data.startswith("data:"):
        return data.startswith("data:application/pdf")
    return type(name) is str and name.lower().endswith(".pdf")
