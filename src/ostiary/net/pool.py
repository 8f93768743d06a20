"""The connections to one destination.

A place is the right to one connection, from the moment its dial begins until its socket is closed. There are
CONNECTIONS_PER_DESTINATION_MAX of them. Invariants:

    places free + connections open or being dialled == the bound
    somebody waits for a place  ⇒  no connection is idle and no place is free

The idle ones form a stack: the last used is used next, so surplus ones age at the bottom until a single timer, armed
only while there are any, closes them. No connection is used beyond CONNECTION_AGE_SECONDS_MAX (spread a little, so
that they do not all end at once): a name that moves, or a new certificate, is followed that fast even under load.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from ostiary.core import limit
from ostiary.core.error import Code, GatewayError, UpstreamError
from ostiary.net.connection import Connection
from ostiary.net.head import HeadEncoder

Dial = Callable[["Pool", float], Awaitable[Connection]]
"""Makes a connection that reports to the pool, by a loop time."""


class Pool:
    """Implements connection.Keeper. `emptied` is called when the last connection is gone and nobody waits."""

    __slots__ = (
        "_closing",
        "_dial",
        "_emptied",
        "_free",
        "_idle",
        "_live",
        "_loop",
        "_made",
        "_places",
        "_timer",
        "_waiters",
        "encoder",
    )

    def __init__(
        self,
        encoder: HeadEncoder,
        dial: Dial,
        emptied: Callable[[], None],
        connections_max: int = limit.CONNECTIONS_PER_DESTINATION_MAX,
    ) -> None:
        self.encoder = encoder
        self._loop = asyncio.get_running_loop()
        self._dial = dial
        self._emptied = emptied
        self._places = connections_max
        self._free = connections_max
        self._idle: deque[Connection] = deque()
        self._live: set[Connection] = set()
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._made = 0
        self._closing = False

    @property
    def open_count(self) -> int:
        """Connections open now."""
        return len(self._live)

    @property
    def idle_count(self) -> int:
        """Connections open and unused now."""
        return len(self._idle)

    @property
    def unused(self) -> bool:
        """Whether nothing is open, dialled or waited for."""
        return self._free == self._places and not self._waiters

    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def take(self) -> Connection | None:
        """An idle connection that may carry a request at once, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable():
                return connection
            connection.close()
        return None

    async def connection(self, until: float, *, fresh: bool = False) -> Connection:
        """A connection by the loop time `until`, kept alive or new; new for certain where `fresh`.

        Raises GatewayError gateway.overloaded where no place became free in time, and what dialling raises.
        Cancelling gives back what was taken.
        """
        while True:
            if not fresh:
                kept = self.take()
                if kept is not None:
                    return kept
            if self._free:
                self._free -= 1
                break
            if fresh and self._idle:
                self._idle.popleft().close()  # its place comes back when it is closed
            given = await self._wait(until)
            if given is None:
                break
            if not fresh and given.usable():
                return given
            given.close()
        try:
            connection = await self._dial(self, until)
        except BaseException:
            self._give_place()
            raise
        self._made += 1
        # Spread over a quarter of the age, by order of making: no randomness needed.
        connection.born -= limit.CONNECTION_AGE_SECONDS_MAX * (self._made % 16) / 64
        if connection.closed:  # lost before anyone could be told
            self._give_place()
            raise UpstreamError(Code.UPSTREAM_CUT, "The provider closed the connection at once.")
        self._live.add(connection)
        if self._closing:
            connection.abort()
            raise GatewayError(Code.GATEWAY_DRAINING, "The gateway is shutting down.")
        return connection

    # --- connection.Keeper --------------------------------------------------------------------------------

    def idle(self, connection: Connection) -> None:
        """Hand it to who waits longest, else keep it."""
        now = self._loop.time()
        if self._closing or now - connection.born > limit.CONNECTION_AGE_SECONDS_MAX:
            connection.close()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        connection.idle_since = now
        idle = self._idle
        idle.append(connection)
        if len(idle) > limit.IDLE_CONNECTIONS_PER_DESTINATION_MAX:
            idle.popleft().close()
        if self._timer is None:
            self._timer = self._loop.call_at(now + limit.IDLE_CONNECTION_SECONDS_MAX, self._sweep)

    def lost(self, connection: Connection) -> None:
        """Its place is free."""
        if connection not in self._live:
            return  # lost while it was dialled; the dialler gives the place back
        self._live.remove(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._give_place()

    # --- the rest -----------------------------------------------------------------------------------------

    async def _wait(self, until: float) -> Connection | None:
        """A connection just freed, or None for a free place, which is then taken."""
        if len(self._waiters) >= limit.CONNECTION_WAITERS_MAX or self._closing:
            raise _overloaded()
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiters.append(waiter)
        timer = self._loop.call_at(until, _expire, waiter)
        try:
            return await waiter
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                given = waiter.result()  # given in the moment of cancellation
                if given is None:
                    self._give_place()
                else:
                    self.idle(given)
            raise
        finally:
            timer.cancel()

    def _give_place(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1
        if self.unused:
            self._emptied()

    def _sweep(self) -> None:
        """Close what has been idle for too long; the oldest is at the left."""
        self._timer = None
        now = self._loop.time()
        idle = self._idle
        while idle and now - idle[0].idle_since >= limit.IDLE_CONNECTION_SECONDS_MAX - 0.001:
            idle.popleft().close()
        if idle and not self._closing:
            self._timer = self._loop.call_at(idle[0].idle_since + limit.IDLE_CONNECTION_SECONDS_MAX, self._sweep)

    def close(self) -> None:
        """Close the idle connections, refuse new ones, let those in use end."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(GatewayError(Code.GATEWAY_DRAINING, "The gateway is shutting down."))
        self._waiters.clear()
        while self._idle:
            self._idle.pop().close()

    def abort(self) -> None:
        """As `close`, and close those in use at once."""
        self.close()
        for connection in tuple(self._live):
            if not connection.closed:
                connection.abort()


def _overloaded() -> GatewayError:
    return GatewayError(Code.GATEWAY_OVERLOADED, "All connections to the provider are in use.", retry_after_seconds=1.0)


def _expire(waiter: "asyncio.Future[Connection | None]") -> None:
    if not waiter.done():
        waiter.set_exception(_overloaded())
