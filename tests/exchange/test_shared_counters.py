"""Whole calls on counters that workers share: what waits, what is given back, and what holds while they are away."""

import asyncio
import itertools

import pytest

from ostiary.core.error import Code
from ostiary.core.event import Kind
from ostiary.core.limit import RECONNECT_SECONDS_MAX
from ostiary.gateway.counting.shared import SharedCounters
from ostiary.snapshot.tables import BudgetedRow, BudgetRow, LimitedRow, LimitRow, Period
from ostiary.testing.clock import FakeClock
from ostiary.testing.counters import FakeCounters, FakeServer
from tests.exchange.harness import Always, House, Observer

TEAM, KEY, TENANT = "team/acme/search", "key/acme/key-1", "tenant/acme"


class Watching(Observer):
    def __init__(self):
        super().__init__()
        self.away = []

    def counted(self, *, away, reason):
        self.away.append(away)


class Never:
    """A timer for which no time passes: tests say when there is a beat."""

    def __init__(self, seconds, call):
        pass

    def cancel(self):
        pass


class Worker:
    """A house on shared counters, whose one task runs as long as the block."""

    def __init__(self, server, name="w1", *, limits=(), budgets=(), workers=1, gone=()):
        self.server = server
        self.house = House(
            clock=server.clock,
            limits=tuple(LimitedRow(scope, row) for scope, row in limits),
            budgets=tuple(BudgetedRow(scope, BudgetRow(period=Period.MONTH, **row)) for scope, row in budgets),
        )
        self.observer = Watching()
        self.shared = SharedCounters(
            FakeCounters(server, name),
            name,
            clock=server.clock,
            random=Always(0.5),
            observer=self.observer,
            alerted=self.house.world.alerts.tell,
            workers=workers,
            later=Never,
            gone=gone,
        )
        self.house.world.limits = self.shared.limits
        self.house.world.holds = self.shared.holds
        self.chat = self.house.chat

    async def __aenter__(self):
        await self.shared.start()
        self.task = asyncio.get_running_loop().create_task(self.shared.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def beat(self):
        """What the timer does, now."""
        exchanges = self.server.exchanges
        self.shared._tick()
        while self.server.exchanges == exchanges:
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)

    async def back(self):
        """Let the pause pass and an attempt be made."""
        self.server.clock.advance(RECONNECT_SECONDS_MAX)
        await self.beat()

    @property
    def recorded(self):
        return sum(closed.cost.nano for closed in self.house.journal.of(Kind.CLOSED) if closed.cost)


@pytest.fixture
def server():
    return FakeServer(FakeClock())


def stated(server, scope=TEAM):
    return {
        name: one for (found, _), fields in server.accounts.items() if found == scope for name, one in fields.items()
    }


async def test_calls_that_come_together_are_one_exchange(server):
    async with Worker(server, limits=[(KEY, LimitRow(requests_per_minute=6_000, request_burst=50))]) as one:
        before = server.exchanges
        sinks = await asyncio.gather(*(one.chat() for _ in range(80)))
        assert [sink.status for sink in sinks].count(200) == 50
        assert {sink.json["error"]["code"] for sink in sinks if sink.status != 200} == {Code.LIMIT_REQUESTS}
        assert server.exchanges - before == 1
        one.house.check()


async def test_two_workers_go_by_one_limit_and_one_count_of_open_calls(server):
    limits = [(KEY, LimitRow(concurrent_requests=2))]
    async with Worker(server, "w1", limits=limits) as one, Worker(server, "w2", limits=limits) as two:
        gate = asyncio.Event()

        async def hold(*_):
            await gate.wait()

        one.house.upstream.pause = two.house.upstream.pause = hold
        calls = [asyncio.get_running_loop().create_task(worker.chat()) for worker in (one, two)]
        while not (one.house.upstream.sent and two.house.upstream.sent):
            await asyncio.sleep(0)
        assert (await two.chat()).json["error"]["code"] == Code.LIMIT_CONCURRENCY
        gate.set()
        assert [(await call).status for call in calls] == [200, 200]
        await one.beat()
        assert (await two.chat()).status == 200
        for worker in (one, two):
            worker.house.check()


async def test_a_call_given_up_while_it_waits_gives_back_what_it_would_have_taken(server):
    limits = [(KEY, LimitRow(concurrent_requests=1, tokens_per_minute=60_000, token_burst=60_000))]
    async with Worker(server, limits=limits, budgets=[(TEAM, {"nano": 10**9})]) as one:
        for steps in range(12):
            call = asyncio.get_running_loop().create_task(one.chat())
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await one.beat()
            await one.beat()
            assert one.shared.limits.open_count == 0, steps
            assert one.shared.holds.open_count == 0, steps
            assert sum(server.open.get(KEY, {}).values()) == 0, steps
        assert (await one.chat()).status == 200


async def test_holds_that_fit_into_a_lease_ask_nobody(server):
    async with Worker(server, budgets=[(TEAM, {"nano": 10**12})]) as one:
        assert (await one.chat(max_tokens=10)).status == 200
        before = server.exchanges
        for _ in range(50):
            assert (await one.chat(max_tokens=10)).status == 200
        assert server.exchanges == before
        for _ in range(3):
            await one.beat()
        mine = stated(server)["w1"]
        assert (mine.spent_nano, mine.lease_nano) == (one.recorded, 0)
        one.house.check()


