"""What one call takes, holds and leaves behind: its share of limits and budgets, and its records in the journal.

Guaranteed here: nothing that was taken is given back twice or never; every opening record gets exactly one closing one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ostiary.core.error import CallerError, Code, GatewayError
from ostiary.core.event import Gap, Kind, Outcome
from ostiary.core.label import Sensitivity
from ostiary.core.usage import Nano, Usage
from ostiary.gateway.audit import record
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.meter import price
from ostiary.gateway.meter.hold import Exhausted, Hold, exhausted
from ostiary.gateway.meter.increase import as_of
from ostiary.gateway.meter.limits import Taken
from ostiary.gateway.policy.access import Grant
from ostiary.gateway.ports import Receipt
from ostiary.gateway.route.plan import Plan
from ostiary.gateway.world import World
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import LimitedRow

Share = Callable[[tuple[LimitedRow, ...]], tuple[LimitedRow, ...]]
"""Which part of some limits a call takes."""

_NOTHING: Final = Usage()
_FREE: Final = Nano(0)
_OPENED: Final = Kind.OPENED
_CLOSED: Final = Kind.CLOSED
_DENIED: Final = Outcome.DENIED
_SECOND: Final = 1_000_000_000


class Account:
    """The account of one call. `bound` is the most it may consume; `receipt` the place of its opening record;
    `limited` the limits it fell under, if any; `recorded` whether its closing record was written, or tried."""

    receipt: Receipt | None = None
    limited: Taken | None = None
    recorded: bool = False
    bound: Usage = _NOTHING
    _hold: Hold | None = None
    _taken: Taken | None = None

    def __init__(self, world: World, index: Index, draft: Draft) -> None:
        self._world = world
        self._index = index
        self._draft = draft

    def limit(self, grant: Grant, bound: Usage, share: Share | None = None) -> Awaitable[None] | None:
        """Take the call's share of every limit it falls under, or of none; `share` says which part of each it takes,
        where that is not all. To be awaited where others must be asked. Raises CallerError limit.*."""
        self.bound = bound
        rows = grant.limits if grant.each_limit is None else grant.limits_of(self._draft.end_user)
        if share is not None:
            rows = share(rows)
        if rows:
            world = self._world
            taken = world.limits.take(rows, bound.input_tokens + bound.output_tokens, world.clock.monotonic())
            if not isinstance(taken, Taken):
                return self._limited(taken)
            self.limited = self._taken = taken
        return None

    async def _limited(self, asked: asyncio.Future[Taken]) -> None:
        try:
            self.limited = self._taken = await asked
        except asyncio.CancelledError:
            if asked.done() and not asked.cancelled() and asked.exception() is None:
                self._world.limits.end(asked.result(), 0, self._world.clock.monotonic())
            raise

    def reserve(self, grant: Grant, route: Plan) -> Awaitable[None] | None:
        """Hold an upper bound of the cost for the dearest target, and refuse what may not go out unpriced; to be awaited
        where others must be asked. Raises CallerError price.unknown or budget.exhausted, GatewayError
        counters.unavailable."""
        world, bound = self._world, self.bound
        pricing = self._index.snapshot.pricing
        seconds = world.clock.now_ns() // _SECOND
        dearest = _FREE
        for target in route.targets:
            most = price.most(target.price(seconds), pricing, bound)
            if most is None:
                raise CallerError(Code.PRICE_UNKNOWN, f"No price is known for {target.name}.", param="model")
            dearest = max(dearest, most)
        budgets = grant.budgets if grant.each_budget is None else grant.budgets_of(self._draft.end_user)
        if grant.raised:
            budgets = as_of(seconds, budgets)
        hold = world.holds.reserve(dearest, bound.input_tokens + bound.output_tokens, budgets, seconds)
        if isinstance(hold, Hold):
            self._hold = hold
            return None
        if isinstance(hold, Exhausted):
            raise exhausted(hold, dearest, bound, seconds)
        return self._reserved(hold, dearest, seconds)

    async def _reserved(self, asked: asyncio.Future[Hold | Exhausted], dearest: int, seconds: int) -> None:
        try:
            hold = await asked
        except asyncio.CancelledError:
            if asked.done() and not asked.cancelled() and asked.exception() is None:
                given = asked.result()
                if isinstance(given, Hold):
                    self._world.holds.settle(given, _FREE, 0, self._seconds())
            raise
        if isinstance(hold, Exhausted):
            raise exhausted(hold, dearest, self.bound, seconds)
        self._hold = hold

    def count(self, grant: Grant) -> None:
        """Hold nothing, yet charge what will be consumed to every budget: for what was not asked for beforehand."""
        seconds = self._seconds()
        budgets = as_of(seconds, grant.budgets_of(self._draft.end_user))
        hold = self._world.holds.reserve(_FREE, 0, budgets, seconds)
        self._hold = hold if isinstance(hold, Hold) else None  # what costs nothing needs no room

    def open(self, target: str) -> Awaitable[None] | None:
        """The opening record; to be awaited where it must be on the disk first. Nothing has gone upstream yet, and nothing
        will unless this succeeds. Raises GatewayError audit.unavailable."""
        world = self._world
        opened = self._draft.opened(world.clock.now_ns(), target)
        self.receipt = receipt = self._append(_OPENED, record.encode(opened), -1)
        return self.synced(receipt) if world.synced_first else None

    def close(self, outcome: Outcome) -> Receipt | None:
        """Settle the hold and write the one closing record. Raises GatewayError audit.unavailable."""
        draft, world = self._draft, self._world
        clock = world.clock
        at_ns, now = clock.now_ns(), clock.monotonic()
        cost = draft.cost
        self._settle(_FREE if cost is None else cost.nano, at_ns // _SECOND, now)
        receipt = self.receipt
        opened = -1 if receipt is None else receipt.sequence
        closed = draft.closed(outcome, opened, at_ns, now)
        kind = Kind.DENIED if outcome is _DENIED else _CLOSED
        self.recorded = True
        payload = record.encode(closed)
        try:
            receipt = self._append(kind, payload, opened)
        except Exception:
            if opened >= 0:
                world.journal.defer(kind, payload)
            raise
        world.observer.closed(closed)
        return receipt

    def drop(self) -> None:
        """Give back what is still held and taken, for whatever reason the call has ended; nothing of it where its closing
        record was written."""
        if self._hold is not None or self._taken is not None:
            self._settle(_FREE, self._seconds(), self._world.clock.monotonic())

    def _settle(self, nano: Nano, seconds: int, now: float) -> None:
        """Give back what was held beyond `nano` and what was taken beyond the usage; once, however often it is called."""
        hold, taken = self._hold, self._taken
        draft, world = self._draft, self._world
        usage = draft.usage
        tokens = usage.input_tokens + usage.output_tokens
        if hold is not None:
            self._hold = None
            for alert in world.holds.settle(hold, nano, tokens, seconds):
                world.alerts.tell(alert)
        if taken is not None:
            self._taken = None
            world.limits.end(taken, tokens if draft.cost is not None or hold is not None else None, now)

    def release(self) -> None:
        """Give back what was held, where another account is charged."""
        hold, self._hold = self._hold, None
        if hold is not None:
            self._world.holds.settle(hold, _FREE, 0, self._seconds())

    async def synced(self, receipt: Receipt | None) -> None:
        """Wait until a record is on the disk, where the operator asked for that. Raises GatewayError
        audit.unavailable."""
        if receipt is not None and self._world.synced_first:
            try:
                await self._world.journal.synced(receipt)
            except GatewayError:
                if not self._goes_on_unrecorded():
                    raise

    def _append(self, kind: Kind, payload: bytes, closes: int) -> Receipt | None:
        """Append a record; where the operator chose `continue`, a call of unregulated data may go on without."""
        world = self._world
        try:
            if world.gap_calls and world.journal.healthy():
                gap = Gap(world.gap_from_ns, world.clock.now_ns(), world.gap_calls, Code.AUDIT_UNAVAILABLE)
                world.journal.append(Kind.GAP, record.encode(gap))
                world.gap_calls = 0
            return world.journal.append(kind, payload, closes)
        except GatewayError:
            if not self._goes_on_unrecorded():
                raise
            return None

    def _goes_on_unrecorded(self) -> bool:
        """Whether the call may go on though a record is missing, which is then counted for the gap's own record."""
        world = self._world
        if self._index.snapshot.journal.on_failure != "continue" or self._draft.label is Sensitivity.REGULATED:
            return False
        if world.gap_calls == 0:
            world.gap_from_ns = world.clock.now_ns()
        world.gap_calls += 1
        return True

    def _seconds(self) -> int:
        return self._world.clock.now_ns() // _SECOND
