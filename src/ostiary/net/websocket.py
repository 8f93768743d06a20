"""A WebSocket to an upstream: dialled like any connection, opened by RFC 6455's handshake, never pooled.

What the handshake must be (section 4.1): status 101, `upgrade: websocket`, `connection: Upgrade`, the accept value of our
key, no extension, and no subprotocol but one that was offered. Any other status is the provider's answer, read whole up
to UPSTREAM_ERROR_BYTES_MAX.
"""

import asyncio
import base64
import socket
from collections.abc import Callable, Sequence
from typing import Final, cast

import httptools

from ostiary.core.error import Code, GatewayError, UpstreamError
from ostiary.core.http import Answer, Header, header
from ostiary.core.limit import UPSTREAM_ERROR_BYTES_MAX, UPSTREAM_HEADER_BYTES_MAX, UPSTREAM_HEADER_COUNT_MAX
from ostiary.gateway.ports import Channel, UpstreamRequest
from ostiary.net.dial import Dialer
from ostiary.net.head import HeadEncoder
from ostiary.websocket.handshake import accept_value, tokens
from ostiary.websocket.link import Link

_KEY_BYTES: Final = 16
_MASK_BYTES: Final = 4


class Places:
    """How many WebSockets are open, bounded, and which: implements Owner of each. `draining` is false: what ends is told
    on the client's side."""

    draining = False

    def __init__(self, links_max: int) -> None:
        self._links_max = links_max
        self._taken = 0
        self._links: set[Link] = set()

    def take(self) -> None:
        """Take a place for one being opened. Raises GatewayError gateway.overloaded."""
        if self._taken >= self._links_max:
            raise GatewayError(
                Code.GATEWAY_OVERLOADED, "All connections to the provider are in use.", retry_after_seconds=1.0
            )
        self._taken += 1

    def give(self) -> None:
        """Give back the place of one that was not opened."""
        self._taken -= 1

    def opened(self, link: Link) -> None:
        """The place is that of an open link, until it is lost."""
        self._links.add(link)

    def abort(self) -> None:
        """Drop all that are open."""
        for link in tuple(self._links):
            link.abort()

    # --- Owner --------------------------------------------------------------------------------------------

    def came(self, size: int) -> None:
        """Nobody counts what providers send."""

    def holds(self, change: int) -> bool:
        """Each link's own bounds are enough: nobody outside opens links."""
        del change
        return True

    def lost(self, link: Link) -> None:
        """The connection is closed."""
        self._links.discard(link)
        self._taken -= 1


async def opened(
    dialer: Dialer,
    places: Places,
    request: UpstreamRequest,
    protocols: Sequence[bytes],
    *,
    entropy: Callable[[int], bytes],
    deadline: float,
) -> Channel | Answer:
    """See ports.Upstream.connect; `deadline` is loop time. Whatever is raised, no socket stays open."""
    loop = asyncio.get_running_loop()
    key = base64.b64encode(entropy(_KEY_BYTES))
    head = HeadEncoder(request.origin).handshake(request.target, request.headers, key, protocols)
    timeouts = request.timeouts
    places.take()
    link = Link(loop, places, lambda: entropy(_MASK_BYTES))
    answer: Answer | None = None
    try:
        dialled = await dialer.dial(
            request.origin,
            request.tls,
            request.proxy,
            lambda sock: _Handshake(loop, sock, link, accept_value(key), protocols),
            min(loop.time() + timeouts.connect_seconds, deadline),
        )
        try:
            async with asyncio.timeout_at(min(loop.time() + timeouts.first_byte_seconds, deadline)):
                answer = await dialled.shake(head)
        except TimeoutError as error:
            dialled.abort()
            raise UpstreamError(Code.UPSTREAM_TIMEOUT, "The provider did not begin to answer in time.") from error
        except BaseException:
            dialled.abort()
            raise
    except BaseException:
        places.give()
        raise
    if answer is not None:
        places.give()
        return answer
    places.opened(link)
    dialled.hand_over()
    return link


