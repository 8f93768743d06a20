"""What simulated models say: words, arguments and token counts, always the same for the same seed and request. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

OPENING: Final = "This is a simulated answer."
_FILLER: Final = (
    "no model was asked and nothing here is knowledge the words only fill a page so that clients can be tried "
    "with streams counts and errors of the usual kind while neither key nor network nor money is needed"
)
_WORDS: Final = tuple(_FILLER.split(" "))

_PARTS_MAX: Final = 5_000


class Source:
    """A stream of choices that depends on nothing but what it was made from."""

    __slots__ = ("_count", "_seed")

    def __init__(self, seed: int, *parts: bytes) -> None:
        digest = hashlib.blake2b(seed.to_bytes(8, "big", signed=True), digest_size=16)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        self._seed = digest.digest()
        self._count = 0

    def below(self, bound: int) -> int:
        """The next number in [0, bound)."""
        self._count += 1
        digest = hashlib.blake2b(self._seed + self._count.to_bytes(8, "big"), digest_size=8)
        return int.from_bytes(digest.digest(), "big") % bound

    def name(self, prefix: str, length: int = 24) -> str:
        """An identifier in the vendors' manner."""
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        return prefix + "".join(letters[self.below(len(letters))] for _ in range(length))


def tokens(source: Source, count: int, text: str = "") -> list[str]:
    """The pieces of a text: `text` itself, or the opening and then words, `count` pieces in all (0: some)."""
    words = (text or OPENING).split(" ")
    if not text:
        count = count or 12 + source.below(12)
        words += [_WORDS[source.below(len(_WORDS))] for _ in range(count - len(words))]
    elif count:
        words = words[:count]
    return [word if place == 0 else " " + word for place, word in enumerate(words)]


def measure(value: Any) -> int:
    """A plausible number of tokens for any part of a request: four characters each."""
    match value:
        case str():
            return (len(value) + 3) // 4
        case list():
            return sum(measure(item) for item in value)
        case dict():
            return 1 + sum(measure(item) for item in value.values())
        case _:
            return 1


def sample(schema: Any, source: Source) -> Any:
    """A value that fits a JSON schema as far as it uses the usual words, references within it among them; a schema
    that refers to itself in many places is followed only so far."""
    return _sample(schema, source, schema, 0, [_PARTS_MAX])


def _sample(schema: Any, source: Source, root: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if not isinstance(schema, Mapping) or depth > 16 or left[0] < 0:
        return "simulated"
    if isinstance(schema.get("$ref"), str):
        return _sample(_referred(schema["$ref"], root), source, root, depth + 1, left)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][source.below(len(schema["enum"]))]
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return _sample(schema[name][0], source, root, depth + 1, left)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "null"
    match kind:
        case "object":
            fields = schema.get("properties", {})
            return {name: _sample(field, source, root, depth + 1, left) for name, field in fields.items()}
        case "array":
            items, count = schema.get("items", {}), min(max(1, schema.get("minItems", 1)), _PARTS_MAX)
            return [_sample(items, source, root, depth + 1, left) for _ in range(count)]
        case "integer" | "number":
            return max(schema.get("minimum", 0), source.below(100)) if "maximum" not in schema else schema["maximum"]
        case "boolean":
            return bool(source.below(2))
        case "null":
            return None
        case _:
            return "simulated"


def _referred(reference: str, root: Any) -> Any:
    """What `#/a/b` means in `root`; None where that is nothing."""
    head, *names = reference.split("/")
    found = root if head == "#" else None
    for name in names:
        found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found


def text_of(content: Any) -> str:
    """The text in a message's content, whether a text or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""
