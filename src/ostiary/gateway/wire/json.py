"""Strict JSON: one pass decides what is a document; everything later reads the same bytes.

Refused, at any depth: bytes that are not UTF-8, a byte order mark, duplicate keys (the escaped spelling of a key
included), NaN and Infinity, lone surrogates, trailing bytes, nesting beyond `JSON_DEPTH_MAX`, a number literal
longer than `JSON_NUMBER_BYTES_MAX`, more than `JSON_KEYS_MAX` keys. A number too large for a float (1e999) is legal
JSON and accepted here; a field that is read as a number refuses it by name.

The parser keeps no text of a request beyond the request: only member names are interned.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeVar

import jiter
import msgspec

from ostiary.core.error import CallerError, Code, OstiaryError, UpstreamError
from ostiary.core.limit import JSON_DEPTH_MAX, JSON_KEYS_MAX, JSON_NUMBER_BYTES_MAX

T = TypeVar("T")

_POSITION: Final = re.compile(r" at line (\d+) column (\d+)$")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"{[")
_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
"""Translates every digit to 0 and every other byte to a space."""

# A literal beyond the bound has at most two signs, one point and one exponent mark, so its longest run of digits
# is at least this; a run this long covers three neighbours in a sample of every seventh byte.
_DIGIT_RUN: Final = (JSON_NUMBER_BYTES_MAX - 3 + 2) // 3
_SAMPLE_STEP: Final = _DIGIT_RUN // 3
_LONG_NUMBER: Final = re.compile(rb"[0-9+\-.eE]{%d,}" % (JSON_NUMBER_BYTES_MAX + 1))
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
# The shortest member is `"":0` and its comma; names must differ, so this many bytes are needed for too many keys.
_KEYS_BYTES_MIN: Final = 5 * JSON_KEYS_MAX

_CONTAINERS: Final = frozenset((dict, list))

_REASONS: Final = (
    ("Detected duplicate key", "duplicate key"),
    ("trailing characters", "bytes after the end of the document"),
    ("invalid unicode code point", "bytes that are not UTF-8"),
    ("lone leading surrogate", "a lone surrogate"),
    ("unexpected end of hex escape", "a lone surrogate or broken escape"),
    ("recursion limit exceeded", "nested too deep"),
    ("number out of range", "a number too long"),
    ("EOF", "the document ends early"),
    ("control character", "a control character inside a string"),
    ("invalid number", "an invalid number"),
    ("invalid escape", "an invalid escape"),
)

_RAW_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODER: Final = msgspec.json.Encoder()


class Document(msgspec.Struct, frozen=True):
    """A JSON object that passed the strict pass: its bytes and its decoded tree."""

    raw: bytes
    tree: dict[str, object]


def parse(body: bytes) -> Document:
    """The document in `body`. Raises CallerError request.malformed, naming the position where it is known."""
    try:
        tree = parse_value(body)
    except ValueError as exc:
        raise CallerError(Code.REQUEST_MALFORMED, f"The body is not strict JSON: {exc}.") from None
    if type(tree) is not dict:
        raise CallerError(Code.REQUEST_MALFORMED, "The body is not a JSON object.")
    return Document(body, tree)


def parse_answer(body: bytes) -> Document:
    """The same of an upstream's answer. Raises UpstreamError upstream.protocol."""
    try:
        tree = parse_value(body)
    except ValueError as exc:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, f"The provider's answer is not strict JSON: {exc}.") from None
    if type(tree) is not dict:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer is not a JSON object.")
    return Document(body, tree)


def parse_value(body: bytes) -> object:
    """Any JSON value. Raises ValueError whose text names the fault and its position, never the content."""
    try:
        value: object = jiter.from_json(body, allow_inf_nan=False, cache_mode="keys", catch_duplicate_keys=True)
    except ValueError as exc:
        raise ValueError(_reason(str(exc))) from None
    # Where the brackets, those inside strings counted too, are too few for the bound to be passed, it is not.
    if len(body.translate(None, _NO_BRACKETS)) > JSON_DEPTH_MAX and _deeper(value, JSON_DEPTH_MAX):
        raise ValueError(f"nested deeper than {JSON_DEPTH_MAX}")
    if b"000" in body[::_SAMPLE_STEP].translate(_DIGITS) and _long_number(body):
        raise ValueError(f"a number longer than {JSON_NUMBER_BYTES_MAX} bytes")
    if len(body) > _KEYS_BYTES_MIN and _keys(value) > JSON_KEYS_MAX:
        raise ValueError(f"more than {JSON_KEYS_MAX} keys")
    return value


