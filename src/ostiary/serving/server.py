"""A listening server: its connections, their count, and an orderly end."""

import asyncio
import contextlib
import socket
import ssl
from email.utils import formatdate
from typing import Final

from ostiary.core.limit import (
    BODIES_BYTES_MAX,
    CONNECTIONS_MAX,
    LARGE_BODY_BYTES_MIN,
    RESET_BYTES_MIN,
    UNSENT_BYTES_MAX,
)
from ostiary.core.port import Clock
from ostiary.gateway.ports import SHED
from ostiary.serving import Application, Peer
from ostiary.serving.connection import Connection
from ostiary.transport.writes import Writes

_FIRST: Final = asyncio.FIRST_COMPLETED


class Server:
    """Serves an application on bound sockets of one event loop.

    `start` begins to accept, `drain` ends it in order.
    """

    def __init__(
        self,
        application: Application,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self.application = application
        self.loop = loop
        self.writes = Writes(loop)
        self.draining = False
        self.busy = 0
        self.bytes_in = 0
        self.body_bytes = 0
        self.bodies_bytes_max = BODIES_BYTES_MAX
        self.rejected = 0
        self.stalled = 0
        self.date_line = b""
        self._clock = clock
        self._connections: set[Peer] = set()
        self._servers: list[asyncio.Server] = []
        self._date_timer: asyncio.TimerHandle | None = None
        self._quiet: asyncio.Future[None] | None = None
        self._connections_max = connections_max
        self._hurried = asyncio.Event()

    async def start(self, sockets: list[socket.socket], tls: ssl.SSLContext | None = None) -> None:
        """Accept on sockets that are bound already."""
        self._renew_date()
        for bound in sockets:
            # Connections inherit it. Without, the operating system takes megabytes for a client that does not read,
            # before this process hears of it: a thousand such clients would use up the machine's memory for TCP.
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
            self._servers.append(
                await self.loop.create_server(
                    lambda: Connection(self),
                    sock=bound,
                    ssl=tls,
                    backlog=2048,
                    ssl_handshake_timeout=None if tls is None else 10.0,
                )
            )

    def _renew_date(self) -> None:
        self.date_line = b"date: %b" % formatdate(self._clock.now_ns() / 1e9, usegmt=True).encode("ascii")
        self._date_timer = self.loop.call_later(1.0, self._renew_date)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def refuses(self, size: int) -> bool:
        """See Host. Where memory is scarce large bodies are refused alone: they are what takes it."""
        return size >= LARGE_BODY_BYTES_MIN or self.body_bytes > BODIES_BYTES_MAX

    def opened(self, connection: Peer) -> bool:
        """Count a new connection; False where it is one too many."""
        if len(self._connections) >= self._connections_max:
            return False
        self._connections.add(connection)
        return True

    def closed(self, connection: Peer) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if not self._connections and self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)

    def replaced(self, before: Peer, after: Peer) -> None:
        """A connection goes on as another protocol's."""
        self._connections.discard(before)
        self._connections.add(after)

    def shed(self, wanted_bytes: int) -> list[int]:
        """End the calls that hold most until what they hold is `wanted_bytes`, at least one; those that hold less than
        RESET_BYTES_MIN are not the reason and are let be. What each held."""
        dear = [(held, peer) for peer in self._connections if (held := peer.held_bytes) >= RESET_BYTES_MIN]
        dear.sort(key=lambda one: -one[0])
        ended: list[int] = []
        for held, peer in dear:
            if sum(ended) >= wanted_bytes:
                break
            peer.cancel(SHED)
            ended.append(held)
        return ended

    async def drain(self, seconds: float, notice_seconds: float = 0.0) -> None:
        """End in order. For `notice_seconds` connections are still accepted, so that a balancer can see that the
        readiness is gone; then nothing new is, requests have until `seconds` to finish, and what is left is
        cancelled, which lets the application end its streams properly."""
        self.draining = True
        if notice_seconds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(notice_seconds, seconds)):
                    await self._hurried.wait()
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            if connection.idle:
                connection.cancel()
        if not await self._all_closed(max(seconds - notice_seconds, 0.0), hurried=True):
            for connection in list(self._connections):
                connection.cancel()
            if not await self._all_closed(2.0):
                for connection in list(self._connections):
                    connection.abort()
                await self._all_closed(1.0)
        if self._date_timer is not None:
            self._date_timer.cancel()

    def hurry(self) -> None:
        """End the grace of a drain under way: what is still being answered is cancelled now."""
        self._hurried.set()

    async def _all_closed(self, seconds: float, *, hurried: bool = False) -> bool:
        if not self._connections:
            return True
        quiet = self._quiet = self.loop.create_future()
        over = self.loop.create_task(self._hurried.wait()) if hurried else None
        await asyncio.wait((quiet,) if over is None else (quiet, over), timeout=seconds, return_when=_FIRST)
        if over is not None:
            over.cancel()
        self._quiet = None
        return quiet.done()
