"""Frames of RFC 6455, section 5: bytes in any pieces to messages, and messages to bytes. No I/O.

What breaks the protocol or a bound ends the reading: the last event is then a `Breach` with the code to close with.
Where the bytes are cut changes nothing: rules are applied in the order of the bytes, each as soon as it can be.
"""

from enum import IntEnum
from typing import Final

import msgspec

from ostiary.core.limit import WEBSOCKET_FRAGMENTS_MAX, WEBSOCKET_MESSAGE_BYTES_MAX

CONTROL_BYTES_MAX: Final = 125
"""The longest payload of a control frame (section 5.5)."""

_LENGTH_16: Final = 126
_LENGTH_64: Final = 127


class Opcode(IntEnum):
    """What a frame is (section 11.8)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(IntEnum):
    """Why a connection ends (section 7.4.1, and the registry it opened)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_CODE = 1005
    LOST = 1006
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014


_NEVER_SENT: Final = frozenset((1004, CloseCode.NO_CODE, CloseCode.LOST))


def sendable(code: int) -> bool:
    """Whether a code may stand in a close frame (section 7.4)."""
    return (1000 <= code <= 1014 and code not in _NEVER_SENT) or 3000 <= code <= 4999


class Text(msgspec.Struct, frozen=True):
    """A whole text message, valid UTF-8."""

    data: bytes


class Ping(msgspec.Struct, frozen=True):
    """To be answered by a pong with the same payload."""

    data: bytes


class Pong(msgspec.Struct, frozen=True):
    """The answer to a ping, or unasked."""

    data: bytes


class Close(msgspec.Struct, frozen=True):
    """The peer ends the connection; NO_CODE where it gave none. Nothing follows."""

    code: int
    reason: str


class Breach(msgspec.Struct, frozen=True):
    """The peer broke a rule; `code` and `reason` are for our close frame. Nothing follows."""

    code: CloseCode
    reason: str


Event = Text | Ping | Pong | Close | Breach


class _Head(msgspec.Struct, frozen=True):
    final: bool
    opcode: int
    size: int
    mask: bytes


class _BreachError(Exception):
    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.breach = Breach(code, reason)


