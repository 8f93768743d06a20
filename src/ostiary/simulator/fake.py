"""An upstream in memory: the port `Upstream` answered by a simulated provider, without sockets or real time.

Delays pass on the clock it is given (`advance`), at once in real time; phase timeouts are judged by the same
reckoning. `pause`, if given, is awaited before the head (place -1) and before each piece (its place, from 0): a test
that awaits an event there holds the stream where it wants it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Answer, Header
from ostiary.core.port import Clock
from ostiary.gateway.ports import UpstreamRequest
from ostiary.simulator.behaviour import Behaviour, Ending, Piece, Plan, Received
from ostiary.simulator.provider import Provider, Script
from ostiary.simulator.realtime import Halt, Out, RealtimeSession

Pause = Callable[[int], Awaitable[None]]


class FakeReply:
    """Implements ports.UpstreamReply from a plan. `closed` and `ended` tell a test what became of it."""

    def __init__(self, owner: "FakeUpstream", request: UpstreamRequest, plan: Plan) -> None:
        self.status = plan.status
        self.headers: tuple[Header, ...] = tuple(plan.headers)
        self.closed = False
        self.ended = False
        self._owner = owner
        self._request = request
        self._plan = plan
        self._pieces: Iterator[Piece] = iter(plan.pieces)
        self._place = 0

    async def chunk(self) -> bytes:
        """See ports.UpstreamReply.chunk."""
        if self.closed:
            raise UpstreamError(Code.UPSTREAM_CUT, "The answer was closed before its end.")
        if self.ended:
            return b""
        try:
            await self._owner.hold(self._place)
        except BaseException:
            self.close()
            raise
        self._place += 1
        timeouts = self._request.timeouts
        piece = next(self._pieces, None)
        if piece is not None:
            self._owner.spend(piece.delay, timeouts.idle_seconds, timeouts.deadline, "paused its answer for too long")
            return piece.data
        match self._plan.ending:
            case Ending.COMPLETE:
                self.ended = True
                return b""
            case Ending.STALL:
                self._owner.spend(float("inf"), timeouts.idle_seconds, timeouts.deadline, "paused its answer")
        raise UpstreamError(Code.UPSTREAM_CUT, "The provider's answer ended early.")

    async def pour(self, take: Callable[[bytes], bool]) -> None:
        """See ports.UpstreamReply.pour."""
        while take(await self.chunk()) and not self.ended:
            pass

    async def read(self, bytes_max: int) -> bytes:
        """See ports.UpstreamReply.read."""
        body = bytearray()
        while piece := await self.chunk():
            body += piece
            if len(body) > bytes_max:
                self.close()
                raise UpstreamError(Code.UPSTREAM_TOO_LARGE, f"The provider's answer is larger than {bytes_max} bytes.")
        return bytes(body)

    def close(self) -> None:
        """See ports.UpstreamReply.close."""
        if not self.ended:
            self.closed = True


class FakeChannel:
    """Implements ports.Channel: one end of a conversation with a simulated realtime session, in memory. `events` are
    those it was sent, `closed` the code it was closed with (0: it is open)."""

    def __init__(self, session: RealtimeSession) -> None:
        self.code = 1006
        self.reason = ""
        self.gone = False
        self.stalled = False
        self.breached = False
        self.draining = False
        self.events: list[bytes] = []
        self.closed = 0
        self._session = session
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._say(session.opening())

    def _say(self, out: Iterable[Out]) -> None:
        for one in out:
            if isinstance(one, Halt):
                if not one.silent:
                    self.end(one.code or 1006)
                return
            self._waiting.put_nowait(one)

    def tell(self, event: bytes) -> None:
        """Let the provider say something of itself."""
        self._waiting.put_nowait(event)

    def end(self, code: int) -> None:
        """The provider ends it; 1006: without a word."""
        self.code = code
        self._waiting.put_nowait(None)

    async def receive(self) -> bytes | None:
        """See ports.Channel."""
        return None if self.gone else await self._waiting.get()

    async def send(self, message: bytes) -> None:
        """See ports.Channel."""
        if not self.gone:
            self.events.append(message)
            self._say(self._session.receive(message))

    def close(self, code: int, reason: str = "") -> None:
        """See ports.Channel."""
        del reason
        self.closed = self.closed or code
        self.gone = True
        self._waiting.put_nowait(None)


class FakeUpstream:
    """Implements ports.Upstream. `sent` and `replies` list what was asked and answered, in order.

    `errors` are raised by the next sends in turn before anything else (None: none for that one).
    """

    def __init__(
        self,
        clock: Clock,
        behaviour: Behaviour | None = None,
        script: Script = (),
        *,
        advance: Callable[[float], None] | None = None,
        pause: Pause | None = None,
    ) -> None:
        self._clock = clock
        self._advance = advance
        self._provider = Provider(behaviour, script)
        self.pause = pause
        self.errors: list[Exception | None] = []
        self.sent: list[UpstreamRequest] = []
        self.replies: list[FakeReply] = []
        self.channels: list[FakeChannel] = []
        self.cancelled = 0

    def then(self, *behaviours: Behaviour) -> None:
        """Programme the next requests."""
        self._provider.then(*behaviours)

    async def send(self, request: UpstreamRequest) -> FakeReply:
        """See ports.Upstream.send."""
        self.sent.append(request)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        received = Received(request.method.decode(), request.target.decode("latin-1"), request.headers, request.body)
        plan = self._provider.plan(received)
        try:
            await self.hold(-1)
        except BaseException:
            self.cancelled += 1
            raise
        wait = plan.first_byte_seconds
        if plan.status == 0:
            if plan.ending is not Ending.STALL:
                raise UpstreamError(Code.UPSTREAM_CUT, "The provider closed the connection without an answer.")
            wait = float("inf")
        timeouts = request.timeouts
        self.spend(wait, timeouts.first_byte_seconds, timeouts.deadline, "did not begin to answer in time")
        if any(name == b"content-encoding" for name, _ in plan.headers):
            raise UpstreamError(
                Code.UPSTREAM_PROTOCOL, "The provider compressed its answer though identity was asked for."
            )
        reply = FakeReply(self, request, plan)
        self.replies.append(reply)
        return reply

    async def connect(self, request: UpstreamRequest, protocols: Sequence[bytes]) -> "FakeChannel | Answer":
        """See ports.Upstream.connect."""
        del protocols
        self.sent.append(request)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        received = Received(request.method.decode(), request.target.decode("latin-1"), request.headers, request.body)
        session = self._provider.session(received)
        try:
            await self.hold(-1)
        except BaseException:
            self.cancelled += 1
            raise
        if isinstance(session, Plan):
            if session.status == 0:
                self.spend(
                    float("inf"),
                    request.timeouts.first_byte_seconds,
                    request.timeouts.deadline,
                    "did not answer in time",
                )
            return Answer(session.status, session.headers, b"".join(piece.data for piece in session.pieces))
        channel = FakeChannel(session)
        self.channels.append(channel)
        return channel

    async def aclose(self) -> None:
        """Nothing is held open."""

    async def hold(self, place: int) -> None:
        """Wait for the test, if it wants to be waited for."""
        if self.pause is not None:
            await self.pause(place)

    def spend(self, seconds: float, bound: float, deadline: float, text: str) -> None:
        """Let time pass on the clock; upstream.timeout where a phase or the whole would have ended before."""
        left = max(0.0, deadline - self._clock.monotonic())
        if self._advance is not None and (passed := min(seconds, bound, left)):
            self._advance(passed)
        if seconds > min(bound, left):
            raise UpstreamError(Code.UPSTREAM_TIMEOUT, f"The provider {text}.")
