"""The vocabulary of HTTP messages shared by the server, the gateway and the upstream client. Plain values."""

from collections.abc import Sequence
from typing import Final

import msgspec

Header = tuple[bytes, bytes]
"""A name in lower case and a value, both as they stand on the wire."""


class Origin(msgspec.Struct, frozen=True):
    """Where an HTTP request goes: scheme http or https, host, port."""

    scheme: str
    host: str
    port: int


JSON_TYPE: Final[Header] = (b"content-type", b"application/json")


def header(headers: Sequence[Header], name: bytes) -> bytes | None:
    """The first value of `name` (lower case), or None."""
    for key, value in headers:
        if key == name:
            return value
    return None
