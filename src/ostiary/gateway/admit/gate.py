"""The bounds on calls in flight, of a worker and of targets that have one: asyncio around `room.py`.

A gate that is below its bound costs a comparison and two counters. `Gate.enter` waits; everything else returns at once.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from ostiary.core.error import Code, GatewayError
from ostiary.core.limit import RETRY_AFTER_SECONDS_MAX
from ostiary.core.port import Clock
from ostiary.core.principal import Principal, Priority
from ostiary.gateway.admit.drain import Pressure
from ostiary.gateway.admit.room import Room, Ticket, Verdict
from ostiary.snapshot.index import Index, Target
from ostiary.snapshot.tables import GateRow, OverloadRow

_LAG: Final = "lag"
_RETRY_SECONDS_MIN: Final = 1.0
WORKER: Final = ""
"""The name of the worker's own gate."""

SHORT_OF_MEMORY: Final = "This gateway is short of memory."

Shed = Callable[[str, str, Priority], None]
"""Told of each call that is shed: at which gate, why, of what priority."""


class Queued:
    """Who a caller is where calls wait for each other: its team, its weight and its priority."""

    __slots__ = ("priority", "team", "weight")

    def __init__(self, index: Index, principal: Principal) -> None:
        row = index.teams.get((principal.tenant, principal.team))
        self.team = f"{principal.tenant}/{principal.team}"
        self.weight = 1 if row is None else row.weight
        own = principal.priority
        self.priority = own if own is not None else Priority.STANDARD if row is None else row.priority


class _Waiter(Ticket):
    """A ticket somebody awaits."""

    __slots__ = ("future",)

    def __init__(self, queued: Queued, deadline: float, future: "asyncio.Future[None] | None") -> None:
        super().__init__(queued.team, queued.weight, queued.priority, deadline)
        self.future = future

    def decide(self, verdict: Verdict, seconds: float = 0.0) -> None:
        """See Ticket."""
        super().decide(verdict, seconds)
        if self.future is not None and not self.future.done():
            self.future.set_result(None)


class Refusal(NamedTuple):
    """Why a gate refuses a call, and in how many seconds it might not."""

    gate: "Gate"
    verdict: Verdict
    seconds: float


class Gate:
    """One bound on calls in flight. Whoever got a place, by `take` or `enter`, gives it back by `leave`, once."""

    def __init__(self, name: str, row: GateRow, clock: Clock, shed: Shed, code: Code) -> None:
        self.name = name
        self.row = row
        self.room = Room(row.concurrent_requests, row.waiting_requests)
        self._clock = clock
        self._shed = shed
        self._code = code

    def take(self) -> bool:
        """A place at once, if there is one that nobody waits for."""
        return self.room.take(self._clock.monotonic())

    def refusal(self, queued: Queued) -> "Refusal | None":
        """What `enter` would refuse a call with at once, without taking anything and without counting it as shed."""
        if self.room.free:
            return None
        now = self._clock.monotonic()
        found = self.room.foresee(_Waiter(queued, now + self.row.wait_seconds, None), now)
        return None if found is None else Refusal(self, found[0], found[1])

    def shed(self, refusal: "Refusal", priority: Priority) -> GatewayError:
        """The error for a call that is refused so, which is counted."""
        self._shed(self.name, refusal.verdict, priority)
        return GatewayError(self._code, _WORDS[refusal.verdict], retry_after_seconds=_retry(refusal.seconds))

    async def enter(self, queued: Queued, deadline: float) -> None:
        """Get a place, waiting for it until `deadline` (monotonic seconds) and for the room's own bound at most. Raises
        GatewayError with `retry-after`. Cancelling gives up the place."""
        now = self._clock.monotonic()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        ticket = _Waiter(queued, min(deadline, now + self.row.wait_seconds), future)
        self.room.enter(ticket, now)
        if ticket.waits:
            timer = loop.call_later(ticket.deadline - now, self._expire, ticket)
            try:
                await future
            except asyncio.CancelledError:
                if not self.room.withdraw(ticket) and ticket.verdict is Verdict.ADMITTED:
                    self.leave()
                raise
            finally:
                timer.cancel()
        if ticket.verdict is not Verdict.ADMITTED:
            assert ticket.verdict is not None
            raise self.shed(Refusal(self, ticket.verdict, ticket.seconds), ticket.priority)

    def leave(self) -> None:
        """Give a place back."""
        room = self.room
        if room.in_flight < room.bound and not room.waiting:
            room.in_flight -= 1  # as `Room.leave` has it, which wants to know the time for all else
            return
        room.leave(self._clock.monotonic())

    def resize(self, row: GateRow) -> None:
        """Take another row."""
        if row != self.row:
            self.row = row
            self.room.resize(row.concurrent_requests, row.waiting_requests, self._clock.monotonic())

    def _expire(self, ticket: Ticket) -> None:
        self.room.expire(ticket, self._clock.monotonic())


