"""A call put to a second target while the first one is slow: whichever has content first answers, the other is cancelled.

Guaranteed here, each proven in tests/exchange/test_hedge.py:

* the second target is asked only after the delay, before the client has seen a byte, within the model's share of calls and
  its bound on cost, within the retry budget of the first target, and only once its cost is held as well;
* exactly one of the two answers; the other is cancelled at once, charged for what it produced and recorded as an attempt;
* where one fails the other goes on alone, and where both fail the call fails as if they had been tried in turn.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from ostiary.core.call import Operation
from ostiary.core.error import CallerError, Code, GatewayError, OstiaryError
from ostiary.core.limit import COMMIT_AFTER_SECONDS, UPSTREAM_BODY_BYTES_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.account import Account
from ostiary.gateway.admit.gate import Gate
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.dialect import ClientDialect
from ostiary.gateway.meter import price
from ostiary.gateway.policy.access import Grant
from ostiary.gateway.ports import UpstreamReply
from ostiary.gateway.relay import Carrier
from ostiary.gateway.route.hedge import Hedging
from ostiary.gateway.route.plan import Plan
from ostiary.gateway.sending import Sending, attempt
from ostiary.gateway.task import Task
from ostiary.gateway.world import World
from ostiary.snapshot.index import Index, Target
from ostiary.snapshot.tables import HedgeRow

_LOST: Final = GatewayError(Code.HEDGE_LOST, "Another target was faster.")
_GONE: Final = CallerError(Code.CLIENT_GONE, "The client went away.")


class Call(Protocol):
    """What a race needs of its call."""

    world: World
    index: Index
    arrival: Arrival
    client: ClientDialect
    task: Task
    draft: Draft
    account: Account
    grant: Grant
    cap: int | None
    attempts: int
    raced: int
    deadline: float

    def follow(self, sending: Sending) -> None:
        """Keep on record what is so of an attempt."""
        ...

    async def deliver(self, sending: Sending, reply: UpstreamReply) -> None:
        """Give the client the answer, to its end."""
        ...

    def commit(self, target: Target, relay: Carrier) -> None:
        """Begin the client's stream: from here on this target alone answers."""
        ...

    def charge(self, target: Target, usage: Usage | None, produced_bytes: int, *, whole: bool = True) -> None:
        """Add what an attempt consumed."""
        ...

    def note(self, sending: Sending, error: OstiaryError | None) -> None:
        """Record an attempt that did not answer."""
        ...


class Replayed:
    """Implements ports.UpstreamReply: an answer of which some was read already."""

    def __init__(self, reply: UpstreamReply, pieces: list[bytes]) -> None:
        self.status = reply.status
        self.headers = reply.headers
        self.close = reply.close
        self._reply = reply
        self._pieces = deque(pieces)

    async def chunk(self) -> bytes:
        """See ports.UpstreamReply."""
        return self._pieces.popleft() if self._pieces else await self._reply.chunk()

    async def pour(self, take: Callable[[bytes], bool]) -> None:
        """See ports.UpstreamReply."""
        while self._pieces:
            if not take(self._pieces.popleft()):
                return
        await self._reply.pour(take)

    async def read(self, bytes_max: int) -> bytes:
        """See ports.UpstreamReply."""
        return self._pieces.popleft() if self._pieces else await self._reply.read(bytes_max)