class _Handshake(asyncio.Protocol):
    """From the request to its answer; then the transport is the link's, or closed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        link: Link,
        accept: bytes,
        protocols: Sequence[bytes],
    ) -> None:
        del sock
        self._link = link
        self._accept = accept
        self._protocols = protocols
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[Answer | None] = loop.create_future()
        self._asked = False
        self._headers: list[Header] = []
        self._body: list[bytes] = []
        self._bytes = 0
        self._status = 0
        self._rest = b""
        self._until_eof = False

    async def shake(self, head: bytes) -> Answer | None:
        """Send the request; None once the upgrade was taken, else the answer. Raises UpstreamError."""
        if self._transport is not None:
            self._asked = True
            self._transport.write(head)
        return await self._done

    def hand_over(self) -> None:
        """Give the transport to the link, with the bytes that came behind the handshake."""
        transport, self._transport = self._transport, None
        if transport is None or transport.is_closing():
            self._link.connection_lost(None)
        else:
            self._link.attach(transport, self._rest)
            transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()
        if self._done.done() and not self._done.cancelled():
            self._done.exception()  # nobody asks any more

    # --- asyncio's side -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop once, after TLS."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Called by the loop once, at the end, unless the link has taken over."""
        self._transport = None
        self._fail(UpstreamError(Code.UPSTREAM_CUT, "The provider closed the connection without an answer."))

    def eof_received(self) -> bool:
        """Called by the loop at FIN, the end of a body without another."""
        if self._until_eof:
            self._finish(Answer(self._status, tuple(self._headers), b"".join(self._body)))
        return False

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what one read brought."""
        if not self._asked or self._done.done():
            self._break("The provider speaks before it was asked.")
            return
        self._bytes += len(data)
        if self._bytes > UPSTREAM_HEADER_BYTES_MAX + UPSTREAM_ERROR_BYTES_MAX:
            self._break("The provider's answer to a handshake is too long.")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            if not self._done.done():
                self._taken(data[pause.args[0] :])
        except httptools.HttpParserError as error:
            self._break(f"The provider's answer is not valid HTTP ({str(error)[:80]}).")

    # --- the parser's side --------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers.append((name.lower(), value.strip(b" \t")))
        if len(self._headers) > UPSTREAM_HEADER_COUNT_MAX:
            self._break("The provider sends too many headers.")

    def on_headers_complete(self) -> None:
        """The end of a head."""
        self._status = self._parser.get_status_code()
        framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in self._headers)
        self._until_eof = self._status >= 200 and not framed and self._status not in (204, 304)

    def on_body(self, data: bytes) -> None:
        """A piece of an answer's body."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The end of an answer; an interim one is passed over."""
        if self._status >= 200:
            self._finish(Answer(self._status, tuple(self._headers), b"".join(self._body)))
        elif self._status != 101:
            self._headers = []

    # --- ends ---------------------------------------------------------------------------------------------

    def _taken(self, rest: bytes) -> None:
        """The answer says 101: is it one to our handshake?"""
        headers = self._headers
        named = [value for name, value in headers if name == b"sec-websocket-protocol"]
        if self._status != 101 or (header(headers, b"upgrade") or b"").lower() != b"websocket":
            self._break("The provider switched to a protocol that was not asked for.")
        elif b"upgrade" not in tokens(header(headers, b"connection") or b""):
            self._break("The provider's answer to a handshake lacks `connection: Upgrade`.")
        elif [value for name, value in headers if name == b"sec-websocket-accept"] != [self._accept]:
            self._break("The provider's answer to a handshake does not belong to it.")
        elif (
            header(headers, b"sec-websocket-extensions")
            or len(named) > 1
            or any(one not in self._protocols for one in named)
        ):
            self._break("The provider agreed to an extension or subprotocol that was not offered.")
        else:
            self._rest = rest
            if self._transport is not None:
                self._transport.pause_reading()  # until the link has it
            self._done.set_result(None)

    def _finish(self, answer: Answer) -> None:
        if not self._done.done():
            self._done.set_result(answer)
        if self._transport is not None:
            self._transport.close()

    def _break(self, message: str) -> None:
        self._fail(UpstreamError(Code.UPSTREAM_PROTOCOL, message))
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: UpstreamError) -> None:
        if not self._done.done():
            self._done.set_exception(error)
