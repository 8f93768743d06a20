"""Google's own schemas as JSON Schema.

`parameters` and `responseSchema` are in a form of Google's made from OpenAPI's (ai.google.dev/api/caching#Schema):
types in capitals or as the numbers of their names, `nullable`, the order of members beside them, counts as strings.
What already reads the same in both is kept as the bytes it came in.
"""

from collections.abc import Mapping
from typing import Final

from ostiary.gateway.dialect.gemini.members import camel
from ostiary.gateway.wire.json import encode

_COUNTS: Final = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_UNSPECIFIED: Final = "type_unspecified"
_TYPES: Final = (_UNSPECIFIED, "string", "number", "integer", "boolean", "array", "object", "null")
"""By their numbers in the proto file, which JSON may give instead of the names
(https://protobuf.dev/programming-guides/json/#enums); Google's generated clients do."""


def json_schema(tree: Mapping[str, object], raw: bytes) -> bytes:
    """The schema in `raw`, whose tree is `tree`, as JSON Schema."""
    schema = _schema(tree)
    return raw if schema == tree and list(schema) == list(tree) else encode(schema)


def _schema(tree: Mapping[str, object]) -> dict[str, object]:
    schema: dict[str, object] = {}
    ordering: object = None
    nullable = False
    for key, value in tree.items():
        name = camel(key)
        if name == "propertyOrdering":
            ordering = value
        elif name == "nullable":
            nullable = value is True
        elif name == "type" and (kind := _type(value)):
            if kind != _UNSPECIFIED:
                schema["type"] = kind
        elif name == "properties" and type(value) is dict:
            schema["properties"] = {inner: _below(item) for inner, item in value.items()}
        elif name in ("items", "additionalProperties"):
            schema[name] = _below(value)
        elif name == "anyOf" and type(value) is list:
            schema["anyOf"] = [_below(item) for item in value]
        elif name == "example":
            schema["examples"] = [value]
        elif name in _COUNTS and type(value) is str and value.isdecimal():
            schema[name] = int(value)
        else:
            schema[name] = value
    properties = schema.get("properties")
    if type(ordering) is list and type(properties) is dict:
        first = {name: properties[name] for name in ordering if type(name) is str and name in properties}
        schema["properties"] = first | properties
    return _or_null(schema) if nullable else schema


def _type(value: object) -> str:
    """The name of a type, empty for what is none."""
    if type(value) is str:
        return value.lower()
    return _TYPES[value] if type(value) is int and 0 <= value < len(_TYPES) else ""


def _below(value: object) -> object:
    return _schema(value) if type(value) is dict else value


def _or_null(schema: dict[str, object]) -> dict[str, object]:
    """The schema, with null allowed too."""
    kind, choices, values = schema.get("type"), schema.get("anyOf"), schema.get("enum")
    more: dict[str, object] = {}
    if type(kind) is str:
        more["type"] = [kind, "null"]
    if type(choices) is list:
        more["anyOf"] = [*choices, {"type": "null"}]
    if type(values) is list:
        more["enum"] = [*values, None]
    return schema | more