async def test_a_budget_of_two_workers_is_passed_by_neither_and_refused_in_the_same_words(server):
    budgets = [(TENANT, {"nano": 10**9}), (TEAM, {"nano": 700_000})]
    async with Worker(server, "w1", budgets=budgets) as one, Worker(server, "w2", budgets=budgets) as two:
        statuses = set()
        for _ in range(60):
            sinks = await asyncio.gather(one.chat(max_tokens=500), two.chat(max_tokens=500))
            statuses |= {sink.status for sink in sinks}
        assert statuses == {200, 402}
        assert "are left of the budget of this team" in sinks[0].json["error"]["message"]
        for worker in (one, two, one, two):
            await worker.beat()
        assert one.recorded + two.recorded == sum(mine.spent_nano for mine in stated(server).values()) <= 700_000
        assert one.recorded
        assert two.recorded


async def test_while_the_counters_are_away_limits_are_shared_out_and_budgets_lend_nothing(server):
    limits = [(TENANT, LimitRow(requests_per_minute=60, request_burst=8))]
    budgets = [(TEAM, {"nano": 10**9})]
    async with Worker(server, limits=limits, budgets=budgets, workers=4) as one:
        server.workers |= {"w2", "w3", "w4"}
        await one.beat()
        server.failing = True
        sink = await one.chat()
        assert (sink.status, sink.json["error"]["code"]) == (503, Code.COUNTERS_UNAVAILABLE)
        assert sink.headers[b"retry-after"] == b"1"
        exchanges = server.exchanges
        one.server.clock.advance(60.0)
        statuses = [(await one.chat()).json["error"]["code"] for _ in range(4)]
        assert statuses == [Code.COUNTERS_UNAVAILABLE] * 2 + [Code.LIMIT_REQUESTS] * 2, "a quarter of the burst"
        assert server.exchanges == exchanges, "no call waits for a server that is gone"
        assert one.shared.away
        server.failing = False
        await one.back()
        assert not one.shared.away
        await one.beat()
        assert (await one.chat()).status == 200
        one.house.check()


async def test_what_was_leased_before_is_still_spent_while_they_are_away(server):
    async with Worker(server, budgets=[(TEAM, {"nano": 10**12})]) as one:
        assert (await one.chat(max_tokens=10)).status == 200
        server.failing = True
        assert [(await one.chat(max_tokens=10)).status for _ in range(5)] == [200] * 5
        server.failing = False
        for _ in range(4):
            await one.back()
        assert stated(server)["w1"].spent_nano == one.recorded


async def test_counters_that_were_emptied_are_told_everything_before_they_lend(server):
    budgets = [(TEAM, {"nano": 2_000_000})]
    async with Worker(server, "w1", budgets=budgets) as one, Worker(server, "w2", budgets=budgets) as two:
        for _ in range(3):
            assert (await one.chat(max_tokens=100)).status == (await two.chat(max_tokens=100)).status == 200
        for worker in (one, two, one, two):
            await worker.beat()
        server.forget()
        for worker in (one, one):
            await worker.beat()
        assert (await one.chat(max_tokens=1_000)).json["error"]["code"] == Code.COUNTERS_UNAVAILABLE
        assert stated(server)["w2"].spent_nano == two.recorded, "what the first knew of the second"
        await two.beat()
        await two.beat()
        server.lends = True
        assert {name: mine.spent_nano for name, mine in stated(server).items()} == {
            "w1": one.recorded,
            "w2": two.recorded,
        }
        await one.beat()
        assert (await one.chat(max_tokens=100)).status == 200


async def test_every_exchange_may_fail_or_lose_its_answer_and_nothing_is_lost_or_doubled(server):
    row = LimitRow(
        concurrent_requests=50,
        requests_per_minute=10**6,
        request_burst=10**6,
        tokens_per_minute=10**8,
        token_burst=10**8,
    )
    limits = [(KEY, row)]
    budgets = [(TEAM, {"nano": 5_000_000}), (KEY, {"nano": 4_000_000, "tokens": 10**6})]
    for at, deaf in itertools.product(range(14), (False, True)):
        fresh = FakeServer(FakeClock())
        async with Worker(fresh, limits=limits, budgets=budgets) as one:
            first = frozenset({fresh.exchanges + at, fresh.exchanges + at + 2})
            fresh.deaf_at, fresh.fail_at = (first, frozenset()) if deaf else (frozenset(), first)
            statuses = set()
            for _ in range(4):
                sinks = await asyncio.gather(*(one.chat(max_tokens=300) for _ in range(3)))
                statuses |= {sink.status for sink in sinks}
                await one.back()
            assert statuses <= {200, 402, 503}
            for _ in range(5):
                await one.back()
            one.house.check()
            assert fresh.exchanges > at + 3, "the faults were met"
            for scope in (TEAM, KEY):
                mine = stated(fresh, scope)["w1"]
                assert (mine.spent_nano, mine.lease_nano) == (one.recorded, 0), (at, deaf)
            assert sum(fresh.open.get(KEY, {}).values()) == 0


async def test_a_worker_that_comes_back_states_what_its_journal_says_and_leases_nothing(server):
    budgets = [(TEAM, {"nano": 2_000_000}), (KEY, {"nano": 2_000_000})]
    async with Worker(server, budgets=budgets) as one:
        await one.chat(max_tokens=500)
        spent = one.recorded
    assert stated(server)["w1"].lease_nano > 0, "it died with a lease"
    async with Worker(server, budgets=budgets) as again:
        rows = tuple(again.house.world.index.budgets[scope] for scope in (TEAM,))
        again.shared.holds.escrow.restore(rows, spent, 0, server.clock.now_ns() // 10**9)
        for _ in range(3):
            await again.beat()
        assert (stated(server)["w1"].spent_nano, stated(server)["w1"].lease_nano) == (spent, 0)
        assert stated(server, KEY)["w1"].lease_nano == 0, "where its journal has nothing either"
