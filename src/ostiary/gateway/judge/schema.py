"""Whether a JSON value fits a JSON Schema: the keywords that providers of structured output take, and no more. Pure.

Read: type, enum, const, properties, required, additionalProperties, items, anyOf, oneOf, allOf, $ref within the schema,
minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, minItems, maxItems, minLength, maxLength. What else a schema
holds (`pattern`, `format`) is not looked at: a pattern of a caller's would need an engine that cannot be made to run for
ever. A value is refused for what certainly does not fit, never for a keyword that nobody here knows.
"""

from collections.abc import Mapping
from decimal import Decimal, DecimalException
from typing import Final

from ostiary.core.limit import SCHEMA_DEPTH_MAX

_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
    "number": (int, float),
    "integer": (int,),
}


class TooMuch(Exception):  # noqa: N818 - what happened, not what is wrong
    """More would have to be looked at than a bound allows."""


def misfit(schema: object, value: object, steps: int) -> str | None:
    """Where and why a value does not fit, without a word of the value itself; None where it fits. Raises TooMuch where that
    cannot be said within so many comparisons and SCHEMA_DEPTH_MAX levels."""
    return _Reading(schema, steps).misfit(schema, value, "$", 0)


class _Reading:
    """One comparison: what is left of the bound on its steps, and where references point into."""

    def __init__(self, root: object, steps: int) -> None:
        self._root = root
        self._steps = steps

    def misfit(self, schema: object, value: object, place: str, depth: int) -> str | None:
        self._step(1)
        if depth > SCHEMA_DEPTH_MAX:
            raise TooMuch
        if schema is False:
            return f"{place} is not allowed"
        if type(schema) is not dict:
            return None
        reference = schema.get("$ref")
        if type(reference) is str:
            found = self.misfit(self._target(reference), value, place, depth + 1)
            if found is not None:
                return found
        found = self._kind(schema, value, place) or self._bounds(schema, value, place)
        if found is None and type(value) is dict:
            found = self._members(schema, value, place, depth)
        if found is None and type(value) is list and "items" in schema:
            items = schema["items"]
            for i, one in enumerate(value):
                found = self.misfit(items, one, f"{place}[{i}]", depth + 1)
                if found is not None:
                    return found
        return found or self._choices(schema, value, place, depth)

    def _kind(self, schema: dict[str, object], value: object, place: str) -> str | None:
        wanted = schema.get("type")
        if type(wanted) is str:
            wanted = [wanted]
        if type(wanted) is list and all(one in _KINDS for one in wanted if type(one) is str):
            self._step(len(wanted))
            if not any(_is(value, one) for one in wanted if type(one) is str):
                return f"{place} is not of the type {' or '.join(map(str, wanted))}"
        allowed = schema.get("enum")
        if type(allowed) is list and not any(self._same(one, value) for one in allowed):
            return f"{place} is none of the values of `enum`"
        if "const" in schema and not self._same(schema["const"], value):
            return f"{place} is not the value of `const`"
        return None

    def _bounds(self, schema: dict[str, object], value: object, place: str) -> str | None:
        if isinstance(value, str | list):
            least, most = ("minLength", "maxLength") if isinstance(value, str) else ("minItems", "maxItems")
            for name, sign in ((least, 1), (most, -1)):
                bound = schema.get(name)
                if type(bound) is int and sign * len(value) < sign * bound:
                    return f"{place} breaks `{name}`"
        if isinstance(value, int | float) and not _is(value, "boolean"):
            for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"):
                number = schema.get(name)
                if isinstance(number, int | float) and not _is(number, "boolean") and not _within(name, value, number):
                    return f"{place} breaks `{name}`"
        return None

    def _members(self, schema: dict[str, object], value: dict[str, object], place: str, depth: int) -> str | None:
        required = schema.get("required")
        for name in required if type(required) is list else ():
            self._step(1)
            if type(name) is str and name not in value:
                return f"{place} lacks `{name}`"
        properties = schema.get("properties")
        known = properties if type(properties) is dict else {}
        others = schema.get("additionalProperties", True)
        if "patternProperties" in schema:
            others = True  # which of the others those are is not looked at
        for name, one in value.items():
            self._step(1)
            if name in known:
                found = self.misfit(known[name], one, f"{place}.{name}", depth + 1)
            elif others is False:
                return f"{place} has a member that the schema does not name"
            else:
                found = None if others is True else self.misfit(others, one, f"{place}.*", depth + 1)
            if found is not None:
                return found
        return None

    def _choices(self, schema: dict[str, object], value: object, place: str, depth: int) -> str | None:
        every = schema.get("allOf")
        for one in every if type(every) is list else ():
            found = self.misfit(one, value, place, depth + 1)
            if found is not None:
                return found
        for name, most in (("anyOf", None), ("oneOf", 1)):
            choices = schema.get(name)
            if type(choices) is not list:
                continue
            fitting = 0
            for one in choices:
                fitting += self.misfit(one, value, place, depth + 1) is None
                if fitting and most is None:
                    break
            if not fitting:
                return f"{place} fits none of `{name}`"
            if most is not None and fitting > most:
                return f"{place} fits more than one of `{name}`"
        return None

    def _target(self, reference: str) -> object:
        """What a reference points to; what is not there, or elsewhere, asks for nothing."""
        if not reference.startswith("#"):
            return True
        found = self._root
        for part in reference[1:].split("/")[1:]:
            self._step(1)
            name = part.replace("~1", "/").replace("~0", "~")
            if type(found) is dict and name in found:
                found = found[name]
            elif type(found) is list and name.isdecimal() and len(name) < 6 and int(name) < len(found):
                found = found[int(name)]
            else:
                return True
        return found

    def _same(self, one: object, other: object) -> bool:
        """Equal as JSON values: true is not 1, 1.0 is 1."""
        self._step(1)
        if type(one) is bool or type(other) is bool:
            return one is other
        if isinstance(one, dict) and isinstance(other, dict):
            return one.keys() == other.keys() and all(self._same(one[name], other[name]) for name in one)
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(map(self._same, one, other))
        return one == other

    def _step(self, count: int) -> None:
        self._steps -= count
        if self._steps < 0:
            raise TooMuch


def _is(value: object, kind: str) -> bool:
    if type(value) is bool:
        return kind == "boolean"
    if kind == "integer" and type(value) is float:
        return value.is_integer()
    return isinstance(value, _KINDS[kind])


def _within(name: str, value: float, bound: float) -> bool:
    match name:
        case "minimum":
            return value >= bound
        case "maximum":
            return value <= bound
        case "exclusiveMinimum":
            return value > bound
        case "exclusiveMaximum":
            return value < bound
    try:  # as they are written: 0.3 is three times 0.1
        return bound <= 0 or Decimal(str(value)) % Decimal(str(bound)) == 0
    except DecimalException:
        return True  # too large to say