class Reader:
    """Reads one side of a connection. `masked` says whether the peer must mask its frames (a client) or must not (a
    server). Holds at most one message up to WEBSOCKET_MESSAGE_BYTES_MAX, and what one read brought."""

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._buffer = bytearray()
        self._head: _Head | None = None
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._fragments = 0
        self._over = False

    @property
    def held(self) -> int:
        """Bytes kept for a message that is not whole yet."""
        return len(self._buffer) + self._parts_bytes

    def feed(self, data: bytes) -> list[Event]:
        """What `data` completes. After a Close or Breach nothing more comes."""
        if self._over:
            return []
        self._buffer += data
        events: list[Event] = []
        try:
            while (event := self._next()) is not None:
                if event:
                    events += event
                if events and isinstance(events[-1], Close):
                    self._end()
                    break
        except _BreachError as error:
            events.append(error.breach)
            self._end()
        return events

    def _end(self) -> None:
        self._over = True
        self._buffer.clear()
        self._parts = []
        self._parts_bytes = 0

    def _next(self) -> tuple[Event, ...] | None:
        """The events of one more frame, or None where its bytes are not all there."""
        head = self._head
        if head is None:
            head = self._head = self._read_head()
            if head is None:
                return None
        if len(self._buffer) < head.size:
            return None
        payload = bytes(memoryview(self._buffer)[: head.size])
        del self._buffer[: head.size]
        self._head = None
        if head.mask:
            payload = masked(payload, head.mask)
        if head.opcode >= Opcode.CLOSE:
            return (_control(head.opcode, payload),)
        return self._data(head, payload)

    def _read_head(self) -> _Head | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        opcode = first & 0x0F
        final = bool(first & 0x80)
        size = second & 0x7F
        self._check(first, opcode, final=final, size=size, is_masked=bool(second & 0x80))
        at = 2
        if size >= _LENGTH_16:
            width = 2 if size == _LENGTH_16 else 8
            at += width
            if len(buffer) < at:
                return None
            size = int.from_bytes(buffer[2:at], "big")
            if size < (_LENGTH_16 if width == 2 else 1 << 16):
                raise _BreachError(CloseCode.PROTOCOL_ERROR, "a length is not in its shortest form")
        if opcode < Opcode.CLOSE and self._parts_bytes + size > WEBSOCKET_MESSAGE_BYTES_MAX:
            raise _BreachError(CloseCode.TOO_BIG, f"a message is larger than {WEBSOCKET_MESSAGE_BYTES_MAX} bytes")
        mask = b""
        if self._masked:
            if len(buffer) < at + 4:
                return None
            mask = bytes(buffer[at : at + 4])
            at += 4
        del buffer[:at]
        return _Head(final, opcode, size, mask)

    def _check(self, first: int, opcode: int, *, final: bool, size: int, is_masked: bool) -> None:
        """What the first two bytes of a frame alone can break."""
        if first & 0x70:
            raise _BreachError(CloseCode.PROTOCOL_ERROR, "a reserved bit is set; no extension was agreed on")
        if opcode not in _OPCODES:
            raise _BreachError(CloseCode.PROTOCOL_ERROR, "a frame of an unknown kind")
        if is_masked is not self._masked:
            raise _BreachError(
                CloseCode.PROTOCOL_ERROR, "a client's frame is not masked" if self._masked else "a masked frame"
            )
        if opcode >= Opcode.CLOSE:
            if not final or size > CONTROL_BYTES_MAX:
                raise _BreachError(CloseCode.PROTOCOL_ERROR, "a control frame is fragmented or too long")
        elif opcode == Opcode.BINARY:
            raise _BreachError(CloseCode.UNSUPPORTED_DATA, "messages are text here")
        elif (opcode == Opcode.CONTINUATION) is not (self._fragments > 0):
            raise _BreachError(CloseCode.PROTOCOL_ERROR, "a fragment is out of place")

    def _data(self, head: _Head, payload: bytes) -> tuple[Event, ...]:
        if not head.final:
            self._fragments += 1
            if self._fragments > WEBSOCKET_FRAGMENTS_MAX:
                raise _BreachError(CloseCode.TOO_BIG, f"a message has more than {WEBSOCKET_FRAGMENTS_MAX} fragments")
            self._parts.append(payload)
            self._parts_bytes += len(payload)
            return ()
        if self._fragments:
            self._parts.append(payload)
            payload = b"".join(self._parts)
            self._parts = []
            self._parts_bytes = self._fragments = 0
        if not _is_utf8(payload):
            raise _BreachError(CloseCode.INVALID_DATA, "a text message is not UTF-8")
        return (Text(payload),)


_OPCODES: Final = frozenset(int(one) for one in Opcode)


def _control(opcode: int, payload: bytes) -> Event:
    if opcode == Opcode.PING:
        return Ping(payload)
    if opcode == Opcode.PONG:
        return Pong(payload)
    if not payload:
        return Close(CloseCode.NO_CODE, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not sendable(code):
        raise _BreachError(CloseCode.PROTOCOL_ERROR, "a close frame without a valid code")
    if not _is_utf8(payload[2:]):
        raise _BreachError(CloseCode.INVALID_DATA, "the reason of a close frame is not UTF-8")
    return Close(code, payload[2:].decode("utf-8"))


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def masked(data: bytes, key: bytes) -> bytes:
    """`data` masked, or unmasked, by a key of four bytes (section 5.3)."""
    size = len(data)
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


def frame(opcode: Opcode, payload: bytes, mask: bytes = b"") -> bytes:
    """One unfragmented frame; masked where a key is given, as a client's must be."""
    size = len(payload)
    flag = 0x80 if mask else 0
    if size < _LENGTH_16:
        head = bytes((0x80 | opcode, flag | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, flag | _LENGTH_16)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, flag | _LENGTH_64)) + size.to_bytes(8, "big")
    return head + mask + masked(payload, mask) if mask else head + payload


def close_payload(code: int, reason: str) -> bytes:
    """The payload of a close frame; the reason is cut to what fits, between characters."""
    if not sendable(code):
        return b""
    text = reason.encode("utf-8", "replace")[: CONTROL_BYTES_MAX - 2]
    return code.to_bytes(2, "big") + text.decode("utf-8", "ignore").encode("utf-8")
