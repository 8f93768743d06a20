"""The vocabulary of HTTP messages shared by the server, the gateway and the upstream client. Plain values."""

from collections.abc import Sequence
from typing import Final

import msgspec

Header = tuple[bytes, bytes]
"""A name in lower case and a value, both as they stand on the wire."""


class Origin(msgspec.Struct, frozen=True, cache_hash=True):
    """Where an HTTP request goes: scheme http or https, host, port."""

    scheme: str
    host: str
    port: int


JSON_TYPE: Final[Header] = (b"content-type", b"application/json")


class Accepted(msgspec.Struct, frozen=True):
    """A request whose head is taken: its body may come, up to `body_bytes_max`. `context` is the application's own
    value, handed back with the body."""

    body_bytes_max: int
    context: object


class RequestHead(msgspec.Struct, frozen=True):
    """The head of a request as it arrived. `path` is raw, `query` what follows the first "?"; `headers` by lower-case
    name, where a name that may repeat has its values joined. `peer` is the client's address, `at` the monotonic
    time of its first byte. `before` is what was made of the same head when it last came on this connection, if it did: the
    same but for its content-length."""

    method: str
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    peer: str
    at: float
    before: Accepted | None = None


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    headers: tuple[Header, ...]
    body: bytes


def header(headers: Sequence[Header], name: bytes) -> bytes | None:
    """The first value of `name` (lower case), or None."""
    for key, value in headers:
        if key == name:
            return value
    return None
