"""Vectors of an answer in their two forms: a JSON list of numbers, and base64 of little-endian single floats, which
OpenAI's SDKs ask for unless told otherwise (`encoding_format` of its embeddings API)."""

import base64
import binascii
import struct
from typing import Final

import msgspec

from ostiary.core.error import Code, UpstreamError
from ostiary.gateway.wire.json import encode

_NUMBERS: Final = msgspec.json.Decoder(list[float])
_FLOAT_BYTES: Final = 4


def packed(vector: bytes) -> bytes:
    """A vector, raw JSON of either form, as base64. Raises UpstreamError upstream.protocol for what is no vector."""
    if vector[:1] == b'"':
        return vector
    try:
        numbers = _NUMBERS.decode(vector)
        return b'"' + base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)) + b'"'
    except (msgspec.DecodeError, OverflowError):
        raise _no_vector() from None


def listed(vector: bytes) -> bytes:
    """A vector, raw JSON of either form, as a list; a list keeps its bytes. Raises as `packed` does."""
    if vector[:1] != b'"':
        return vector
    try:
        numbers = base64.b64decode(vector[1:-1], validate=True)
        return encode(struct.unpack(f"<{len(numbers) // _FLOAT_BYTES}f", numbers))
    except (binascii.Error, struct.error):
        raise _no_vector() from None


def _no_vector() -> UpstreamError:
    return UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has a vector that is none.")
