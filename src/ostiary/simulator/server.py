"""A simulated provider on a socket, in this process. A test peer: small, not hardened, and it remembers everything."""

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Self, cast

import httptools

from ostiary.simulator.behaviour import Behaviour, Ending, Header, Plan, Received
from ostiary.simulator.provider import Provider, Script
from ostiary.simulator.realtime import Halt, Out, RealtimeSession
from ostiary.websocket.handshake import accept_value
from ostiary.websocket.link import Link

_WAIT_SECONDS: Final = 5.0
_REASONS: Final = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found", 429: b"Too Many Requests"}


class Recorded:
    """One request that came. `cancelled`: the client went away before the answer ended; `done`: it ended. Of a WebSocket
    the `events` that came, and the `code` it was ended with."""

    __slots__ = ("cancelled", "code", "connection", "done", "events", "request")

    def __init__(self, request: Received, connection: int) -> None:
        self.request = request
        self.connection = connection
        self.cancelled = False
        self.done = False
        self.events: list[bytes] = []
        self.code = 0


class SimulatedProvider:
    """`async with SimulatedProvider() as provider:` serves both dialects at 127.0.0.1:`provider.port`.

    `requests` lists what came, `connections` counts the connections ever made, `open_connections` those open. Tests
    wait with `until`. With `record=False` it forgets requests at once, for long runs.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        script: Script = (),
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        record: bool = True,
    ) -> None:
        self._provider = Provider(behaviour, script)
        self._tls = tls
        self._host = host
        self._server: asyncio.Server | None = None
        self._changed: asyncio.Event | None = None
        self._record = record
        self.port = port
        self.requests: list[Recorded] = []
        self.connections = 0
        self.open: set[_Peer] = set()

    @property
    def open_connections(self) -> int:
        """Connections open now."""
        return len(self.open)

    @property
    def then(self) -> Callable[..., None]:
        """Programme the next requests (`Provider.then`)."""
        return self._provider.then

    async def __aenter__(self) -> Self:
        """Start. `port` is known from here on."""
        loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._server = await loop.create_server(lambda: _Peer(self), self._host, self.port, ssl=self._tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the listener and every connection; returns when they are closed."""
        assert self._server is not None
        self._server.close()
        for peer in tuple(self.open):
            peer.abort()
        await self.until(lambda: not self.open)
        await self._server.wait_closed()

    async def until(self, holds: Callable[[], bool], seconds: float = _WAIT_SECONDS) -> None:
        """Return once `holds()`; TimeoutError if it does not in time. Looked at whenever something happens."""
        assert self._changed is not None
        async with asyncio.timeout(seconds):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def drop_idle(self) -> None:
        """Close every connection that is not answering, as providers do with kept-alive ones."""
        for peer in tuple(self.open):
            if not peer.busy:
                peer.close()

    # --- for its connections ------------------------------------------------------------------------------

    def plan(self, request: Received) -> Plan:
        """How to answer."""
        return self._provider.plan(request)

    def session(self, request: Received) -> RealtimeSession | Plan:
        """How to answer a request for a WebSocket."""
        return self._provider.session(request)

    def opened(self, peer: "_Peer") -> int:
        """A connection came; its number."""
        self.connections += 1
        self.open.add(peer)
        self.changed()
        return self.connections

    def recorded(self, request: Received, connection: int) -> Recorded:
        """A request came."""
        entry = Recorded(request, connection)
        if self._record:
            self.requests.append(entry)
        return entry

    def changed(self) -> None:
        """Something happened."""
        if self._changed is not None:
            self._changed.set()


