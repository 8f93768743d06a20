"""The CONNECT handshake with an HTTP proxy, on a bare socket before TLS begins."""

import asyncio
import base64
import socket
from typing import Final

from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Origin
from ostiary.core.secret import Secret

HEAD_BYTES_MAX: Final = 8 * 1024


def request(origin: Origin, credential: Secret | None) -> bytes:
    """The bytes that ask a proxy for a tunnel. `credential` is user:password."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    place = f"{host}:{origin.port}".encode("ascii")
    lines = [b"CONNECT %b HTTP/1.1" % place, b"host: %b" % place]
    if credential is not None:
        lines.append(b"proxy-authorization: Basic %b" % base64.b64encode(credential.reveal().encode()))
    return b"\r\n".join((*lines, b"", b""))


def refusal(head: bytes) -> str | None:
    """Why this answer to CONNECT gives no tunnel, or None where it does."""
    line = head.split(b"\r\n", 1)[0]
    version, _, rest = line.partition(b" ")
    status = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not status.isdigit() or rest[3:4] not in (b" ", b""):
        return "The proxy did not answer in HTTP."
    if status == b"407":
        return "The proxy refused its credential (407)."
    if not status.startswith(b"2"):
        return f"The proxy refused the connection ({status.decode()})."
    return None


async def tunnel(sock: socket.socket, origin: Origin, credential: Secret | None) -> None:
    """Make `sock`, connected to a proxy, a tunnel to `origin`.

    Raises UpstreamError upstream.unreachable where the proxy refuses, or sends a byte beyond its answer (it would
    be taken for the provider's). Raises OSError as the socket does. Bounded by the caller's timeout.
    """
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, request(origin, credential))
    head = bytearray()
    while (end := head.find(b"\r\n\r\n")) < 0:
        if len(head) > HEAD_BYTES_MAX:
            raise UpstreamError(Code.UPSTREAM_UNREACHABLE, "The proxy's answer is too long.")
        data = await loop.sock_recv(sock, 4096)
        if not data:
            raise UpstreamError(Code.UPSTREAM_UNREACHABLE, "The proxy closed the connection.")
        head += data
    refused = refusal(bytes(head))
    if refused is None and end + 4 != len(head):
        refused = "The proxy sent more than its answer."
    if refused is not None:
        raise UpstreamError(Code.UPSTREAM_UNREACHABLE, refused)