class _Leg:
    """One of the two attempts, read up to its first content."""

    def __init__(self, call: Call, sending: Sending, race: "Race", gate: Gate | None = None) -> None:
        self.sending = sending
        self.gate = gate
        self.open = True
        """Whether nothing was said of how it ended yet."""

        self.usage: Usage | None = None
        self.produced_bytes = 0
        self.reply: Replayed | None = None
        self.task: asyncio.Task[None] = asyncio.get_running_loop().create_task(self._run(call, race))

    async def _run(self, call: Call, race: "Race") -> None:
        sending, task = self.sending, call.task
        reply = await sending.reach()
        now_seconds = call.world.clock.now_ns() // 1_000_000_000
        if not task.stream:
            body = await reply.read(UPSTREAM_BODY_BYTES_MAX)
            told = task.told(sending.target, sending.provider, reply.headers, body, now_seconds)
            self.usage, self.produced_bytes = told.usage, told.produced_bytes
            self.reply = Replayed(reply, [body])
            return
        relay = task.relay(sending.target, sending.provider, now_seconds, reply.status, reply.headers)
        commit = asyncio.get_running_loop().call_later(COMMIT_AFTER_SECONDS, race.commit, self, relay)
        pieces: list[bytes] = []
        try:
            while True:
                data = await reply.chunk()
                pieces.append(data)
                piece = relay.feed(data)
                self.usage, self.produced_bytes = relay.usage, relay.produced_bytes
                if piece.content or piece.ended:
                    self.reply = Replayed(reply, pieces)
                    return
        finally:
            commit.cancel()

    def failure(self) -> OstiaryError | None:
        """How it failed, once it is over; None where it has content. Raises what is a fault of ours."""
        error = None if self.task.cancelled() else self.task.exception()
        if self.task.cancelled():
            return _LOST
        if error is not None and not isinstance(error, OstiaryError):
            raise error
        return error


