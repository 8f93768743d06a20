"""Making a connection: name → address → socket → proxy → TLS → Connection, all within one deadline."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import TypeVar

from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Origin
from ostiary.core.secret import Secret
from ostiary.net import address, proxy, tls
from ostiary.net.resolver import Resolver
from ostiary.snapshot.tables import TlsRow

_TLS_SHUTDOWN_SECONDS = 1.0

P = TypeVar("P", bound=asyncio.Protocol)

ProxyCredential = Callable[[Origin], Secret | None]
"""The user:password for a proxy, or None."""


def interleaved(addresses: Sequence[str]) -> list[str]:
    """The addresses with families taking turns, the resolver's first choice first: one dead family costs one try."""
    first = [text for text in addresses if (":" in text) == (":" in addresses[0])]
    second = [text for text in addresses if (":" in text) != (":" in addresses[0])]
    mixed: list[str] = []
    for place in range(max(len(first), len(second))):
        mixed += first[place : place + 1] + second[place : place + 1]
    return mixed


class Dialer:
    """Makes connections for one client."""

    __slots__ = ("_contexts", "_credential", "_resolver")

    def __init__(self, resolver: Resolver, contexts: tls.TlsContexts, credential: ProxyCredential) -> None:
        self._resolver = resolver
        self._contexts = contexts
        self._credential = credential

    async def dial(
        self, origin: Origin, row: TlsRow, via: Origin | None, make: Callable[[socket.socket], P], until: float
    ) -> P:
        """A new connection to `origin`, idle: the protocol that `make` gives for its socket. `until` is loop time.

        Raises UpstreamError upstream.timeout at `until`, upstream.unreachable, upstream.tls. Whatever is raised,
        also by cancellation, no socket stays open.
        """
        try:
            async with asyncio.timeout_at(until):
                return await self._dial(origin, row, via, make, until)
        except TimeoutError as error:
            raise UpstreamError(
                Code.UPSTREAM_TIMEOUT, "No connection to the provider could be made in time."
            ) from error

    async def _dial(
        self, origin: Origin, row: TlsRow, via: Origin | None, make: Callable[[socket.socket], P], until: float
    ) -> P:
        context = await self._contexts.get(row) if origin.scheme == "https" else None
        if via is not None:
            self._check_proxied(origin, via)
        place = origin if via is None else via
        addresses = interleaved(await self._resolver.resolve(place.host, place.port))
        sock = await _connect(addresses, place.port, until)
        try:
            if via is not None:
                await proxy.tunnel(sock, origin, self._credential(via))
        except OSError as error:
            sock.close()
            raise UpstreamError(Code.UPSTREAM_UNREACHABLE, f"The proxy failed: {_reason(error)}.") from error
        except BaseException:
            sock.close()
            raise
        return await _secured(sock, origin, context, make(sock), until)

    def _check_proxied(self, origin: Origin, via: Origin) -> None:
        """The proxy resolves the name, so only a literal can be vetted here."""
        if via.scheme != "http":
            raise UpstreamError(Code.UPSTREAM_UNREACHABLE, "The proxy must be an http:// address.")
        literal = address.parse(origin.host)
        refused = address.vet(literal) if literal is not None else None
        if refused is not None:
            raise UpstreamError(Code.UPSTREAM_UNREACHABLE, f"The provider's address is refused: {refused}.")


async def _connect(addresses: Sequence[str], port: int, until: float) -> socket.socket:
    """A connected socket. Tries the addresses in order; each but the last gets its share of the time left, so that
    a black hole in front does not use up the deadline."""
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for place, text in enumerate(addresses):
        now = loop.time()
        share = now + (until - now) / (len(addresses) - place)
        sock = socket.socket(socket.AF_INET6 if ":" in text else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            async with asyncio.timeout_at(share):
                await loop.sock_connect(sock, (text, port))
        except OSError as error:  # a TimeoutError is one
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    if isinstance(failure, TimeoutError):
        raise failure
    raise UpstreamError(Code.UPSTREAM_UNREACHABLE, f"The provider could not be reached: {_reason(failure)}.")


async def _secured(
    sock: socket.socket, origin: Origin, context: ssl.SSLContext | None, connection: P, until: float
) -> P:
    """The connection on `sock`, after TLS if there is a context. From here on the transport owns the socket."""
    loop = asyncio.get_running_loop()
    try:
        if context is None:
            await loop.create_connection(lambda: connection, sock=sock)
        else:
            await loop.create_connection(
                lambda: connection,
                sock=sock,
                ssl=context,
                server_hostname=origin.host,
                # The deadline of the whole ends it first; this one only must not be shorter.
                ssl_handshake_timeout=max(until - loop.time(), 0.0) + 1.0,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS,
            )
    except (ssl.SSLError, ssl.CertificateError) as error:
        raise tls.failure(error) from error
    except OSError as error:
        if isinstance(error, TimeoutError) and not isinstance(error, ConnectionError):
            raise
        if context is None:
            raise UpstreamError(
                Code.UPSTREAM_UNREACHABLE, f"The provider could not be reached: {_reason(error)}."
            ) from error
        raise UpstreamError(
            Code.UPSTREAM_TLS, f"The provider closed the connection during the TLS handshake: {_reason(error)}."
        ) from error
    return connection


def _reason(error: OSError | None) -> str:
    """A short text without addresses: asyncio writes them into `strerror`."""
    if error is None:
        return "no address"
    return os.strerror(error.errno).lower() if error.errno else "connection lost"
