"""The head of a request in bytes, and the refusal to write one that a header could split. Pure."""

import re
from collections.abc import Sequence
from typing import Final

from ostiary.core.error import Code, GatewayError
from ostiary.core.http import Header, Origin
from ostiary.websocket.handshake import VERSION

_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]{1,256}")
_METHOD: Final = re.compile(rb"[A-Z]{1,16}")
_TARGET: Final = re.compile(rb"/[!-~]{0,8191}")
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]{1,253}")
# What the client says itself; a second one would be ambiguous or break the framing.
_OWN: Final = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
        b"accept-encoding",
    }
)
_KNOWN_MAX: Final = 1_024
_HEADS_KEPT_MAX: Final = 64


def host_field(origin: Origin) -> bytes:
    """The value of `host` and of a CONNECT target without default port."""
    if _HOST.fullmatch(origin.host) is None:
        raise GatewayError(Code.GATEWAY_INTERNAL, "The provider's host name holds characters that are not allowed.")
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    default = 443 if origin.scheme == "https" else 80
    return (host if origin.port == default else f"{host}:{origin.port}").encode("ascii")


class HeadEncoder:
    """Writes request heads for one destination.

    Raises GatewayError gateway.internal, before a byte is written, where a method, target, name or value could
    change the framing: CR, LF, NUL, a name that is no lower-case token, or a header that is the client's own.
    """

    __slots__ = ("_heads", "_known", "_own", "_starts")

    def __init__(self, origin: Origin) -> None:
        self._own = b"host: %b\r\naccept-encoding: identity\r\n" % host_field(origin)
        self._known: set[bytes] = set()
        self._starts: dict[tuple[bytes, bytes], bytes] = {}
        self._heads: dict[tuple[bytes, bytes, tuple[Header, ...]], bytes] = {}

    def handshake(self, target: bytes, headers: Sequence[Header], key: bytes, protocols: Sequence[bytes]) -> bytes:
        """The head of a GET that offers a WebSocket (RFC 6455 section 4.1) without extensions; `key` is the nonce in
        Base64. Checked as `encode` checks."""
        own: list[Header] = [(b"sec-websocket-version", VERSION), (b"sec-websocket-key", key)]
        if protocols:
            own.append((b"sec-websocket-protocol", b", ".join(protocols)))
        head = self._head(b"GET", target, (*headers, *own))  # its nonce makes it one of a kind: nothing to keep
        return head + b"connection: Upgrade\r\nupgrade: websocket\r\n\r\n"

    def encode(self, method: bytes, target: bytes, headers: tuple[Header, ...], length: int) -> bytes:
        """The head with its empty line. `content-length` is sent with a body and with every POST."""
        key = method, target, headers
        head = self._heads.get(key)
        if head is None:
            head = self._head(method, target, headers)
            if len(self._heads) >= _HEADS_KEPT_MAX:
                self._heads.clear()  # of headers that differ each time none is worth keeping
            self._heads[key] = head
        if length or method == b"POST":
            return b"%bcontent-length: %d\r\n\r\n" % (head, length)
        return head + b"\r\n"

    def _head(self, method: bytes, target: bytes, headers: tuple[Header, ...]) -> bytes:
        """The lines of a head but for the last, checked."""
        start = self._starts.get((method, target))
        if start is None:
            start = self._start(method, target)
        known = self._known
        parts = [start]
        for name, value in headers:
            if name not in known:
                self._learn(name)
            parts += (name, b": ", value, b"\r\n")
        head = b"".join(parts)
        # The start was checked when it was learned and has three lines; every further CR or LF came in a value.
        lines = len(headers) + 3
        if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
            raise GatewayError(Code.GATEWAY_INTERNAL, "A header to the provider holds CR, LF or NUL.")
        return head

    def _start(self, method: bytes, target: bytes) -> bytes:
        if _METHOD.fullmatch(method) is None or _TARGET.fullmatch(target) is None:
            raise GatewayError(Code.GATEWAY_INTERNAL, "The method or path to the provider is not valid.")
        start = b"%b %b HTTP/1.1\r\n%b" % (method, target, self._own)
        if len(self._starts) < _KNOWN_MAX:
            self._starts[method, target] = start
        return start

    def _learn(self, name: bytes) -> None:
        if _NAME.fullmatch(name) is None:
            raise GatewayError(Code.GATEWAY_INTERNAL, "A header name to the provider is not a lower-case token.")
        if name in _OWN:
            raise GatewayError(
                Code.GATEWAY_INTERNAL, f"The header {name.decode()} to a provider is written by the client alone."
            )
        if len(self._known) < _KNOWN_MAX:
            self._known.add(name)
