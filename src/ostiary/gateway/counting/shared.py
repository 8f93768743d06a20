"""The one task of a worker that speaks with the shared counters."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from ostiary.core.error import GatewayError
from ostiary.core.event import BudgetAlert
from ostiary.core.limit import BEAT_SECONDS, RECONNECT_SECONDS_MAX
from ostiary.core.port import Clock, Random
from ostiary.gateway.counting.budgets import SharedHolds
from ostiary.gateway.counting.circuit import Circuit
from ostiary.gateway.counting.limits import SharedLimits
from ostiary.gateway.meter.hold import Spent
from ostiary.gateway.ports import Counters, Observer, Other, Stated

_FIRST_TRIES: Final = 8


class Timer(Protocol):
    """What will happen later, unless it is cancelled."""

    def cancel(self) -> None: ...


class SharedCounters:
    """Limits and budgets on counters that workers share. `worker` is the name under which this worker states what is its
    own; `gone` what the journals of workers that do not run say they spent. All of it belongs to one event loop."""

    def __init__(
        self,
        counters: Counters,
        worker: str,
        *,
        clock: Clock,
        random: Random,
        observer: Observer,
        alerted: Callable[[BudgetAlert], None],
        workers: int = 1,
        later: Callable[[float, Callable[[], None]], Timer] | None = None,
        gone: Iterable[tuple[str, dict[str, Spent]]] = (),
    ) -> None:
        self._counters = counters
        self._worker = worker
        self._clock = clock
        self._observer = observer
        self._circuit = Circuit(random)
        self._later = later
        self._due = asyncio.Event()
        self._beat = True
        self._reconciled = False
        self.limits = SharedLimits(self._circuit, clock, self._due.set, workers)
        self.holds = SharedHolds(self._circuit, clock, alerted, self._due.set)
        self._gone = tuple(name for name, _ in gone)
        self.holds.escrow.gone(
            Stated(scope, one.start, others=(Other(name, one.nano, one.tokens, 0, 0, final=True),), mine=False)
            for name, spent in gone
            for scope, one in spent.items()
        )

    @property
    def away(self) -> str:
        """Why calls go on without the counters, or empty."""
        if self._circuit.away:
            return "the shared counters cannot be used: limits are shared out, budgets lend nothing"
        if self.holds.rebuilding_seconds > 0:
            return "the shared counters are being built anew: budgets lend nothing"
        return ""

    async def start(self) -> None:
        """Say what is to be said before the first call, within a bound: a server that is not there is gone without, one
        that was empty is waited for until it lends."""
        for _ in range(_FIRST_TRIES):
            self._beat = True
            await self._exchange()
            if self._circuit.away:
                return
            if self.holds.escrow.generation and not self.holds.rebuilding_seconds:
                return
            await asyncio.sleep(min(self.holds.rebuilding_seconds, BEAT_SECONDS))

    async def run(self) -> None:
        """Until cancelled."""
        later = self._later or asyncio.get_running_loop().call_later
        timer = later(self._pause(), self._tick)
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                beat, away = self._beat, self._circuit.away
                if beat or not away:
                    await self._exchange()
                if beat or self._circuit.away is not away:
                    timer.cancel()
                    timer = later(self._pause(), self._tick)
        finally:
            timer.cancel()

    async def aclose(self) -> None:
        """Give back what is leased, and close."""
        self.holds.escrow.give_back()
        self.holds.escrow.give_back()
        self._beat = True
        if not self._circuit.away:
            await self._exchange()
        with contextlib.suppress(GatewayError):
            await self._counters.aclose()

    def _tick(self) -> None:
        self._beat = True
        self._due.set()

    def _pause(self) -> float:
        """Until the next beat, or while away until the next attempt."""
        if self._circuit.away:
            return min(max(self._circuit.attempt_at - self._clock.monotonic(), 0.0), RECONNECT_SECONDS_MAX)
        return BEAT_SECONDS

    async def _exchange(self) -> None:
        """One exchange. A failure of any kind is told to the calls that wait, never to this task."""
        beat, self._beat = self._beat, False
        try:
            if not self._reconciled:
                await self._reconcile()
            if beat:
                self.holds.escrow.give_back()
            limits = self.limits.batch(beat=beat, now=self._clock.monotonic())
            budgets = self.holds.batch(beat=beat)
            if limits is None and budgets is None:
                return
            limit_answer, budget_answer = await self._counters.exchange(limits, budgets)
            if limit_answer is not None:
                self.limits.answered(limit_answer, self._clock.monotonic())
            if budget_answer is not None:
                self.holds.answered(budget_answer)
        except asyncio.CancelledError:
            self.limits.failed(self._clock.monotonic())
            self.holds.failed()
            raise
        except Exception as error:  # noqa: BLE001 - calls wait for this task, and there is no other
            self._circuit.failed(self._clock.monotonic())
            self.limits.failed(self._clock.monotonic())
            self.holds.failed()
            self._reconciled = False
            reason = error.message if isinstance(error, GatewayError) else f"{type(error).__name__}: {error}"
            self._observer.counted(away=True, reason=reason)
        else:
            self._circuit.succeeded()
            self._observer.counted(away=False, reason="")

    async def _reconcile(self) -> None:
        """Take back what stands as leased to this worker's journal, and to those that are gone: what they spent of it is
        in the journal, and is stated."""
        escrow = self.holds.escrow
        for name in (self._worker, *self._gone):
            for scope, start in await self._counters.leased(name):
                escrow.unleased(name, scope, start, mine=name == self._worker)
        self._reconciled = True
