"""One open WebSocket on a transport, for either end. Implements the port `Channel`.

    open ──our close frame──▶ closing ──the peer's, or LINGER_SECONDS_MAX──▶ gone
      └──the peer's close frame: answered──┘        └──lost, stalled, silent for too long──▶ gone

What waits for the reader is bounded: beyond WEBSOCKET_QUEUE_MESSAGES_MAX or WEBSOCKET_QUEUE_BYTES_MAX the transport is
not read, so that the peer's own writing stops. What waits for the peer is the transport's write buffer: `send` waits
above its bound, and a peer that takes too little of it within WRITE_STALL_SECONDS_MAX is dropped. Pings are answered
by the last one's pong while the peer does not read, as RFC 6455 section 5.5.3 allows: a flood of them costs no memory.

A peer that says nothing for WEBSOCKET_PING_SECONDS gets a ping; any byte within WEBSOCKET_PONG_SECONDS_MAX answers it.
Silence of a peer that is not being read says nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from ostiary.core.limit import (
    LINGER_SECONDS_MAX,
    WEBSOCKET_PING_SECONDS,
    WEBSOCKET_PONG_SECONDS_MAX,
    WEBSOCKET_QUEUE_BYTES_MAX,
    WEBSOCKET_QUEUE_MESSAGES_MAX,
    WRITE_BUFFER_BYTES_MAX,
    WRITE_STALL_SECONDS_MAX,
)
from ostiary.websocket.frame import (
    Breach,
    Close,
    CloseCode,
    Event,
    Opcode,
    Ping,
    Reader,
    Text,
    close_payload,
    frame,
)

_TICK_SECONDS: Final = 1.0

Mask = Callable[[], bytes]
"""Gives four bytes that the peer cannot foresee."""


class Owner(Protocol):
    """Who a link belongs to."""

    @property
    def draining(self) -> bool:
        """Whether this process is to end."""
        ...

    def came(self, size: int) -> None:
        """So many bytes were read."""
        ...

    def holds(self, change: int) -> bool:
        """What is held for the reader changed by so many bytes; False where that is too much for the whole process."""
        ...

    def lost(self, link: "Link") -> None:
        """The connection is closed. Told exactly once."""
        ...


class Link(asyncio.Protocol):
    """See the module. `mask` is given where this end is the client. Belongs to one event loop."""

    __slots__ = (
        "_closing_at",
        "_got_close",
        "_heard_at",
        "_held",
        "_loop",
        "_mask",
        "_owner",
        "_paused",
        "_pinged",
        "_pong",
        "_queue",
        "_queued_bytes",
        "_reader",
        "_resume",
        "_sent_close",
        "_stall_at",
        "_stall_bytes",
        "_timer",
        "_told",
        "_transport",
        "_waiter",
        "breached",
        "code",
        "ended",
        "gone",
        "reason",
        "stalled",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner, mask: Mask | None = None) -> None:
        self._loop = loop
        self._owner = owner
        self._mask = mask
        self._reader = Reader(masked=mask is None)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._held = 0
        self._waiter: asyncio.Future[None] | None = None
        self._resume: asyncio.Future[None] | None = None
        self._pong: bytes | None = None
        self._paused = False
        self._pinged = False
        self._sent_close = False
        self._got_close = False
        self._told = False
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._stall_at = 0.0
        self._stall_bytes = 0
        self._closing_at = 0.0
        self.code: int = CloseCode.LOST
        self.reason = ""
        self.breached = False
        self.ended = False
        self.gone = False
        self.stalled = False

    def attach(self, transport: asyncio.Transport, data: bytes = b"") -> None:
        """Take over a transport whose handshake is done; `data` are the bytes that came behind it."""
        self._transport = transport
        self._heard_at = self._loop.time()
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX, low=WRITE_BUFFER_BYTES_MAX // 4)
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)
        if data:
            self.data_received(data)

    # --- Channel ------------------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether this process is to end."""
        return self._owner.draining

    async def receive(self) -> bytes | None:
        """See ports.Channel."""
        while True:
            if self._queue:
                message = self._queue.popleft()
                self._queued_bytes -= len(message)
                self._account()
                self._read_on()
                return message
            if self.ended:
                return None
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def send(self, message: bytes) -> None:
        """See ports.Channel."""
        if self.gone or self._sent_close:
            return
        self._write(Opcode.TEXT, message)
        if self._resume is not None:
            await asyncio.shield(self._resume)

    def close(self, code: int, reason: str = "") -> None:
        """See ports.Channel."""
        if self.gone or self._sent_close or self._transport is None:
            return
        self._sent_close = True
        if not self.ended:
            self.code, self.reason = code, reason
        self._write(Opcode.CLOSE, close_payload(code, reason))
        self._closing_at = self._loop.time() + LINGER_SECONDS_MAX
        if self._paused:  # what the peer still says is dropped, but its close frame is wanted
            self._paused = False
            self._transport.resume_reading()
        self._end()
        if self._got_close:
            self._finish()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._end()
        self.gone = True
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what one read brought."""
        self._heard_at = self._loop.time()
        self._pinged = False
        self._owner.came(len(data))
        for event in self._reader.feed(data):
            self._take(event)
        if not self._account():
            self.close(CloseCode.TRY_AGAIN_LATER, "too many large messages are under way")
        full = len(self._queue) >= WEBSOCKET_QUEUE_MESSAGES_MAX or self._queued_bytes >= WEBSOCKET_QUEUE_BYTES_MAX
        if full and not self._paused and not self.ended and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Called by the loop at FIN: half a connection is none."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Called by the loop once, at the end."""
        self._end()
        self.gone = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport = None
        self._wake_writer()
        self._queue.clear()
        self._queued_bytes = 0
        self._reader = Reader(masked=False)
        self._account()
        if not self._told:
            self._told = True
            self._owner.lost(self)

    def pause_writing(self) -> None:
        """Called by the loop: the peer reads slower than we write."""
        if self._resume is None:
            self._resume = self._loop.create_future()
            self._expect_reading()

    def resume_writing(self) -> None:
        """Called by the loop: it has caught up."""
        self._stall_at = 0.0
        self._wake_writer()
        pong, self._pong = self._pong, None
        if pong is not None and not self._sent_close:
            self._write(Opcode.PONG, pong)

    # --- the rest -----------------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        match event:
            case Text(data):
                if not self.ended:
                    self._queue.append(data)
                    self._queued_bytes += len(data)
                    self._wake_reader()
            case Ping(data) if self._resume is None:
                if not self._sent_close:
                    self._write(Opcode.PONG, data)
            case Ping(data):
                self._pong = data
            case Close(code, reason):
                self._got_close = True
                if self._sent_close:
                    self._finish()
                    return
                self.code, self.reason = code, reason
                # Answered once the reader has taken what came before it, by whoever closes the channel.
                self._end()
            case Breach(code, reason):
                self.breached = not self._sent_close
                self.close(code, reason)
            case _:  # a pong: that something came is all it says
                pass

    def _write(self, opcode: Opcode, payload: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(opcode, payload, b"" if self._mask is None else self._mask()))

    def _account(self) -> bool:
        held = self._queued_bytes + self._reader.held
        change, self._held = held - self._held, held
        return self._owner.holds(change) if change else True

    def _read_on(self) -> None:
        if (
            self._paused
            and self._transport is not None
            and len(self._queue) <= WEBSOCKET_QUEUE_MESSAGES_MAX // 2
            and self._queued_bytes <= WEBSOCKET_QUEUE_BYTES_MAX // 2
        ):
            self._paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()

    def _end(self) -> None:
        """No more messages will be taken from the peer."""
        self.ended = True
        self._wake_reader()

    def _finish(self) -> None:
        """Both close frames are there."""
        if self._transport is None:
            return
        if self._mask is None:
            self._transport.close()  # the server closes first (section 7.1.1); a client waits for it, for a while
        self.gone = True

    def _expect_reading(self) -> None:
        assert self._transport is not None
        self._stall_at = self._loop.time() + WRITE_STALL_SECONDS_MAX
        self._stall_bytes = self._transport.get_write_buffer_size()

    def _wake_reader(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _wake_writer(self) -> None:
        resume, self._resume = self._resume, None
        if resume is not None and not resume.done():
            resume.set_result(None)

    def _tick(self) -> None:
        """One lazy timer: deadlines are numbers, looked at once a second."""
        self._timer = None
        transport = self._transport
        if transport is None:
            return
        now = self._loop.time()
        quiet = now - self._heard_at
        if self._closing_at and now >= self._closing_at:
            transport.abort()
        elif self._stall_at and now >= self._stall_at:
            if self._stall_bytes - transport.get_write_buffer_size() >= WRITE_BUFFER_BYTES_MAX // 2:
                self._expect_reading()
            else:
                self.stalled = True
                self.abort()
        elif not self._sent_close and not self._paused and quiet >= WEBSOCKET_PING_SECONDS:
            if quiet >= WEBSOCKET_PING_SECONDS + WEBSOCKET_PONG_SECONDS_MAX:
                self.abort()
            elif self._resume is None and not self._pinged:
                self._pinged = True
                self._write(Opcode.PING, b"")
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)