class Gates:
    """All gates of one worker: its own, and those of targets, which come with the snapshot. `pressure` is that of its
    event loop."""

    def __init__(self, index: Index, clock: Clock, shed: Shed) -> None:
        row = index.snapshot.overload
        self.pressure = Pressure(row.lag_seconds)
        self.worker = Gate(WORKER, row.gate, clock, shed, Code.GATEWAY_OVERLOADED)
        self.targets: dict[str, Gate] = {}
        self._clock = clock
        self._shed = shed
        self.memory_short = False
        """Whether the process comes near the memory it may have."""

        self.swap(index)

    def swap(self, index: Index) -> None:
        """Take the bounds of a new snapshot. Calls in flight keep the gate they have entered."""
        row: OverloadRow = index.snapshot.overload
        self.pressure.bound_seconds = row.lag_seconds
        self.worker.resize(row.gate)
        kept: dict[str, Gate] = {}
        for name, bound in index.gates.items():
            gate = self.targets.get(name)
            if gate is None:
                gate = Gate(name, bound, self._clock, self._shed, Code.MODEL_BUSY)
            else:
                gate.resize(bound)
            kept[name] = gate
        self.targets = kept

    def of(self, target: Target) -> Gate | None:
        """The gate of a target, if it has one."""
        return self.targets.get(target.gate) if target.gate else None

    def standing(self) -> dict[str, tuple[int, int, int]]:
        """Calls in flight, calls waiting and places of each gate, by its name."""
        gates = (self.worker, *self.targets.values())
        return {one.name: (one.room.in_flight, one.room.waiting, one.room.bound) for one in gates}

    @property
    def tight(self) -> bool:
        """Whether a new call may have to be refused: nothing else need be asked while this is False."""
        pressure = self.pressure
        return self.worker.room.waiting > 0 or pressure.lag_seconds > pressure.bound_seconds or self.memory_short

    def check(self, queued: Queued) -> None:
        """Refuse a call on its head alone: before its body is read. Raises GatewayError gateway.overloaded."""
        if self.memory_short:
            self._shed(WORKER, "memory", queued.priority)
            raise GatewayError(Code.GATEWAY_OVERLOADED, SHORT_OF_MEMORY, retry_after_seconds=_RETRY_SECONDS_MIN)
        if self.pressure.sheds(queued.priority):
            self._shed(WORKER, _LAG, queued.priority)
            raise GatewayError(
                Code.GATEWAY_OVERLOADED,
                "This gateway has more to do than it can.",
                retry_after_seconds=_retry(self.pressure.lag_seconds),
            )
        refusal = self.worker.refusal(queued)
        if refusal is not None:
            raise self.worker.shed(refusal, queued.priority)

    @property
    def degraded(self) -> str:
        """What is being shed, in a few words; empty where nothing is."""
        if self.memory_short:
            return "short of memory: new calls are refused"
        if self.pressure.high:
            return f"the event loop runs {self.pressure.lag_seconds:.2f} s late: calls are shed by priority"
        waiting = self.worker.room.waiting
        return f"{waiting} calls wait for a place" if waiting else ""


def _retry(seconds: float) -> float:
    return min(max(seconds, _RETRY_SECONDS_MIN), RETRY_AFTER_SECONDS_MAX)


_WORDS: Final = {
    Verdict.FULL: "Too many calls wait for a place already.",
    Verdict.DEADLINE: "No place comes free in time for this call.",
    Verdict.DISPLACED: "The place in the queue went to a call that had more right to it.",
    Verdict.EXPIRED: "No place came free in time for this call.",
}
