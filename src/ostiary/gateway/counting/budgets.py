"""The budgets of calls, leased from shared counters. A hold that fits into what is leased waits for nothing; while the
counters are away any other is refused: a budget never opens because nobody can be asked."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ostiary.core.error import Code, GatewayError
from ostiary.core.event import BudgetAlert
from ostiary.core.port import Clock
from ostiary.core.usage import Nano
from ostiary.gateway.counting.circuit import Circuit
from ostiary.gateway.meter.escrow import Escrow, Need, Sent
from ostiary.gateway.meter.hold import Exhausted, Hold
from ostiary.gateway.ports import BudgetAnswer, BudgetBatch
from ostiary.snapshot.tables import BudgetedRow

_NO_ALERTS: Final = ()
_NANO: Final = 1_000_000_000
_RETRY_SECONDS: Final = 1.0


class _Waiting(msgspec.Struct):
    """A call that waits for leases."""

    future: asyncio.Future[Hold | Exhausted]
    need: Need


class SharedHolds:
    """Has the methods of Holds; `reserve` gives a future where leases are asked for. `wake` asks for an exchange."""

    def __init__(
        self, circuit: Circuit, clock: Clock, alerted: Callable[[BudgetAlert], None], wake: Callable[[], None]
    ) -> None:
        self.escrow = Escrow()
        self.rebuilding_seconds = 0.0
        self._circuit = circuit
        self._clock = clock
        self._alerted = alerted
        self._wake = wake
        self._waiting: deque[_Waiting] = deque()
        self._sent: tuple[Sent, list[_Waiting]] | None = None

    def reserve(
        self, nano: Nano, tokens: int = 0, scopes: Sequence[BudgetedRow] = (), now_seconds: int = 0
    ) -> Hold | Exhausted | asyncio.Future[Hold | Exhausted]:
        """As Holds.reserve, or a future of the same. Whoever gives it up must `settle` the hold it gave by then. Raises,
        at once or from the future, GatewayError counters.unavailable."""
        hold = self.escrow.reserve(nano, tokens, scopes, now_seconds)
        if hold is not None:
            return hold
        if self._circuit.away:
            raise _unavailable("cannot be reached", _RETRY_SECONDS)
        future: asyncio.Future[Hold | Exhausted] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(future, Need(nano, tokens, tuple(scopes))))
        self._wake()
        return future

    def settle(self, hold: Hold, nano: Nano, tokens: int = 0, now_seconds: int = 0) -> Sequence[BudgetAlert]:
        """See Holds; the counters hear of it at the next beat, and what that sets off is told then."""
        self.escrow.settle(hold, nano, tokens, now_seconds)
        return _NO_ALERTS

    @property
    def open_count(self) -> int:
        """See Holds."""
        return self.escrow.open_count

    @property
    def reserved_nano(self) -> int:
        """See Holds."""
        return self.escrow.reserved_nano

    @property
    def settled_nano(self) -> int:
        """See Holds."""
        return self.escrow.settled_nano

    # --- the exchange -------------------------------------------------------------------------------------

    def batch(self, *, beat: bool) -> BudgetBatch | None:
        """What there is to say, where that should not wait for the next beat; None where there is nothing."""
        if not (beat or self._waiting or self.escrow.meeting):
            return None
        while self._waiting and self._waiting[0].future.cancelled():
            self._waiting.popleft()
        sent = self.escrow.batch([one.need for one in self._waiting], self._seconds(), beat=beat)
        if sent is None:
            return None
        self._sent = sent, [self._waiting.popleft() for _ in sent.needs]
        return sent.batch

    def answered(self, answer: BudgetAnswer) -> None:
        """Tell the calls of the last batch, and the alerts that it set off."""
        assert self._sent is not None
        (sent, calls), self._sent = self._sent, None
        now_seconds = self._seconds()
        self.rebuilding_seconds = answer.rebuilding_seconds
        again: list[_Waiting] = []
        for one, decided in zip(calls, self.escrow.heard(sent, answer, now_seconds), strict=True):
            if decided is None:
                again.append(one)
            elif not one.future.cancelled():
                one.future.set_result(decided)
            elif isinstance(decided, Hold):
                self.escrow.settle(decided, Nano(0), 0, now_seconds)
        self._waiting.extendleft(reversed(again))
        for stated, lent in zip(sent.batch.stated, answer.accounts, strict=True):
            for share in lent.crossed:
                self._alerted(
                    BudgetAlert(
                        at_ns=self._clock.now_ns(),
                        scope=stated.scope,
                        share=share,
                        start=stated.start,
                        end=stated.end,
                        spent_nano=lent.spent_nano,
                        spent_tokens=lent.spent_tokens,
                        budget_nano=stated.budget_nano,
                        budget_tokens=stated.budget_tokens,
                    )
                )
        if answer.rebuilding_seconds > 0:
            self._refuse_all(_unavailable("are being built anew", max(answer.rebuilding_seconds, _RETRY_SECONDS)))
        if self._waiting or self.escrow.meeting:
            self._wake()

    def failed(self) -> None:
        """No answer came."""
        if self._sent is not None:
            (sent, calls), self._sent = self._sent, None
            self.escrow.unheard(sent)
            self._waiting.extendleft(reversed(calls))
        self.escrow.lost_touch()
        self._refuse_all(_unavailable("cannot be reached", _RETRY_SECONDS))

    def _refuse_all(self, error: GatewayError) -> None:
        while self._waiting:
            one = self._waiting.popleft()
            if not one.future.cancelled():
                one.future.set_exception(error)

    def _seconds(self) -> int:
        return self._clock.now_ns() // _NANO


def _unavailable(why: str, retry_after_seconds: float) -> GatewayError:
    return GatewayError(
        Code.COUNTERS_UNAVAILABLE,
        f"What is left of a budget cannot be told: the shared counters {why}.",
        retry_after_seconds=retry_after_seconds,
    )
