"""Shared counters in the memory of a test: a server that any number of fake workers use, and that fails when told to."""

from ostiary.core.error import Code, GatewayError
from ostiary.core.limit import LEASE_SHARE
from ostiary.core.port import Clock
from ostiary.gateway.ports import (
    BudgetAnswer,
    BudgetBatch,
    Granted,
    Lent,
    LimitAnswer,
    LimitBatch,
    LimitTake,
    LimitVerdict,
    Other,
    Stated,
)

_NO_BOUND = 2**60


class FakeServer:
    """What the workers share. `failing` makes every exchange fail, `deaf` lets it happen and loses the answer; both count
    exchanges from 0 in `fail_at` and `deaf_at` too. `forget` takes everything away; then nothing is lent until
    `lends` is set again."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.exchanges = 0
        self.failing = self.deaf = False
        self.fail_at: frozenset[int] = frozenset()
        self.deaf_at: frozenset[int] = frozenset()
        self.lends = True
        self.generation = 1
        self.tats: dict[str, float] = {}
        self.open: dict[str, dict[str, int]] = {}
        self.workers: set[str] = set()
        self.accounts: dict[tuple[str, int], dict[str, Other]] = {}

    def forget(self) -> None:
        """Lose everything."""
        self.generation += 1
        self.lends = False
        self.tats, self.open, self.accounts = {}, {}, {}


class FakeCounters:
    """Implements Counters for one worker of a FakeServer."""

    def __init__(self, server: FakeServer, worker: str) -> None:
        self._server = server
        self._worker = worker

    async def exchange(
        self, limits: LimitBatch | None, budgets: BudgetBatch | None
    ) -> tuple[LimitAnswer | None, BudgetAnswer | None]:
        """See Counters."""
        server = self._server
        number, server.exchanges = server.exchanges, server.exchanges + 1
        if server.failing or number in server.fail_at:
            raise _lost()
        answers = (
            None if limits is None else self._limits(limits),
            None if budgets is None else self._budgets(budgets),
        )
        if server.deaf or number in server.deaf_at:
            raise _lost()
        return answers

    async def leased(self, worker: str) -> tuple[tuple[str, int], ...]:
        """See Counters."""
        if self._server.failing:
            raise _lost()
        found = self._server.accounts.items()
        return tuple(key for key, fields in found if worker in fields and fields[worker].lease_nano > 0)

    async def aclose(self) -> None:
        """Nothing is open."""

    def _limits(self, batch: LimitBatch) -> LimitAnswer:
        server, now = self._server, self._server.clock.monotonic()
        for name, seconds in batch.corrections:
            server.tats[name] = max(server.tats.get(name, 0.0), now) + seconds
        for scope, count in batch.open:
            server.open.setdefault(scope, {})[self._worker] = count
        if batch.beat:
            server.workers.add(self._worker)
        return LimitAnswer(tuple(self._take(one, now) for one in batch.takes), len(server.workers) if batch.beat else 0)

    def _take(self, take: LimitTake, now: float) -> LimitVerdict:
        server = self._server
        for place, slot in enumerate(take.slots):
            if sum(server.open.get(slot.scope, {}).values()) >= slot.limit:
                return LimitVerdict(place, 1.0, ())
        tats = [max(server.tats.get(cell.name, 0.0), now) for cell in take.cells]
        for place, (cell, tat) in enumerate(zip(take.cells, tats, strict=True)):
            wait = tat - now + (min(cell.cost, cell.burst) - cell.burst) * cell.interval_seconds
            if wait > 1e-9:
                return LimitVerdict(len(take.slots) + place, wait, ())
        for slot in take.slots:
            mine = server.open.setdefault(slot.scope, {})
            mine[self._worker] = mine.get(self._worker, 0) + 1
        for cell, tat in zip(take.cells, tats, strict=True):
            server.tats[cell.name] = tat + cell.cost * cell.interval_seconds
        return LimitVerdict(-1, 0.0, tuple(server.tats[cell.name] - now for cell in take.cells))

    def _budgets(self, batch: BudgetBatch) -> BudgetAnswer:
        server = self._server
        generation = str(server.generation)
        rooms = [self._stated(one) for one in batch.stated]
        leases = [[one.lease_nano, one.lease_tokens] for one in batch.stated]
        free = [[one.lease_nano - one.held_nano, one.lease_tokens - one.held_tokens] for one in batch.stated]
        wants: list[Granted] = []
        for want in batch.wants:
            said = Granted(-1)
            if not server.lends or batch.generation != generation:
                said = Granted(-2)
            lacks: list[tuple[int, int, int]] = []
            for place in want.accounts if said.refused == -1 else ():
                for kind, need in enumerate((want.nano, want.tokens)):
                    lack = max(need - free[place][kind], 0) if need else 0
                    if lack > max(rooms[place][kind], 0):
                        said = Granted(place, *(max(rooms[place][i] + free[place][i], 0) for i in (0, 1)))
                    lacks.append((place, kind, lack))
                if said.refused >= 0:
                    break
            for place, kind, lack in lacks if said.refused == -1 else ():
                lent = (
                    max(lack, int(rooms[place][kind] * LEASE_SHARE)) if lack and rooms[place][kind] < _NO_BOUND else 0
                )
                rooms[place][kind] -= lent
                leases[place][kind] += lent
                free[place][kind] += lent - (want.nano, want.tokens)[kind]
            wants.append(said)
        lent_to: list[Lent] = []
        for one, (nano, tokens) in zip(batch.stated, leases, strict=True):
            fields = server.accounts.setdefault((one.scope, one.start), {})
            if one.mine:
                fields[self._worker] = Other(self._worker, one.spent_nano, one.spent_tokens, nano, tokens)
            others = tuple(other for name, other in fields.items() if name != self._worker)
            lent_to.append(Lent(nano, tokens, others))
        return BudgetAnswer(generation, 0.0 if server.lends else 1.0, tuple(lent_to), tuple(wants))

    def _stated(self, one: Stated) -> list[int]:
        """Take others' numbers over where they are missing; what is left of the budget besides this worker's part."""
        fields = self._server.accounts.setdefault((one.scope, one.start), {})
        for other in one.others:
            if other.final or other.worker not in fields:
                fields[other.worker] = other
        others = [other for name, other in fields.items() if name != self._worker]
        used_nano = one.spent_nano + one.lease_nano + sum(other.spent_nano + other.lease_nano for other in others)
        used_tokens = one.spent_tokens + one.lease_tokens
        used_tokens += sum(other.spent_tokens + other.lease_tokens for other in others)
        return [
            4 * _NO_BOUND if one.budget_nano is None else one.budget_nano - used_nano,
            4 * _NO_BOUND if one.budget_tokens is None else one.budget_tokens - used_tokens,
        ]


def _lost() -> GatewayError:
    return GatewayError(Code.COUNTERS_UNAVAILABLE, "The shared counters cannot be used: told to fail.")
