"""What a request's head must be beyond llhttp's own strictness, and the head of an answer. Pure.

`transfer-encoding` is exactly `chunked` and only in HTTP/1.1, a body never comes compressed, HTTP/1.1 has exactly one
`host`, the target is a path (RFC 9112 sections 3.2 and 6.1). An offer to upgrade is a WebSocket's, complete, on a GET
without a body (RFC 6455 section 4.2.1), or it is ignored where that can be done, or refused.
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

import httptools

from ostiary.core.error import CallerError, Code
from ostiary.core.http import Header
from ostiary.core.limit import REFUSED_BODY_BYTES_MAX
from ostiary.serving.incoming import ReadHead
from ostiary.websocket.handshake import VERSION, tokens, valid_key

SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"idempotency-key",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"transfer-encoding",
        b"upgrade",
        b"x-api-key",
        b"x-goog-api-key",
        b"x-ostiary-cache-similarity",
        b"x-ostiary-cache-tags",
        b"x-ostiary-drop-unsupported",
        b"x-ostiary-metadata",
        b"x-ostiary-sensitivity",
        b"x-ostiary-session",
    }
)
"""Headers that may stand in a head once."""

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s" % (status.value, status.phrase.encode("ascii")) for status in HTTPStatus
}
_METHODS: Final = {b"POST": "POST", b"GET": "GET"}
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_UPGRADE: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_WEBSOCKET: Final = re.compile(rb"GET .*\r\nupgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE | re.DOTALL)


def read_head(parser: httptools.HttpRequestParser, url: bytes, headers: dict[bytes, bytes], fields: int) -> ReadHead:
    """The head whose end the parser has come to. Raises CallerError for what is not accepted."""
    method, version = parser.get_method(), parser.get_http_version()
    offered = check_head(method, url, headers, version)
    path, _, query = url.partition(b"?")
    return ReadHead(
        _METHODS.get(method) or method.decode("ascii"),
        url,
        path,
        query,
        headers,
        int(headers.get(b"content-length", -1)),
        fields,
        b"transfer-encoding" in headers,
        version == "1.1",
        bool(parser.should_keep_alive()) and not offered,
        offered,
    )


def check_head(method: bytes, url: bytes, headers: Mapping[bytes, bytes], version: str) -> bool:
    """Whether the request offers a WebSocket. Raises CallerError for what is not accepted."""
    offered = b"upgrade" in headers and _offers_websocket(method, headers, version)
    if version not in ("1.1", "1.0"):
        raise CallerError(Code.REQUEST_MALFORMED, "Only HTTP/1.1 is spoken here.", status=505)
    host = headers.get(b"host")
    if (host is None and version == "1.1") or (host is not None and _HOST.fullmatch(host) is None):
        raise CallerError(Code.REQUEST_MALFORMED, "The host header is missing or not a host.")
    if not url.startswith(b"/") or b"#" in url or b"\\" in url:
        raise CallerError(Code.REQUEST_MALFORMED, "The request's target must be a path.")
    coding = headers.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or version != "1.1"):
        raise CallerError(Code.REQUEST_MALFORMED, "The only transfer encoding accepted is chunked, in HTTP/1.1.")
    if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
        raise CallerError(Code.REQUEST_MEDIA_TYPE, "Compressed request bodies are not accepted; send it plain.")
    return offered


def _offers_websocket(method: bytes, headers: Mapping[bytes, bytes], version: str) -> bool:
    """True, or CallerError: llhttp reads nothing behind an offer, so it cannot be passed over here any more."""
    if headers[b"upgrade"].lower() != b"websocket" or method != b"GET" or version != "1.1":
        raise CallerError(
            Code.REQUEST_MALFORMED, "No upgrade but that of a GET in HTTP/1.1 to WebSocket is offered here."
        )
    if b"upgrade" not in tokens(headers.get(b"connection", b"")):
        raise CallerError(Code.REQUEST_MALFORMED, "An upgrade needs `connection: Upgrade`.")
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0" or b"expect" in headers:
        raise CallerError(Code.REQUEST_MALFORMED, "A request that offers a WebSocket has no body.")
    if headers.get(b"sec-websocket-version") != VERSION:
        raise CallerError(Code.REQUEST_UPGRADE, "The version of WebSocket spoken here is 13.")
    if not valid_key(headers.get(b"sec-websocket-key", b"")):
        raise CallerError(Code.REQUEST_MALFORMED, "sec-websocket-key must be 16 bytes in Base64.")
    return True


def without_upgrade(data: bytes) -> bytes:
    """The head in `data` without its offer to upgrade, which a server may ignore (RFC 9110 section 7.8) and which
    common clients make with every request in clear; that of a WebSocket stays. llhttp would stop reading after it."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or _WEBSOCKET.match(data, 0, end + 2):
        return data
    return _UPGRADE.sub(b"\r\nx-ignored-upgrade:", data[:end]) + data[end:]


def comes_soon(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body is short and on its way: cheaper to throw away than the connection."""
    length = int(headers.get(b"content-length") or REFUSED_BODY_BYTES_MAX + 1)
    return length <= REFUSED_BODY_BYTES_MAX and b"expect" not in headers


def answer_bytes(
    status: int, headers: Iterable[Header], date_line: bytes, framing: bytes = b"", body: bytes = b"", *, keep: bool
) -> bytes:
    """The head of an answer and as much of its body as there is. `framing` is the line that tells the body's length, where
    one does; `keep` says that the connection goes on."""
    lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown" % status, date_line, *map(b": ".join, headers)]
    if not keep:
        lines.append(b"connection: close")
    if framing:
        lines.append(framing)
    lines += (b"", body)
    return b"\r\n".join(lines)
