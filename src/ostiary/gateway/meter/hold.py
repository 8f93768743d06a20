"""Reservations on budgets: an upper bound taken before a call, settled at what it cost, exactly once; pure.

Every scope of a call must have room, or none is touched. What a call cost is charged to the period in which it
settles, so a hold that outlives its period counts against the next. Spend passes a hard budget by no more than what
settled calls cost beyond their holds, which only an estimate that was too low can cause.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from ostiary.core.error import CallerError, Code
from ostiary.core.event import BudgetAlert
from ostiary.core.limit import BUDGET_SCOPES_MAX
from ostiary.core.usage import NANO_PER_UNIT, Nano, Usage
from ostiary.gateway.meter.period import bounds
from ostiary.snapshot.tables import BudgetedRow, BudgetRow


class Hold(msgspec.Struct, frozen=True):
    """An open reservation of `nano` and `tokens` on `scopes`."""

    number: int
    nano: Nano
    tokens: int = 0
    scopes: tuple[BudgetedRow, ...] = ()


class Exhausted(msgspec.Struct, frozen=True):
    """A budget without room for a hold, and what is left of it (None: it has no bound of that kind); `ends_seconds`
    since 1970 is when its period does."""

    scope: str
    remaining_nano: int | None
    remaining_tokens: int | None
    ends_seconds: int


class Spent(msgspec.Struct, frozen=True):
    """What a scope spent in the period that began at `start` (seconds since 1970); for checkpoints."""

    start: int
    nano: int
    tokens: int


_NOTHING: Final = ()
_NO_BOUND: Final = float("inf")
_LESS: Final = 1 - 1e-12
"""By more than a product of floats may be wrong."""
_RETRY_SECONDS_MAX: Final = 32 * 86_400.0


class _Account:
    """One scope in its period. `nano` and `tokens` are what is spent and what is held together; `most_*` is what they may
    come to by the `budget` last met, `quiet_*` what may be spent of it before any alert can be due."""

    __slots__ = (
        "budget",
        "end",
        "most_nano",
        "most_tokens",
        "nano",
        "quiet_nano",
        "quiet_tokens",
        "spent_nano",
        "spent_tokens",
        "start",
        "tokens",
        "told",
    )

    def __init__(self, budget: BudgetRow, start: int, end: int) -> None:
        self.start, self.end = start, end
        self.nano = self.tokens = 0
        self.spent_nano = self.spent_tokens = 0
        self.told = 0.0
        self.meet(budget)

    def meet(self, budget: BudgetRow) -> None:
        """Go by this budget: one that was changed, or raised for a time."""
        self.budget = budget
        nano, tokens = budget.nano, budget.tokens
        self.most_nano = nano if nano is not None and budget.hard else _NO_BOUND
        self.most_tokens = tokens if tokens is not None and budget.hard else _NO_BOUND
        share = budget.alerts[0] * _LESS if budget.alerts else _NO_BOUND  # the least of them
        self.quiet_nano = nano * share if nano else _NO_BOUND
        self.quiet_tokens = tokens * share if tokens else _NO_BOUND


class Holds:
    """The open reservations and the accounts of one worker."""

    def __init__(self) -> None:
        self._open: dict[int, Hold] = {}
        self._accounts: dict[str, _Account] = {}
        self._next = 0
        self.reserved_nano = 0
        self.settled_nano = 0

    def reserve(
        self, nano: Nano, tokens: int = 0, scopes: Sequence[BudgetedRow] = _NOTHING, now_seconds: int = 0
    ) -> Hold | Exhausted:
        """Open a hold of `nano` and `tokens` >= 0 on every scope, or say which budget has no room for it."""
        known = self._accounts.get
        for one in scopes:
            account = known(one.scope)
            if account is None or now_seconds >= account.end or account.budget is not one.budget:
                account = self._account(one, now_seconds)
            account.nano = all_nano = account.nano + nano
            account.tokens = all_tokens = account.tokens + tokens
            if (all_nano > account.most_nano and nano) or (all_tokens > account.most_tokens and tokens):
                self._untouch(scopes[: scopes.index(one) + 1], nano, tokens)
                return _exhausted(one, account)  # what costs nothing needs no room
        number = self._next
        self._next = number + 1
        self._open[number] = hold = Hold(number, nano, tokens, tuple(scopes))
        self.reserved_nano += nano
        return hold

    def _untouch(self, scopes: Sequence[BudgetedRow], nano: int, tokens: int) -> None:
        """Give back what was taken of some scopes."""
        for one in scopes:
            account = self._accounts[one.scope]
            account.nano -= nano
            account.tokens -= tokens

    def settle(self, hold: Hold, nano: Nano, tokens: int = 0, now_seconds: int = 0) -> Sequence[BudgetAlert]:
        """Close a hold at what the call cost (0: released); the alerts that this sets off. Raises ValueError where it
        is not open."""
        if self._open.pop(hold.number, None) is None:
            raise ValueError("a hold is settled once")
        self.reserved_nano -= hold.nano
        self.settled_nano += nano
        if not hold.scopes:
            return _NOTHING
        alerts: list[BudgetAlert] = []
        more_nano, more_tokens = nano - hold.nano, tokens - hold.tokens
        known = self._accounts.get
        for one in hold.scopes:
            account = known(one.scope)
            if account is None or now_seconds >= account.end or account.budget is not one.budget:
                account = self._account(one, now_seconds)
            account.nano += more_nano
            account.tokens += more_tokens
            account.spent_nano = spent_nano = account.spent_nano + nano
            account.spent_tokens = spent_tokens = account.spent_tokens + tokens
            if spent_nano >= account.quiet_nano or spent_tokens >= account.quiet_tokens:  # not on most days
                share = _share(account, one.budget)
                if share >= one.budget.alerts[0]:
                    alerts += _crossed(account, one, share, now_seconds)
        return alerts

    def restore(self, scopes: Sequence[BudgetedRow], nano: Nano, tokens: int, at_seconds: int) -> None:
        """Charge what an earlier run of this worker spent at `at_seconds`, as its journal tells it in order."""
        for one in scopes:
            account = self._account(one, at_seconds)
            if at_seconds >= account.start:
                account.nano += nano
                account.tokens += tokens
                account.spent_nano += nano
                account.spent_tokens += tokens
                marks = one.budget.alerts
                if marks and (share := _share(account, one.budget)) >= marks[0]:
                    account.told = max(account.told, share)

    def spent(self) -> dict[str, Spent]:
        """What every scope has spent in its period; holds are not in it."""
        return {
            scope: Spent(account.start, account.spent_nano, account.spent_tokens)
            for scope, account in self._accounts.items()
        }

    def load(self, scope: str, budget: BudgetRow, spent: Spent) -> None:
        """Take over what a checkpoint says of a scope."""
        start, end = bounds(budget.period, budget.time_zone, spent.start)
        account = self._accounts[scope] = _Account(budget, start, end)
        account.nano = account.spent_nano = spent.nano
        account.tokens = account.spent_tokens = spent.tokens
        account.told = _share(account, budget)

    @property
    def open_count(self) -> int:
        """How many holds are open."""
        return len(self._open)

    def _account(self, one: BudgetedRow, now_seconds: int) -> _Account:
        budget = one.budget
        account = self._accounts.get(one.scope)
        if account is None:
            if len(self._accounts) >= BUDGET_SCOPES_MAX:
                self._forget(now_seconds)
            start, end = bounds(budget.period, budget.time_zone, now_seconds)
            account = self._accounts[one.scope] = _Account(budget, start, end)
            return account
        if now_seconds >= account.end:  # a clock that goes back starts no period anew
            account.start, account.end = bounds(budget.period, budget.time_zone, now_seconds)
            account.nano -= account.spent_nano
            account.tokens -= account.spent_tokens
            account.spent_nano = account.spent_tokens = 0
            account.told = 0.0
        if account.budget is not budget:
            account.meet(budget)
        return account

    def _forget(self, now_seconds: int) -> None:
        """Forget accounts whose period is over and on which nothing is held."""
        for scope, one in list(self._accounts.items()):
            if one.end <= now_seconds and one.nano == one.spent_nano and one.tokens == one.spent_tokens:
                del self._accounts[scope]


def exhausted(refused: Exhausted, nano: int, bound: Usage, now_seconds: int) -> CallerError:
    """The refusal in words: the hold, what is left, and how many output tokens would pass."""
    kind = refused.scope.partition("/")[0]
    wait = float(max(refused.ends_seconds - now_seconds, 0))
    left_nano, left_tokens = refused.remaining_nano, refused.remaining_tokens
    passing: list[int] = []
    if left_tokens is not None:
        passing.append(left_tokens - bound.input_tokens)
    if left_nano is not None and bound.output_tokens and nano:
        # The dearest rates hold for the whole bound, so the output's part is at most its share of all tokens dear.
        passing.append(bound.output_tokens * left_nano // nano - (bound.input_tokens if left_nano < nano else 0))
    most = min(passing, default=0)
    text = bound == Usage(bound.input_tokens, bound.output_tokens)  # what else is made has no bound to lower
    advice = f" With max_tokens of {most} it would pass." if text and 0 < most < bound.output_tokens else ""
    parts = []
    if left_nano is not None:
        parts.append(f"may cost {_units(nano)} USD and {_units(left_nano)} USD are left")
    if left_tokens is not None:
        parts.append(f"may take {bound.total_tokens} tokens and {left_tokens} are left")
    return CallerError(
        Code.BUDGET_EXHAUSTED,
        f"The call {' and '.join(parts)} of the budget of this {kind}.{advice}",
        retry_after_seconds=wait if wait < _RETRY_SECONDS_MAX else None,
    )


def _units(nano: int) -> str:
    return f"{nano // NANO_PER_UNIT}.{nano % NANO_PER_UNIT:09d}".rstrip("0").rstrip(".")


def _exhausted(one: BudgetedRow, account: _Account) -> Exhausted:
    nano, tokens = one.budget.nano, one.budget.tokens
    return Exhausted(
        one.scope,
        None if nano is None else max(nano - account.nano, 0),
        None if tokens is None else max(tokens - account.tokens, 0),
        account.end,
    )


def _crossed(account: _Account, one: BudgetedRow, share: float, now_seconds: int) -> list[BudgetAlert]:
    """The alerts that are set off where `share` of a budget is spent."""
    budget = one.budget
    crossed = [at for at in budget.alerts if account.told < at <= share]
    account.told = max(account.told, share)
    return [
        BudgetAlert(
            at_ns=now_seconds * 1_000_000_000,
            scope=one.scope,
            share=at,
            start=account.start,
            end=account.end,
            spent_nano=account.spent_nano,
            spent_tokens=account.spent_tokens,
            budget_nano=budget.nano,
            budget_tokens=budget.tokens,
            currency=budget.currency,
        )
        for at in crossed
    ]


def _share(account: _Account, budget: BudgetRow) -> float:
    """How much of a budget is spent, the fuller of its two kinds."""
    nano, tokens = budget.nano, budget.tokens
    share = account.spent_nano / nano if nano else 0.0
    return max(share, account.spent_tokens / tokens) if tokens else share