def raw_members(source: Document | msgspec.Raw | bytes) -> dict[str, msgspec.Raw]:
    """The members of an object that passed the strict pass, each value as the bytes it was sent in."""
    return _RAW_MEMBERS.decode(source.raw if isinstance(source, Document) else source)


def raw_items(source: msgspec.Raw | bytes) -> list[msgspec.Raw]:
    """The items of an array that passed the strict pass, each as the bytes it was sent in."""
    return _RAW_ITEMS.decode(source)


def edit(document: Document, members: Mapping[str, bytes], without: Collection[str] = ()) -> bytes:
    """The document with `members` (raw JSON by name) replaced in place or appended, and the names in `without` left out.

    The bytes of every other member's value are unchanged; only the white space between members may differ.
    """
    raws = _RAW_MEMBERS.decode(document.raw)
    for name, value in members.items():
        raws[name] = msgspec.Raw(value)
    for name in without:
        raws.pop(name, None)
    return _ENCODER.encode(raws)


def splice(raw: msgspec.Raw | bytes, edits: Mapping[tuple[str | int, ...], bytes]) -> bytes:
    """The checked JSON `raw` with the values at the given paths replaced by other raw JSON.

    The bytes of every value that holds no edit are unchanged. Raises KeyError for a path that does not exist.
    """
    whole = edits.get(())
    if whole is not None:
        return whole
    below: dict[str | int, dict[tuple[str | int, ...], bytes]] = {}
    for path, value in edits.items():
        below.setdefault(path[0], {})[path[1:]] = value
    try:
        if isinstance(next(iter(below), None), str):
            members = _RAW_MEMBERS.decode(raw)
            for name, inner in below.items():
                members[name] = msgspec.Raw(splice(members[name], inner))  # type: ignore[index]  # a path into an object
            return _ENCODER.encode(members)
        items = _RAW_ITEMS.decode(raw)
        for index, inner in below.items():
            items[index] = msgspec.Raw(splice(items[index], inner))  # type: ignore[index]  # into an array
        return _ENCODER.encode(items)
    except (msgspec.ValidationError, IndexError, TypeError) as exc:
        raise KeyError("no such path") from exc


def encode(value: object) -> bytes:
    """Compact JSON of plain values and Structs; a `msgspec.Raw` inside stands as it is."""
    return _ENCODER.encode(value)


def decode_as(
    decoder: "msgspec.json.Decoder[T]", body: bytes | msgspec.Raw, error: type[OstiaryError], code: Code
) -> T:
    """`body` as the decoder's type. Raises `error` with `code`, naming the path of the member at fault."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        fault = str(exc) if isinstance(exc, msgspec.ValidationError) else "it is not JSON"
        raise error(code, f"The provider's answer has an unexpected form: {fault}.") from None


def _reason(text: str) -> str:
    """The parser's complaint without what it quotes from the body."""
    where = _POSITION.search(text)
    reason = next((ours for theirs, ours in _REASONS if text.startswith(theirs)), "unexpected byte")
    return f"{reason} at line {where[1]} column {where[2]}" if where else reason


def _deeper(value: object, depth_max: int) -> bool:
    """Whether containers are nested deeper than `depth_max`; level by level, so that nothing recurses."""
    level: list[Any] = [value] if type(value) in _CONTAINERS else []
    depth = 0
    while level:
        depth += 1
        if depth > depth_max:
            return True
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) in _CONTAINERS
        ]
    return False


def _long_number(body: bytes) -> bool:
    """Whether a number literal is longer than the bound; strings are taken out first."""
    if b"0" * _DIGIT_RUN not in body.translate(_DIGITS):
        return False
    return _LONG_NUMBER.search(_STRING.sub(b'""', body)) is not None


def _keys(value: object) -> int:
    """The number of members at all depths."""
    keys = 0
    pending = [value]
    while pending:
        item = pending.pop()
        if type(item) is dict:
            keys += len(item)
            pending += item.values()
        elif type(item) is list:
            pending += item
    return keys
