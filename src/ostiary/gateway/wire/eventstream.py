"""Messages of `application/vnd.amazon.eventstream`, in any slices, without I/O and in linear time.

The format (AWS General Reference, "Amazon event stream encoding"; smithy.io, "Amazon Event Stream Specification"): a
prelude of total length and headers' length with a CRC-32 of its own, headers, payload, and a CRC-32 of everything
before it; all numbers big-endian. Both checksums are checked: bytes that fail one are no message, and where the next
one would begin is not known, so that the stream ends there.
"""

import struct
import zlib
from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import EVENTSTREAM_HEADERS_BYTES_MAX, EVENTSTREAM_MESSAGE_BYTES_MAX

HeaderValue = bool | int | bytes | str
"""What a header holds: a flag, an integer (a timestamp in milliseconds), bytes (a UUID's too), or text."""

_PRELUDE_BYTES: Final = 12
_CRC_BYTES: Final = 4
_MESSAGE_BYTES_MIN: Final = _PRELUDE_BYTES + _CRC_BYTES
_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct(">H")
# Types of header values by their number: 0 and 1 are the two flags, 6 bytes and 7 text with a length before them.
_NUMBERS: Final = {2: struct.Struct(">b"), 3: struct.Struct(">h"), 4: struct.Struct(">i"), 5: struct.Struct(">q")}
_TIMESTAMP: Final = 8
_UUID: Final = 9
_UUID_BYTES: Final = 16


class EventMessage(msgspec.Struct, frozen=True, gc=False):
    """One message: `raw` is all of it, so that joining the raws gives the stream back."""

    raw: bytes
    headers: dict[str, HeaderValue]
    payload: bytes

    def text(self, name: str) -> str:
        """A header's text; empty where it is absent or no text."""
        value = self.headers.get(name)
        return value if type(value) is str else ""


class EventStreamParser:
    """`feed` bytes, take messages. `rest` is what came after the last whole one."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def rest(self) -> bytes:
        """What came after the last whole message."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> list[EventMessage]:
        """The messages completed by `data`.

        Raises UpstreamError: upstream.too_large for a message beyond the bounds of core/limit.py, as soon as its
        length is known; upstream.protocol for a checksum that does not match or headers that cannot be read. Messages
        completed before the fault are given first; the fault is raised by the next call.
        """
        buffer = self._buffer
        buffer += data
        messages: list[EventMessage] = []
        start = 0
        size = len(buffer)
        try:
            while size - start >= _PRELUDE_BYTES:
                total, headers_length = _prelude(buffer, start)
                if size - start < total:
                    break
                messages.append(_message(bytes(buffer[start : start + total]), headers_length))
                start += total
        except UpstreamError:
            if not messages:
                raise
        del buffer[:start]
        return messages


def _prelude(buffer: bytearray, start: int) -> tuple[int, int]:
    total, headers_length, crc = _PRELUDE.unpack_from(buffer, start)
    if zlib.crc32(buffer[start : start + _PRELUDE_BYTES - _CRC_BYTES]) != crc:
        raise _broken("a message whose prelude fails its checksum")
    if total > EVENTSTREAM_MESSAGE_BYTES_MAX or headers_length > EVENTSTREAM_HEADERS_BYTES_MAX:
        raise UpstreamError(Code.UPSTREAM_TOO_LARGE, "An event of the provider's stream is too large.")
    if total < _MESSAGE_BYTES_MIN + headers_length:
        raise _broken("a message shorter than its own headers")
    return total, headers_length


def _message(raw: bytes, headers_length: int) -> EventMessage:
    (crc,) = _CRC.unpack_from(raw, len(raw) - _CRC_BYTES)
    if zlib.crc32(memoryview(raw)[:-_CRC_BYTES]) != crc:
        raise _broken("a message that fails its checksum")
    end = _PRELUDE_BYTES + headers_length
    return EventMessage(raw, _headers(raw, end), raw[end:-_CRC_BYTES])


def _headers(raw: bytes, end: int) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    at = _PRELUDE_BYTES
    while at < end:
        name_end = at + 1 + raw[at]
        name = _text(raw, at + 1, name_end, end - 1)
        if not name or name in headers:
            raise _broken("a message with a header that has no name, or one twice")
        headers[name], at = _value(raw, name_end, end)
    return headers


def _value(raw: bytes, at: int, end: int) -> tuple[HeaderValue, int]:
    """The value whose type stands at `at`, and where the next header begins."""
    kind = raw[at]
    at += 1
    if kind in (0, 1):
        return kind == 0, at
    number = _NUMBERS[5] if kind == _TIMESTAMP else _NUMBERS.get(kind)
    if number is not None:
        if at + number.size > end:
            raise _broken("a message whose headers end early")
        value: int = number.unpack_from(raw, at)[0]
        return value, at + number.size
    if kind == _UUID:
        if at + _UUID_BYTES > end:
            raise _broken("a message whose headers end early")
        return raw[at : at + _UUID_BYTES], at + _UUID_BYTES
    if kind not in (6, 7):
        raise _broken("a message with a header of an unknown type")
    if at + _LENGTH.size > end:
        raise _broken("a message whose headers end early")
    (length,) = _LENGTH.unpack_from(raw, at)
    at += _LENGTH.size
    if kind == 7:
        return _text(raw, at, at + length, end), at + length
    if at + length > end:
        raise _broken("a message whose headers end early")
    return raw[at : at + length], at + length


def _text(raw: bytes, start: int, stop: int, end: int) -> str:
    if stop > end:
        raise _broken("a message whose headers end early")
    try:
        return raw[start:stop].decode()
    except UnicodeDecodeError:
        raise _broken("a message whose headers are not UTF-8") from None


def _broken(what: str) -> UpstreamError:
    return UpstreamError(Code.UPSTREAM_PROTOCOL, f"The provider's stream has {what}.")
