"""The opening handshake of RFC 6455, section 4: what both ends compute and check. Pure."""

import base64
import binascii
import hashlib
from typing import Final

VERSION: Final = b"13"

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_value(key: bytes) -> bytes:
    """What a server answers to a client's `sec-websocket-key` (section 4.2.2)."""
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest)


def valid_key(key: bytes) -> bool:
    """Whether a `sec-websocket-key` is the Base64 of 16 bytes (section 4.2.1)."""
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def tokens(value: bytes) -> tuple[bytes, ...]:
    """The members of a comma-separated header, in lower case."""
    return tuple(one for one in (part.strip().lower() for part in value.split(b",")) if one)