class _Peer(asyncio.Protocol):
    """One connection: parses requests, answers them one after another in a task."""

    def __init__(self, provider: SimulatedProvider) -> None:
        self._provider = provider
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._path = b""
        self._headers: list[Header] = []
        self._body = bytearray()
        self._waiting: deque[Recorded] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._link: Link | None = None
        self.draining = False

    @property
    def busy(self) -> bool:
        """Whether an answer is under way."""
        return self._task is not None

    def close(self) -> None:
        """FIN."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drop."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._number = self._provider.opened(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        """asyncio: closed."""
        self._transport = None
        if self._task is not None:
            self._task.cancel()
        for entry in self._waiting:
            entry.cancelled = True
        self._provider.open.discard(self)
        self._provider.changed()

    def pause_writing(self) -> None:
        """asyncio: the client reads slower than we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """asyncio: it has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the message is complete; what is offered is looked at there
        except httptools.HttpParserError:
            self.abort()

    def on_message_begin(self) -> None:
        """httptools: a request begins."""
        self._path = b""
        self._headers = []
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        """httptools: a piece of the target."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a header."""
        self._headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        """httptools: a piece of the body."""
        self._body += data

    def on_message_complete(self) -> None:
        """httptools: the request is whole."""
        method = self._parser.get_method().decode()
        request = Received(method, self._path.decode("latin-1"), tuple(self._headers), bytes(self._body))
        self._waiting.append(self._provider.recorded(request, self._number))
        if self._task is None:
            self._task = self._loop.create_task(self._serve())
        self._provider.changed()

    async def _serve(self) -> None:
        try:
            while self._waiting and self._transport is not None:
                entry = self._waiting[0]
                if entry.request.header(b"upgrade").lower() == "websocket":
                    await self._open(entry, self._transport)
                    continue
                await self._play(self._provider.plan(entry.request), self._transport)
                entry.done = True
                self._waiting.popleft()
                self._provider.changed()
        finally:
            self._task = None

    # --- a WebSocket --------------------------------------------------------------------------------------

    async def _open(self, entry: Recorded, transport: asyncio.Transport) -> None:
        """Take the offer, and speak until one side has ended."""
        session = self._provider.session(entry.request)
        if isinstance(session, Plan):
            await self._play(session, transport)
            entry.done = True
            self._waiting.popleft()
            transport.close()
            return
        accept = accept_value(entry.request.header(b"sec-websocket-key").encode("latin-1"))
        head = (b"HTTP/1.1 101 Switching Protocols", b"upgrade: websocket", b"connection: Upgrade")
        transport.write(b"\r\n".join((*head, b"sec-websocket-accept: " + accept, b"", b"")))
        self._link = link = Link(self._loop, self)
        link.attach(transport)
        try:
            await self._say(link, session.opening())
            while (raw := await link.receive()) is not None:
                entry.events.append(raw)
                self._provider.changed()
                await self._say(link, session.receive(raw))
        finally:
            entry.done, entry.cancelled = True, link.gone
            entry.code = link.code
            link.close(1000)
            self._waiting.clear()
            self._provider.changed()

    async def _say(self, link: Link, out: Iterable[Out]) -> None:
        for one in out:
            if isinstance(one, Halt):
                if not one.silent:
                    link.abort()
                return
            await link.send(one)

    def came(self, size: int) -> None:
        """Link: bytes. Nobody counts them."""

    def holds(self, change: int) -> bool:
        """Link: nothing is bounded for all together."""
        del change
        return True

    def lost(self, _link: Link) -> None:
        """Link: closed."""
        self._link = None
        self._transport = None
        self._provider.open.discard(self)
        self._provider.changed()

    async def _play(self, plan: Plan, transport: asyncio.Transport) -> None:
        if plan.first_byte_seconds:
            await asyncio.sleep(plan.first_byte_seconds)
        if plan.status:
            reason = _REASONS.get(plan.status, b"Simulated")
            head = [b"HTTP/1.1 %d %b" % (plan.status, reason), *(b"%b: %b" % pair for pair in plan.headers)]
            if plan.streamed:
                transport.write(b"\r\n".join((*head, b"transfer-encoding: chunked", b"", b"")))
                for piece in plan.pieces:
                    await asyncio.sleep(piece.delay)
                    await self._writable.wait()
                    transport.write(b"%x\r\n%b\r\n" % (len(piece.data), piece.data))
            else:
                body = b"".join([piece.data for piece in plan.pieces])
                transport.write(b"\r\n".join((*head, b"content-length: %d" % len(body), b"", body)))
        match plan.ending:
            case Ending.COMPLETE if plan.streamed:
                transport.write(b"0\r\n\r\n")
            case Ending.CUT:
                transport.close()
            case Ending.RESET:
                reset(transport)
            case Ending.STALL:
                await self._loop.create_future()  # until the client goes


def reset(transport: asyncio.WriteTransport) -> None:
    """Close with RST instead of FIN: what is unsent is dropped and the peer sees an error."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
