"""Forms of fields and files (multipart/form-data, RFC 7578 and 2046), strictly: what two parsers could read
differently is refused.

Refused: a preamble or an epilogue, white space behind a boundary, a boundary inside a value, a missing final boundary, folded or repeated headers, bare CR or LF in them, `filename*`, transfer encodings, and parts
that are multipart themselves. The values are never copied: a part says where its bytes stand.
"""

import re
from typing import Final, NoReturn

import msgspec

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import (
    MULTIPART_BOUNDARY_CHARS_MAX,
    MULTIPART_HEADER_BYTES_MAX,
    MULTIPART_NAME_BYTES_MAX,
    MULTIPART_PARTS_MAX,
)
from ostiary.gateway.wire.field import beyond, invalid

MEDIA_TYPE: Final = b"multipart/form-data"
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_BOUNDARY: Final = re.compile(
    rb"[0-9A-Za-z'()+_,\-./:=? ]{0,%d}[0-9A-Za-z'()+_,\-./:=?]" % (MULTIPART_BOUNDARY_CHARS_MAX - 1)
)
_PLAIN: Final = re.compile(_TOKEN)
_PARAMETER: Final = re.compile(rb"[ \t]*;[ \t]*(" + _TOKEN + rb")=(?:(" + _TOKEN + rb')|"((?:[^"\\]|\\.)*)")')
_HEADER: Final = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_IDENTITY: Final = (b"7bit", b"8bit", b"binary")


class Part(msgspec.Struct, frozen=True):
    """One part: its name, its file name where it is a file, and the span of its value in the body."""

    name: str
    filename: bytes | None
    charset: bytes
    start: int
    end: int


class Form(msgspec.Struct, frozen=True):
    """A form that passed: its bytes, its boundary, and its parts in order."""

    raw: bytes
    boundary: bytes
    parts: tuple[Part, ...]

    @property
    def media_type(self) -> bytes:
        """The content type that goes with these bytes."""
        plain = _PLAIN.fullmatch(self.boundary) is not None
        return MEDIA_TYPE + b"; boundary=" + (self.boundary if plain else b'"' + self.boundary + b'"')

    def find(self, name: str) -> Part | None:
        """The one part of this name. Raises CallerError request.malformed where there are several."""
        found = [part for part in self.parts if part.name == name]
        if len(found) > 1:
            raise CallerError(Code.REQUEST_MALFORMED, f"`{name}` is sent more than once.", param=name)
        return found[0] if found else None

    def text(self, name: str, bytes_max: int) -> str | None:
        """The one field of this name as text. Raises CallerError where there are several, where it is a file, is longer
        than `bytes_max` or is not UTF-8."""
        part = self.find(name)
        if part is None:
            return None
        if part.filename is not None:
            invalid(name, "must be a field, not a file")
        if part.end - part.start > bytes_max:
            beyond(name, bytes_max, "bytes")
        if part.charset not in (b"", b"utf-8"):
            invalid(name, "must be UTF-8")
        try:
            return self.raw[part.start : part.end].decode("utf-8")
        except UnicodeDecodeError:
            invalid(name, "must be UTF-8")

    def size(self, *names: str) -> int:
        """How many bytes the values of all parts of these names take."""
        return sum(part.end - part.start for part in self.parts if part.name in names)

    def count(self, *names: str) -> int:
        """How many parts have one of these names."""
        return sum(part.name in names for part in self.parts)

    def edit(self, name: str, value: bytes) -> bytes:
        """The body with the value of the one field `name` replaced; every other byte stays. Raises CallerError where
        the value holds the boundary, which its caller chose."""
        part = self.find(name)
        if part is None:
            raise KeyError(name)
        if b"--" + self.boundary in value:
            _malformed("the boundary stands in a value")
        return self.raw[: part.start] + value + self.raw[part.end :]