class Race:
    """The race of one call between the target at `place` of its plan and the next one of the model's own."""

    def __init__(self, call: Call, route: Plan, place: int, row: HedgeRow) -> None:
        self._call = call
        self._route = route
        self._place = place
        self._row = row
        self._hedging: Hedging = call.world.hedges.of(route.targets[0].model.name)
        self._hedging.called(row)
        self._legs: list[_Leg] = []
        self._committed = False
        self._also: Account | None = None

    async def run(self) -> None:
        """Answer the call. Raises OstiaryError where neither target does; all attempts are on record then."""
        call = self._call
        target = self._route.targets[self._place]
        try:
            sending = attempt(call, target, [])
        except OstiaryError as error:
            now = call.world.clock.monotonic()
            call.draft.attempted(target.name, now, 0.0, now, error=error, credential="")
            raise
        first = _Leg(call, sending, self)
        self._legs.append(first)
        call.follow(first.sending)
        try:
            winner = await self._won(first)
            if winner is first or not first.task.done():
                self._hedging.learn(call.world.clock.monotonic() - first.sending.began)
            for leg in self._legs:
                if leg is not winner:
                    await self._drop(leg, _LOST)
            assert winner.reply is not None
            winner.open = False
            if winner is not first:
                call.follow(winner.sending)
            try:
                await call.deliver(winner.sending, winner.reply)
            except OstiaryError as error:
                call.note(winner.sending, error)
                raise winner.sending.ended(error) from None
            except BaseException:
                winner.sending.left()
                raise
            winner.sending.succeeded()
        finally:
            await self._end()

    def commit(self, leg: _Leg, relay: Carrier) -> None:
        """The client has waited long enough: this target answers, silent as it is."""
        if not self._committed and leg.open:
            self._committed = True
            self._call.commit(leg.sending.target, relay)
            for other in self._legs:
                if other is not leg:
                    other.task.cancel()

    async def _won(self, first: _Leg) -> _Leg:
        """The leg with content. Raises the first failure where none has."""
        world = self._call.world
        delay = self._hedging.delay_seconds(self._row)
        if delay is not None and self._place + 1 < self._route.fallback_from:
            timer = asyncio.get_running_loop().create_task(_after(world, delay))
            try:
                await asyncio.wait((first.task, timer), return_when=asyncio.FIRST_COMPLETED)
            finally:
                timer.cancel()
            if not first.task.done():
                await self._second(first)
        failed: OstiaryError | None = None
        waiting = list(self._legs)
        while waiting:
            await asyncio.wait([leg.task for leg in waiting], return_when=asyncio.FIRST_COMPLETED)
            for leg in [leg for leg in waiting if leg.task.done()]:
                waiting.remove(leg)
                error = leg.failure()
                if error is None:
                    return leg
                self._over(leg, _LOST)
                if error is not _LOST:
                    failed = failed or error
        assert failed is not None  # of two at most one is cancelled, and then the other one answers or fails
        raise failed

    async def _second(self, first: _Leg) -> None:
        """Ask the second target too, where everything allows it."""
        call, world = self._call, self._call.world
        target = self._route.targets[self._place + 1]
        now = world.clock.monotonic()
        gate = world.gates.of(target)
        if self._decided(first) or self._hedging.allowance < 1.0 or not self._affordable(target):
            return
        if gate is not None and not gate.room.free:
            return
        if not world.health.of(first.sending.target.name, now).may_retry(now):
            return
        if not await self._held(target) or self._decided(first):
            return
        if gate is not None and not gate.take():
            return
        call.attempts += 1
        try:
            sending = attempt(call, target, [])
        except OstiaryError:
            call.attempts -= 1
            if gate is not None:
                gate.leave()
            return
        self._hedging.take()
        call.raced = self._place + 1
        self._legs.append(_Leg(call, sending, self, gate))

    def _decided(self, first: _Leg) -> bool:
        return self._committed or first.task.done()

    def _affordable(self, target: Target) -> bool:
        """Whether the most a second attempt may cost is within the bound."""
        if self._row.nano is None:
            return True
        call = self._call
        seconds = call.world.clock.now_ns() // 1_000_000_000
        most = price.most(target.price(seconds), call.index.snapshot.pricing, call.account.bound)
        return most is not None and most <= self._row.nano

    async def _held(self, target: Target) -> bool:
        """Whether a second attempt's cost could be held besides the first one's."""
        call = self._call
        also = Account(call.world, call.index, call.draft)
        also.bound = call.account.bound
        try:
            waits = also.reserve(call.grant, Plan((target,), 1))
            if waits is not None:
                await waits
        except OstiaryError:
            return False
        self._also = also
        return True

    async def _drop(self, leg: _Leg, why: OstiaryError) -> None:
        """Cancel what is not to answer."""
        leg.task.cancel()
        try:
            await asyncio.wait([leg.task])
        finally:
            self._over(leg, why)

    def _over(self, leg: _Leg, why: OstiaryError) -> None:
        """An attempt that does not answer: as failed where it did fail, otherwise charged for what it produced."""
        if not leg.open:
            return
        leg.open = False
        task = leg.task
        error = task.exception() if task.done() and not task.cancelled() else None
        if isinstance(error, OstiaryError):
            leg.sending.failed(error, final=True)
            self._call.note(leg.sending, error)
        else:
            leg.sending.left()
            self._call.charge(leg.sending.target, leg.usage, leg.produced_bytes, whole=not self._call.task.stream)
            self._call.note(leg.sending, why)

    async def _end(self) -> None:
        """Nothing of the race is left: on every way out, cancellation included."""
        try:
            for leg in self._legs:
                if leg.open:
                    await self._drop(leg, _GONE)
        finally:
            for leg in self._legs:
                leg.task.cancel()
                self._over(leg, _GONE)
                if leg.gate is not None:
                    leg.gate.leave()
            if self._also is not None:
                self._also.release()


async def _after(world: World, seconds: float) -> None:
    await world.sleep(seconds)


def races(call: Call, route: Plan, place: int) -> HedgeRow | None:
    """How the call may race, where its model says so and nothing else forbids it: in its first attempt."""
    model = route.targets[0].model
    if model.hedge is None or place >= route.fallback_from or call.attempts:
        return None
    if call.draft.shadow_of or call.draft.operation is not Operation.CHAT:
        return None
    return model.hedge if model.attempts is None or model.attempts > 1 else None
