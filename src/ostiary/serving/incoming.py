"""A request being read: what its head said to the server, and its body as far as it has come."""

import msgspec

from ostiary.core.error import CallerError, Code, OstiaryError
from ostiary.core.http import Accepted, Answer


class ReadHead(msgspec.Struct, frozen=True):
    """A head in parts, checked. `length` is its content-length, -1 where it has none; `fields` how many lines of fields it
    had; `offered` says that it offers a WebSocket."""

    method: str
    url: bytes
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    length: int
    fields: int
    chunked: bool
    is_http_11: bool
    keep_alive: bool
    offered: bool


class Incoming:
    """The state of a request being read. `deadline` is loop time; with `linger` the client may still be sending when it
    is answered."""

    __slots__ = (
        "accepted",
        "body",
        "bytes",
        "chunks",
        "deadline",
        "is_http_11",
        "keep_alive",
        "linger",
        "refusal",
        "size_max",
    )

    def __init__(self) -> None:
        self.accepted: Accepted | None = None
        self.refusal: Answer | None = None
        self.body: list[bytes] = []
        self.bytes = 0
        self.chunks = 0
        self.size_max = 0
        self.deadline = 0.0
        self.keep_alive = True
        self.linger = False
        self.is_http_11 = True


class HeadRefusedError(OstiaryError):
    """Raised through llhttp to stop reading a body whose head was refused; never answered itself."""

    def __init__(self) -> None:
        super().__init__(Code.REQUEST_INVALID, "the head was refused")


def too_large(bytes_max: int) -> CallerError:
    """The refusal of a body beyond `bytes_max`."""
    return CallerError(Code.REQUEST_TOO_LARGE, f"The body is larger than the {bytes_max} bytes accepted here.")