def parse(body: bytes, content_type: bytes) -> Form:
    """The form in `body`. Raises CallerError request.malformed or request.limit."""
    boundary = _boundary(content_type)
    opening = b"--" + boundary
    if not body.startswith(opening):
        _malformed("it does not begin with the boundary that its content type names")
    parts: list[Part] = []
    position = len(opening)
    while body[position : position + 2] != b"--":
        if body[position : position + 2] != b"\r\n":
            _malformed("a line begins with the boundary and goes on")
        if len(parts) == MULTIPART_PARTS_MAX:
            raise CallerError(Code.REQUEST_LIMIT, f"The form has more than {MULTIPART_PARTS_MAX} parts.")
        start = body.find(b"\r\n\r\n", position, position + MULTIPART_HEADER_BYTES_MAX + 4)
        if start < 0:
            _malformed(f"the headers of a part do not end within {MULTIPART_HEADER_BYTES_MAX} bytes")
        head = body[position + 2 : start]
        start += 4
        found = body.find(opening, start)
        if found < 0:
            _malformed("its final boundary is missing")
        end = found - 2
        if end < start or body[end:found] != b"\r\n":
            _malformed("the boundary stands in a value")
        parts.append(_part(head, start, end))
        position = found + len(opening)
    if body[position + 2 :] not in (b"", b"\r\n"):
        _malformed("there are bytes behind its final boundary")
    return Form(body, boundary, tuple(parts))


def _boundary(content_type: bytes) -> bytes:
    kind, _, _ = content_type.partition(b";")
    parameters = _parameters(content_type[len(kind) :])
    if kind.strip().lower() != MEDIA_TYPE or parameters is None or b"boundary" not in parameters:
        _malformed("its content type names no boundary")
    boundary = parameters[b"boundary"]
    if _BOUNDARY.fullmatch(boundary) is None:
        _malformed(f"its boundary is not one of 1 to {MULTIPART_BOUNDARY_CHARS_MAX} characters of RFC 2046")
    return boundary


def _part(head: bytes, start: int, end: int) -> Part:
    headers: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        found = _HEADER.fullmatch(line)
        if found is None:
            _malformed("a part has a header of no known form")
        name = found[1].lower()
        if name in headers:
            _malformed("a part has a header twice")
        headers[name] = found[2]
    disposition = headers.get(b"content-disposition", b"")
    kind, _, _ = disposition.partition(b";")
    parameters = _parameters(disposition[len(kind) :])
    if kind.strip().lower() != b"form-data" or parameters is None or b"name" not in parameters:
        _malformed("a part has no name")
    if b"filename*" in parameters or b"name*" in parameters:
        _malformed("a part has its name in the form that RFC 7578 forbids")
    if headers.get(b"content-transfer-encoding", b"binary").lower() not in _IDENTITY:
        _malformed("a part has a transfer encoding")
    media_type, _, _ = headers.get(b"content-type", b"").partition(b";")
    if media_type.strip().lower().startswith(b"multipart/"):
        _malformed("a part is a form itself")
    charset = (_parameters(headers.get(b"content-type", b"")[len(media_type) :]) or {}).get(b"charset", b"")
    return Part(_name(parameters[b"name"]), parameters.get(b"filename"), charset.lower(), start, end)


def _name(raw: bytes) -> str:
    if not raw or b"\\" in raw or len(raw) > MULTIPART_NAME_BYTES_MAX:
        _malformed("a part has a name that is empty, too long or escaped")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        _malformed("a part has a name that is not UTF-8")


def _parameters(text: bytes) -> dict[bytes, bytes] | None:
    """The parameters of a header's value, quotes taken off and escapes left in; None for what is no list of them or
    holds one twice."""
    found: dict[bytes, bytes] = {}
    position = 0
    text = text.rstrip(b" \t")
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None or match[1].lower() in found:
            return None
        found[match[1].lower()] = match[2] if match[2] is not None else match[3]
        position = match.end()
    return found


def _malformed(why: str) -> NoReturn:
    raise CallerError(Code.REQUEST_MALFORMED, f"The body is not a strict multipart form: {why}.")
