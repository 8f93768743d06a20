"""The upstream client: one request, one connection, at most one repetition.

    take a kept-alive connection, else wait for a place and dial (connect phase)
    write the request, wait for the head                        (first-byte phase)
    hand the reply over; its reader drives the rest              (idle phase, total deadline)

A request is repeated only if a kept-alive connection was closed before any byte of the answer came, once, on a new
connection. Redirects are not followed, bodies are not decompressed, cookies are not kept.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from ostiary.core import limit
from ostiary.core.error import Code, GatewayError, UpstreamError
from ostiary.core.http import Answer, Origin
from ostiary.core.port import Clock
from ostiary.core.secret import Secret
from ostiary.gateway.ports import Channel, UpstreamRequest
from ostiary.net import address
from ostiary.net.connection import Connection
from ostiary.net.dial import Dialer, ProxyCredential
from ostiary.net.head import HeadEncoder
from ostiary.net.pool import Pool
from ostiary.net.reply import Reply
from ostiary.net.resolver import Lookup, Resolver, Vet, system_lookup
from ostiary.net.tls import TlsContexts
from ostiary.net.websocket import Places, opened
from ostiary.snapshot.tables import TlsRow
from ostiary.transport.writes import Writes

_Key = tuple[Origin, TlsRow, Origin | None]
_CLOSE_SECONDS: Final = 2.0


def _anonymous(_: Origin) -> Secret | None:
    """No proxy needs a credential."""
    return None


def _unreported(_: str) -> None:
    """Nobody listens to problems."""


class HttpUpstream:
    """Implements ports.Upstream over sockets. Belongs to one event loop; one per process is enough.

    `lookup` resolves names (blocking, called in a thread), `proxy_credential` gives user:password for a proxy,
    `report` is told one sentence where a changed TLS file could not be loaded, `vet` says which addresses are refused,
    `entropy` gives so many bytes nobody can foresee: for what WebSockets are masked with.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        lookup: Lookup = system_lookup,
        proxy_credential: ProxyCredential = _anonymous,
        report: Callable[[str], None] = _unreported,
        vet: Vet = address.vet,
        connections_per_destination_max: int = limit.CONNECTIONS_PER_DESTINATION_MAX,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._clock = clock
        self._dialer = Dialer(Resolver(clock, lookup, vet), TlsContexts(clock, report), proxy_credential)
        self._pools: dict[_Key, Pool] = {}
        self._connections_max = connections_per_destination_max
        self._entropy = entropy
        self._channels = Places(connections_per_destination_max)
        self._writes: Writes | None = None
        self._closing = False
        self._drained: asyncio.Event | None = None

    async def send(self, request: UpstreamRequest) -> Reply:
        """See ports.Upstream.send."""
        timeouts = request.timeouts
        remaining = timeouts.deadline - self._clock.monotonic()
        if remaining <= 0:
            raise UpstreamError(Code.UPSTREAM_TIMEOUT, "No time is left for the provider.")
        now = asyncio.get_running_loop().time()
        until = now + remaining
        key = request.origin, request.tls, request.proxy
        fresh = False
        while True:
            pool = self._pools.get(key) or self._open(key)
            head = pool.encoder.encode(request.method, request.target, request.headers, len(request.body))
            connection = None if fresh else pool.take()
            if connection is None:
                connection = await self._connected(pool, request, until, fresh=fresh)
                now = pool.now()
            reply = connection.start(head, request.body, timeouts, now, until)
            try:
                await reply.arrived
            except BaseException:
                reply.close()
                raise
            if reply.status:
                return reply
            if not reply.stale:
                assert reply.failure is not None
                raise reply.failure
            assert not fresh  # a new connection is never stale
            fresh = True

    async def connect(self, request: UpstreamRequest, protocols: Sequence[bytes]) -> Channel | Answer:
        """See ports.Upstream.connect."""
        timeouts = request.timeouts
        remaining = timeouts.deadline - self._clock.monotonic()
        if self._closing:
            raise GatewayError(Code.GATEWAY_DRAINING, "The gateway is shutting down.")
        if remaining <= 0:
            raise UpstreamError(Code.UPSTREAM_TIMEOUT, "No time is left for the provider.")
        loop = asyncio.get_running_loop()
        until = loop.time() + remaining
        return await opened(self._dialer, self._channels, request, protocols, entropy=self._entropy, deadline=until)

    async def aclose(self) -> None:
        """Refuse new requests, close what is idle, abort what is not; returns when all sockets are closed or after
        two seconds. Call it when the server has drained."""
        self._closing = True
        self._channels.abort()
        self._drained = asyncio.Event()
        for key, pool in tuple(self._pools.items()):
            pool.abort()
            if pool.unused:
                self._pools.pop(key, None)
        if self._pools:
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._drained.wait()
            except TimeoutError:
                self._pools.clear()

    @property
    def open_count(self) -> int:
        """Connections open now."""
        return sum(pool.open_count for pool in self._pools.values())

    @property
    def idle_count(self) -> int:
        """Connections open and unused now."""
        return sum(pool.idle_count for pool in self._pools.values())

    def _open(self, key: _Key) -> Pool:
        if self._closing:
            raise GatewayError(Code.GATEWAY_DRAINING, "The gateway is shutting down.")
        origin, row, via = key
        if origin.scheme not in ("http", "https"):
            raise GatewayError(Code.GATEWAY_INTERNAL, "The provider's address is neither http nor https.")

        async def dial(pool: Pool, until: float) -> Connection:
            loop = asyncio.get_running_loop()
            writes = self._writes = self._writes or Writes(loop)
            return await self._dialer.dial(origin, row, via, lambda sock: Connection(loop, pool, sock, writes), until)

        def emptied() -> None:
            self._pools.pop(key, None)
            if self._drained is not None and not self._pools:
                self._drained.set()

        pool = self._pools[key] = Pool(HeadEncoder(origin), dial, emptied, self._connections_max)
        return pool

    async def _connected(self, pool: Pool, request: UpstreamRequest, deadline: float, *, fresh: bool) -> Connection:
        if self._closing:
            raise GatewayError(Code.GATEWAY_DRAINING, "The gateway is shutting down.")
        now = asyncio.get_running_loop().time()
        return await pool.connection(min(now + request.timeouts.connect_seconds, deadline), fresh=fresh)
