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


class Incoming(msgspec.Struct, eq=False):
    """The state of a request being read, `accepted` or with a `refusal`; `size` is that of `body` so far. `deadline` is
    loop time; with `linger` the client may still be sending when it is answered."""

    keep_alive: bool
    is_http_11: bool = True
    accepted: Accepted | None = None
    refusal: Answer | None = None
    body: list[bytes] = []
    size: int = 0
    deadline: float = 0.0
    linger: bool = False


class HeadRefusedError(OstiaryError):
    """Raised through llhttp to stop reading a body whose head was refused; never answered itself."""

    def __init__(self) -> None:
        super().__init__(Code.REQUEST_INVALID, "the head was refused")


def not_http(error: Exception) -> CallerError:
    """The refusal of what the parser took for no request, in its words."""
    return CallerError(Code.REQUEST_MALFORMED, f"The request is not valid HTTP/1.1: {str(error).rstrip('.')[:80]}.")


def too_many_ahead() -> CallerError:
    """The refusal of a request beyond PIPELINED_REQUESTS_MAX."""
    return CallerError(Code.REQUEST_LIMIT, "Too many requests were sent ahead of their answers.", status=429)


def too_large(bytes_max: int) -> CallerError:
    """The refusal of a body beyond `bytes_max`."""
    return CallerError(Code.REQUEST_TOO_LARGE, f"The body is larger than the {bytes_max} bytes accepted here.")
