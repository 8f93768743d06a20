"""The limits of calls, decided by shared counters: what arrives while one exchange is under way is the next.

What the counters say is kept as the memory of one worker keeps it, for answers' headers, and for going on alone while the
counters are away: then each worker lets through its share, the limit divided by the workers last known.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ostiary.core.error import OstiaryError
from ostiary.core.limit import EXCHANGE_REQUESTS_MAX, RATE_SCOPES_MAX, SLOT_RENEW_SECONDS
from ostiary.core.port import Clock
from ostiary.gateway.counting.circuit import Circuit
from ostiary.gateway.meter.limits import Limits, Standing, Taken, asked, share_of, too_fast, too_many
from ostiary.gateway.meter.rate import Cells
from ostiary.gateway.ports import LimitAnswer, LimitBatch, LimitTake, LimitVerdict, RateCell, Slot
from ostiary.snapshot.tables import LimitedRow

_NEVER: Final = -1e9


class _Waiting(msgspec.Struct):
    """A call that waits for the counters' word."""

    future: asyncio.Future[Taken]
    scopes: Sequence[LimitedRow]
    tokens: int
    taken: Taken
    take: LimitTake


class SharedLimits:
    """Has the methods of Limits; `take` gives a future where the counters are asked. `workers` is how many there are, as
    last heard. `wake` asks for an exchange."""

    def __init__(self, circuit: Circuit, clock: Clock, wake: Callable[[], None], workers: int = 1) -> None:
        self.workers = max(workers, 1)
        self.taken_alone = 0
        self._circuit = circuit
        self._clock = clock
        self._wake = wake
        self._known = Limits()
        self._waiting: deque[_Waiting] = deque()
        self._sent: list[_Waiting] = []
        self._corrections: dict[str, float] = {}
        self._touched: set[str] = set()
        self._stated: set[str] = set()
        self._renewed_at = _NEVER

    def take(self, scopes: Sequence[LimitedRow], tokens: int, now: float) -> Taken | asyncio.Future[Taken]:
        """As Limits.take, or a future of the same. Whoever gives it up must `end` what it gave by then."""
        if self._circuit.away:
            return self._alone(scopes, tokens, now)
        taken = asked(scopes, tokens)
        take = LimitTake(
            tuple(
                RateCell(cell.name, cell.interval(), cell.burst, cell.cost or tokens)
                for cell in (*taken.requests.each, *taken.tokens.each)
            ),
            tuple(
                Slot(one.scope, one.limit.concurrent_requests)
                for one in scopes
                if one.limit.concurrent_requests is not None
            ),
        )
        future: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(future, scopes, tokens, taken, take))
        self._wake()
        return future

    def end(self, taken: Taken, tokens: int | None, now: float) -> None:
        """See Limits. The counters hear of it with the next exchange."""
        self._known.end(taken, tokens, now)
        if taken.open:
            self._touched.update(taken.open)
            self._wake()
        if tokens is not None and not taken.alone:
            for cell in taken.tokens.each:
                if cell.name in self._corrections or len(self._corrections) < RATE_SCOPES_MAX:
                    seconds = (tokens - (cell.cost or taken.expected)) * cell.interval()
                    self._corrections[cell.name] = self._corrections.get(cell.name, 0.0) + seconds

    def standing(self, cells: Cells, now: float) -> Standing | None:
        """See Limits; as last heard."""
        return self._known.standing(cells, now)

    @property
    def open_count(self) -> int:
        """See Limits."""
        return self._known.open_count

    # --- the exchange -------------------------------------------------------------------------------------

    def batch(self, *, beat: bool, now: float) -> LimitBatch | None:
        """What there is to say; None where there is nothing. It must be answered or failed before the next."""
        if beat and now - self._renewed_at >= SLOT_RENEW_SECONDS:
            self._renewed_at = now
            self._touched.update(self._known.scopes_open())
        if not (self._waiting or self._touched or beat):
            return None
        count = min(len(self._waiting), EXCHANGE_REQUESTS_MAX)
        self._sent = [self._waiting.popleft() for _ in range(count)]
        corrections, self._corrections = self._corrections, {}
        touched, self._touched = self._touched, set()
        for one in self._sent:
            touched.update(one.taken.open)
        self._stated = touched
        return LimitBatch(
            tuple(one.take for one in self._sent),
            tuple(corrections.items()),
            tuple((scope, self._known.open_in(scope)) for scope in touched),
            beat,
        )

    def answered(self, answer: LimitAnswer, now: float) -> None:
        """Tell the calls of the last batch."""
        sent, self._sent = self._sent, []
        self.workers = answer.workers or self.workers
        for one, verdict in zip(sent, answer.verdicts, strict=True):
            if verdict.refused >= 0:
                _refuse(one, _refusal(one, verdict))
                continue
            self._known.told(one.taken, verdict.reset_seconds, now)
            self._give(one, one.taken, now)
        if self._waiting:
            self._wake()

    def failed(self, now: float) -> None:
        """No answer came: every call that waits is decided here and now, and everything is said again later."""
        sent, self._sent = self._sent, []
        self._renewed_at = _NEVER
        self._touched |= self._stated  # what was not answered may have been taken all the same
        for one in (*sent, *self._waiting):
            try:
                taken = self._alone(one.scopes, one.tokens, now)
            except OstiaryError as error:
                _refuse(one, error)
            else:
                self._give(one, taken, now)
        self._waiting.clear()

    def _alone(self, scopes: Sequence[LimitedRow], tokens: int, now: float) -> Taken:
        taken = self._known.take([share_of(one, self.workers) for one in scopes], tokens, now)
        self.taken_alone += 1
        return msgspec.structs.replace(taken, alone=True)

    def _give(self, one: _Waiting, taken: Taken, now: float) -> None:
        if one.future.cancelled():
            self.end(taken, 0, now)
        else:
            one.future.set_result(taken)


def _refuse(one: _Waiting, error: OstiaryError) -> None:
    if not one.future.cancelled():
        one.future.set_exception(error)


def _refusal(one: _Waiting, verdict: LimitVerdict) -> OstiaryError:
    slots = one.take.slots
    if verdict.refused < len(slots):
        return too_many(slots[verdict.refused].scope, slots[verdict.refused].limit)
    cells = (*one.taken.requests.each, *one.taken.tokens.each)
    return too_fast(cells[verdict.refused - len(slots)], verdict.wait_seconds)
