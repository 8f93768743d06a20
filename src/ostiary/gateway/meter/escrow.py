"""Budgets that workers share, as one of them sees them: leases, and the holds that come out of them; pure.

A worker has leased a part of each budget from the shared counters. A hold that fits into its leases is opened at once; for
any other it asks for what is lacking. What it spent, and what it has leased beyond that, is stated in absolute numbers,
so that a statement may be repeated, and what a worker of the same journal stated before is put right by it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from ostiary.core.limit import BUDGET_SCOPES_MAX, EXCHANGE_REQUESTS_MAX, REFRESH_SCOPES_MAX
from ostiary.core.usage import Nano
from ostiary.gateway.meter.hold import Exhausted, Hold, Spent
from ostiary.gateway.meter.period import bounds
from ostiary.gateway.ports import BudgetAnswer, BudgetBatch, Granted, Other, Stated, Want
from ostiary.snapshot.tables import BudgetedRow, BudgetRow

_NOT_NOW: Final = -2


class _Account:
    """One scope in its period. `lease_*` is what is leased and neither spent nor given back; `held_*` its part in open
    holds. `asking` while an exchange decides over it, `idle` where no hold touched it since the last beat."""

    __slots__ = (
        "asking",
        "budget",
        "end",
        "held_nano",
        "held_tokens",
        "idle",
        "lease_nano",
        "lease_tokens",
        "others",
        "spent_nano",
        "spent_tokens",
        "start",
    )

    def __init__(self, budget: BudgetRow, start: int, end: int) -> None:
        self.budget, self.start, self.end = budget, start, end
        self.spent_nano = self.spent_tokens = 0
        self.lease_nano = self.lease_tokens = 0
        self.held_nano = self.held_tokens = 0
        self.others: tuple[Other, ...] = ()
        self.asking = 0
        self.idle = True

    def lacks(self, nano: int, tokens: int) -> bool:
        """Whether a hold needs more than what is leased and free."""
        budget = self.budget
        return (budget.nano is not None and nano > max(self.lease_nano - self.held_nano, 0)) or (
            budget.tokens is not None and tokens > max(self.lease_tokens - self.held_tokens, 0)
        )


class Need(msgspec.Struct, frozen=True):
    """A hold that waits for leases."""

    nano: int
    tokens: int
    scopes: tuple[BudgetedRow, ...]


class Sent(msgspec.Struct, frozen=True):
    """A batch and what it stands for."""

    batch: BudgetBatch
    needs: tuple[Need, ...]
    finals: tuple[Stated, ...]


class Escrow:
    """The leases and open holds of one worker. `generation` is that of the counters which know all of it; empty while
    some of it must be stated anew before anything is lent."""

    def __init__(self) -> None:
        self.generation = ""
        self.reserved_nano = 0
        self.settled_nano = 0
        self._meeting = ""
        self._accounts: dict[str, _Account] = {}
        self._open: dict[int, Hold] = {}
        self._next = 0
        self._dirty: dict[str, None] = {}
        self._anew: dict[str, None] = {}
        self._finals: dict[tuple[str, int, str], Stated] = {}
        self._gone: tuple[Stated, ...] = ()
        self._round: Iterator[str] = iter(())

    def reserve(self, nano: Nano, tokens: int, scopes: Sequence[BudgetedRow], now_seconds: int) -> Hold | None:
        """Open a hold out of what is leased. None where more must be leased first, or where others wait for that."""
        for one in scopes:
            account = self._account(one, now_seconds)
            if (nano or tokens) and one.budget.hard and (account.asking or account.lacks(nano, tokens)):
                return None  # what costs nothing needs no room
        return self._opened(nano, tokens, scopes)

    def settle(self, hold: Hold, nano: Nano, tokens: int, now_seconds: int) -> None:
        """Close a hold at what the call cost (0: released). Raises ValueError where it is not open."""
        if self._open.pop(hold.number, None) is None:
            raise ValueError("a hold is settled once")
        self.reserved_nano -= hold.nano
        self.settled_nano += nano
        for one in hold.scopes:
            account = self._account(one, now_seconds)
            account.held_nano -= hold.nano
            account.held_tokens -= hold.tokens
            if nano or tokens:
                self._charge(one.scope, account, nano, tokens)

    def restore(self, scopes: Sequence[BudgetedRow], nano: Nano, tokens: int, at_seconds: int) -> None:
        """Charge what an earlier run of this worker spent at `at_seconds`, as its journal tells it in order."""
        for one in scopes:
            account = self._account(one, at_seconds)
            self._finals.clear()  # periods that are over by now: whoever counted them has what was stated then
            if at_seconds >= account.start:
                self._charge(one.scope, account, nano, tokens)

    def load(self, scope: str, budget: BudgetRow, spent: Spent) -> None:
        """Take over what a checkpoint says of a scope."""
        account = self._accounts[scope] = _Account(budget, *bounds(budget.period, budget.time_zone, spent.start))
        account.spent_nano, account.spent_tokens = spent.nano, spent.tokens
        self._dirty[scope] = None

    def spent(self) -> dict[str, Spent]:
        """What this worker has spent of every scope in its period; holds are not in it."""
        return {
            scope: Spent(account.start, account.spent_nano, account.spent_tokens)
            for scope, account in self._accounts.items()
        }

    @property
    def open_count(self) -> int:
        """How many holds are open."""
        return len(self._open)

    # --- what is said to the counters, and heard from them ------------------------------------------------

    def gone(self, stated: Iterable[Stated]) -> None:
        """Take over the statements for workers whose journals are here and which do not run: made whenever the counters
        must hear everything."""
        self._gone = (*self._gone, *stated)

    def unleased(self, worker: str, scope: str, start: int, *, mine: bool) -> None:
        """The counters say that `worker`, which has just begun or is gone, has a lease. It has none: say so."""
        account = self._accounts.get(scope)
        if mine and account is not None and account.start == start:
            self._dirty[scope] = None
        elif mine:
            self._finals[scope, start, ""] = Stated(scope, start)
        else:
            self._finals.setdefault(
                (scope, start, worker),
                Stated(scope, start, others=(Other(worker, 0, 0, 0, 0, final=True),), mine=False),
            )

    def lost_touch(self) -> None:
        """The counters could not be asked for a while, or may have lost something: everything is stated anew."""
        self.generation = self._meeting = ""

    def give_back(self) -> None:
        """Give back what is leased and not held where no hold touched it since the last time this was called."""
        for scope, account in self._accounts.items():
            if account.asking:
                continue
            if account.idle and (
                account.lease_nano > max(account.held_nano, 0) or account.lease_tokens > max(account.held_tokens, 0)
            ):
                account.lease_nano = min(account.lease_nano, max(account.held_nano, 0))
                account.lease_tokens = min(account.lease_tokens, max(account.held_tokens, 0))
                self._dirty[scope] = None
            account.idle = True

    def batch(self, needs: Sequence[Need], now_seconds: int, *, beat: bool) -> Sent | None:
        """What there is to say, with as many of `needs` as may be decided now, from the first on; None where there is
        nothing. It must be `heard` or `unheard` before the next."""
        asked = tuple(needs[:EXCHANGE_REQUESTS_MAX]) if self.generation else ()
        if not (needs or self._finals or self._dirty or self._anew or beat):
            return None
        places: dict[str, int] = {}
        for need in asked:
            for one in need.scopes:
                if one.budget.hard:
                    self._account(one, now_seconds).asking += 1
                    places.setdefault(one.scope, len(places))
        for scope in (*islice(self._anew, EXCHANGE_REQUESTS_MAX), *islice(self._dirty, EXCHANGE_REQUESTS_MAX)):
            if scope in self._accounts:
                places.setdefault(scope, len(places))
            else:
                self._drop(scope)
        if beat:
            self._refresh(places)
        stated = [self._stated(scope, anew=scope in self._anew) for scope in places]
        for scope in places:
            self._drop(scope)
        finals = tuple(self._finals.pop(key) for key in list(self._finals)[:EXCHANGE_REQUESTS_MAX])
        wants = tuple(
            Want(need.nano, need.tokens, tuple(places[one.scope] for one in need.scopes if one.budget.hard))
            for need in asked
        )
        return Sent(BudgetBatch(self.generation, (*stated, *finals), wants), asked, finals)

    def heard(self, sent: Sent, answer: BudgetAnswer, now_seconds: int) -> list[Hold | Exhausted | None]:
        """Take over an answer. For each need that was asked for: its hold, or why there is none (None: nothing is lent
        just now)."""
        for one, lent in zip(sent.batch.stated, answer.accounts, strict=True):
            account = self._accounts.get(one.scope)
            if not one.mine:
                continue
            grown = lent.lease_nano > one.lease_nano or lent.lease_tokens > one.lease_tokens
            if account is not None and account.start == one.start:
                if answer.generation == sent.batch.generation:
                    account.others = lent.others
                else:  # what they do not know may be what they have lost
                    heard = {other.worker for other in lent.others}
                    missing = (other for other in account.others if other.worker not in heard)
                    account.others = (*lent.others, *missing)
                account.lease_nano += max(lent.lease_nano - one.lease_nano, 0)
                account.lease_tokens += max(lent.lease_tokens - one.lease_tokens, 0)
            elif grown:  # its period ended meanwhile
                final = self._finals.get((one.scope, one.start, ""), one)
                self._finals[one.scope, one.start, ""] = msgspec.structs.replace(final, lease_nano=0, lease_tokens=0)
        self._release(sent)
        if answer.generation != self.generation:
            self._meet(answer.generation)
        return [
            self._decided(sent, need, said, now_seconds) for need, said in zip(sent.needs, answer.wants, strict=True)
        ]

    def unheard(self, sent: Sent) -> None:
        """No answer came to a batch: it may have been taken or not."""
        self._release(sent)
        for one in sent.finals:
            self._finals.setdefault((one.scope, one.start, "" if one.mine else one.others[0].worker), one)
        for one in sent.batch.stated:
            if one.scope in self._accounts:
                self._dirty[one.scope] = None
        self.lost_touch()

    @property
    def meeting(self) -> bool:
        """Whether counters of another generation are being told everything."""
        return bool(self._meeting)

    def _refresh(self, places: dict[str, int]) -> None:
        """State a few more accounts, all of them in turn: what is heard of the others is then not old where the counters
        lose it."""
        taken = list(islice(self._round, REFRESH_SCOPES_MAX))
        if len(taken) < REFRESH_SCOPES_MAX:
            self._round = iter(tuple(self._accounts))
        for scope in taken:
            if scope in self._accounts:
                places.setdefault(scope, len(places))

    def _drop(self, scope: str) -> None:
        self._dirty.pop(scope, None)
        self._anew.pop(scope, None)

    def _meet(self, generation: str) -> None:
        """Counters that do not know what this worker has said: say all of it, then go by their generation."""
        if generation != self._meeting:
            self.generation, self._meeting = "", generation
            self._anew = dict.fromkeys(self._accounts)
            for one in self._gone:
                self._finals[one.scope, one.start, one.others[0].worker] = one
        if not self._anew and not self._finals:
            self.generation, self._meeting = generation, ""

    def _decided(self, sent: Sent, need: Need, said: Granted, now_seconds: int) -> Hold | Exhausted | None:
        if said.refused == _NOT_NOW:
            return None
        if said.refused >= 0:
            one = sent.batch.stated[said.refused]
            return Exhausted(
                one.scope,
                None if one.budget_nano is None else said.remaining_nano,
                None if one.budget_tokens is None else said.remaining_tokens,
                one.end,
            )
        starts = {one.scope: one.start for one in sent.batch.stated}
        for scope in need.scopes:
            if self._account(scope, now_seconds).start != starts.get(scope.scope, -1) and scope.budget.hard:
                return None  # a new period began meanwhile, in which nothing is leased
        return self._opened(need.nano, need.tokens, need.scopes)

    def _release(self, sent: Sent) -> None:
        for need in sent.needs:
            for one in need.scopes:
                account = self._accounts.get(one.scope)
                if account is not None and account.asking:
                    account.asking -= 1

    def _opened(self, nano: int, tokens: int, scopes: Sequence[BudgetedRow]) -> Hold:
        hold = Hold(self._next, Nano(nano), tokens, tuple(scopes))
        self._next += 1
        self._open[hold.number] = hold
        self.reserved_nano += nano
        for one in scopes:
            account = self._accounts[one.scope]
            account.held_nano += nano
            account.held_tokens += tokens
            account.idle = False
        return hold

    def _charge(self, scope: str, account: _Account, nano: int, tokens: int) -> None:
        account.spent_nano += nano
        account.spent_tokens += tokens
        if account.budget.hard:
            account.lease_nano = max(account.lease_nano - nano, 0)
            account.lease_tokens = max(account.lease_tokens - tokens, 0)
        self._dirty[scope] = None

    def _stated(self, scope: str, *, anew: bool = False) -> Stated:
        account = self._accounts[scope]
        budget = account.budget
        return Stated(
            scope,
            account.start,
            account.end,
            account.spent_nano,
            account.spent_tokens,
            account.lease_nano,
            account.lease_tokens,
            account.held_nano,
            account.held_tokens,
            budget.nano,
            budget.tokens,
            budget.alerts,
            account.others if anew else (),
        )

    def _account(self, one: BudgetedRow, now_seconds: int) -> _Account:
        budget = one.budget
        account = self._accounts.get(one.scope)
        if account is None:
            if len(self._accounts) >= BUDGET_SCOPES_MAX:
                self._forget(now_seconds)
            return self._accounts.setdefault(
                one.scope, _Account(budget, *bounds(budget.period, budget.time_zone, now_seconds))
            )
        account.budget = budget
        if now_seconds >= account.end:  # a clock that goes back starts no period anew
            self._finals[one.scope, account.start, ""] = msgspec.structs.replace(
                self._stated(one.scope), lease_nano=0, lease_tokens=0, held_nano=0, held_tokens=0
            )
            account.start, account.end = bounds(budget.period, budget.time_zone, now_seconds)
            account.spent_nano = account.spent_tokens = 0
            # Holds that outlive their period count against the next one, whether it has room for them or not.
            account.lease_nano = account.held_nano if budget.hard and budget.nano is not None else 0
            account.lease_tokens = account.held_tokens if budget.hard and budget.tokens is not None else 0
            account.others = ()
            self._dirty[one.scope] = None
        return account

    def _forget(self, now_seconds: int) -> None:
        """Forget accounts whose period is over, on which nothing is held or leased and of which all is said."""
        self._accounts = {
            scope: one
            for scope, one in self._accounts.items()
            if one.end > now_seconds
            or one.held_nano
            or one.held_tokens
            or one.lease_nano
            or one.lease_tokens
            or scope in self._dirty
        }
