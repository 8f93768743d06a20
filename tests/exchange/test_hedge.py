"""A slow call put to a second target as well, through whole calls."""

import asyncio

import pytest

from ostiary.core.error import Code
from ostiary.core.event import Kind
from ostiary.core.limit import RETRIES_RESERVED, RETRIES_SHARE
from ostiary.gateway.route.hedge import Hedging
from ostiary.simulator.behaviour import Behaviour
from ostiary.snapshot.tables import BudgetedRow, BudgetRow, GateRow, HedgeRow, TeamRow
from tests.exchange.harness import House, model, provider, replaced

TEAM = TeamRow(tenant="acme", name="search", environment="production", models=("*",))


def pair(hedge=None, **fields):
    hedge = hedge or HedgeRow(after_seconds=0.5, share=1.0)
    return model("pair", ("oai", "first"), ("spare", "second"), strategy="priority", hedge=hedge, attempts=3, **fields)


class Slow(House):
    """A gateway whose first target waits for `released`; the second answers, or waits for `second` where that is set.
    `at` says before which piece they wait: -1 is the head."""

    def __init__(self, *, hedge=None, at=-1, row=None, **fields):
        super().__init__(models=(row or pair(hedge),), teams=(TEAM,), **fields)
        self.released, self.second, self.waits = asyncio.Event(), None, asyncio.Semaphore(0)
        send = self.upstream.send

        async def sent(request):
            self.upstream.pause = self._hold(request, at)
            return await send(request)

        self.upstream.send = sent

    def _hold(self, request, at):
        first = b"first" in request.body

        async def pause(place):
            if place != at:
                return
            event = self.released if first else self.second
            if event is not None:
                self.waits.release()
                await event.wait()

        # Each reply keeps the pause of its own request.
        return pause


def hosts(one):
    return [sent.origin.host.removesuffix(".test") for sent in one.upstream.sent]


def attempts(one):
    (closed,) = one.journal.of(Kind.CLOSED)
    return [(attempt.target, attempt.reason) for attempt in closed.attempts]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_faster_one_answers_and_the_other_is_cancelled_charged_and_on_record(stream):
    one = Slow()
    sink = await one.chat("pair", stream=stream)
    assert (sink.status, hosts(one)) == (200, ["oai", "spare"])
    assert one.upstream.cancelled == 1
    assert sink.headers[b"x-ostiary-target"].startswith(b"spare/second")
    assert sink.headers[b"x-ostiary-attempts"] == b"2"
    assert attempts(one) == [("oai/first", Code.HEDGE_LOST), ("spare/second", "")]
    closed = one.closed
    alone = House(models=(pair(),), teams=(TEAM,))
    await alone.chat("pair", stream=stream)
    assert closed.cost.nano > alone.closed.cost.nano, "what the other consumed is charged too"
    assert (closed.provider, closed.request_model) == ("spare", "second")
    one.check()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_first_target_that_is_fast_enough_is_alone(stream):
    one = House(models=(pair(),), teams=(TEAM,))
    sink = await one.chat("pair", stream=stream)
    assert (sink.status, hosts(one), attempts(one)) == (200, ["oai"], [("oai/first", "")])
    one.check()


async def test_the_first_target_may_still_win_and_then_the_second_is_the_one_that_goes():
    one = Slow()
    one.second = asyncio.Event()
    task = asyncio.get_running_loop().create_task(one.chat("pair"))
    await one.waits.acquire()
    await one.waits.acquire()
    one.released.set()
    sink = await task
    assert sink.headers[b"x-ostiary-target"].startswith(b"oai/first")
    assert attempts(one) == [("spare/second", Code.HEDGE_LOST), ("oai/first", "")]
    one.check()


async def test_nothing_of_a_stream_is_lost_or_said_twice_whoever_wins():
    one = Slow()
    sink = await one.chat("pair", stream=True)
    alone = House(
        models=(model("pair", ("spare", "second")),),
        teams=(TEAM,),
    )
    expected = await alone.chat("pair", stream=True)
    assert sink.body == expected.body


async def test_a_client_that_leaves_ends_both_and_both_are_charged():
    one = Slow()
    one.second = asyncio.Event()
    task = asyncio.get_running_loop().create_task(one.chat("pair"))
    await one.waits.acquire()
    await one.waits.acquire()
    assert one.world.holds.open_count == 2, "the cost of both is held"
    task.cancel()
    await asyncio.wait([task])
    assert one.upstream.cancelled == 2
    assert attempts(one) == [("oai/first", Code.CLIENT_GONE), ("spare/second", Code.CLIENT_GONE)]
    alone = one.closed.cost.nano
    assert alone > 0
    one.check()


async def test_where_the_first_fails_the_second_goes_on_alone():
    one = Slow(script=lambda request: Behaviour(status=500) if b"first" in request.body else None)
    one.second = asyncio.Event()
    task = asyncio.get_running_loop().create_task(one.chat("pair"))
    await one.waits.acquire()
    await one.waits.acquire()
    one.released.set()
    for _ in range(20):
        await asyncio.sleep(0)
    one.second.set()
    assert (await task).status == 200
    assert attempts(one) == [("oai/first", Code.UPSTREAM_ERROR), ("spare/second", "")]
    assert len(one.upstream.sent) == 2
    one.check()


async def test_where_both_fail_the_call_fails_and_both_are_on_record():
    one = Slow(row=replaced(pair(), attempts=2), script=lambda request: Behaviour(status=500))
    one.second = asyncio.Event()
    task = asyncio.get_running_loop().create_task(one.chat("pair"))
    await one.waits.acquire()
    await one.waits.acquire()
    one.released.set()
    one.second.set()
    assert (await task).status == 502
    assert sorted(attempts(one)) == [("oai/first", Code.UPSTREAM_ERROR), ("spare/second", Code.UPSTREAM_ERROR)]
    assert len(one.upstream.sent) == 2, "no more than the model allows"
    one.check()


async def test_a_first_target_that_fails_at_once_is_followed_by_the_next_as_ever():
    one = House(
        models=(pair(),),
        teams=(TEAM,),
        script=lambda request: Behaviour(status=500) if b"first" in request.body else None,
    )
    assert (await one.chat("pair")).status == 200
    assert attempts(one) == [("oai/first", Code.UPSTREAM_ERROR), ("spare/second", "")]
    one.check()


async def unhedged(one):
    """A call of which only the first target is asked though it is slow."""
    task = asyncio.get_running_loop().create_task(one.chat("pair"))
    await one.waits.acquire()
    for _ in range(20):
        await asyncio.sleep(0)
    assert hosts(one)[-1] == "oai"
    count = len(one.upstream.sent)
    one.released.set()
    assert (await task).status == 200
    assert len(one.upstream.sent) == count
    one.released.clear()
    one.check()


@pytest.mark.parametrize("broken", ["first", "second"])
async def test_a_fault_of_ours_in_either_leaves_nothing_behind(broken):
    one = Slow(providers=(provider("oai", "openai"), provider("spare", "openai", gate=GateRow(1, 5, 5.0))))
    one.second = asyncio.Event()
    send = one.upstream.send

    async def sent(request):
        reply = await send(request)
        if broken.encode() in request.body:
            raise ZeroDivisionError
        return reply

    one.upstream.send = sent
    task = asyncio.get_running_loop().create_task(one.chat("pair"))
    await one.waits.acquire()
    await one.waits.acquire()
    (one.released if broken == "first" else one.second).set()
    sink = await task
    assert (sink.status, sink.json["error"]["code"]) == (500, Code.GATEWAY_INTERNAL)
    assert one.world.health.of("oai/first", 0.0).in_flight == one.world.health.of("spare/second", 0.0).in_flight == 0
    one.check()


async def test_only_chats_are_hedged_and_no_mirrored_call():
    one = House(models=(pair(),), teams=(TEAM,))
    sink = await one.post(b"/v1/embeddings", {"model": "pair", "input": "x"})
    assert (sink.status, hosts(one)) == (200, ["oai"])
    assert one.world.hedges.of("pair").allowance == 0.0
    one.check()


async def test_not_before_the_delay_is_known():
    await unhedged(Slow(hedge=HedgeRow(share=1.0)))


async def test_not_where_a_second_attempt_may_cost_too_much():
    await unhedged(Slow(hedge=HedgeRow(after_seconds=0.5, share=1.0, nano=1)))


async def test_not_where_the_budget_has_no_room_for_both():
    one = Slow(budgets=(BudgetedRow("team/acme/search", BudgetRow(tokens=6_000)),))
    await unhedged(one)


async def test_not_where_the_second_server_is_full():
    one = Slow(
        providers=(provider("oai", "openai"), provider("spare", "openai", gate=GateRow(1, 5, 5.0))),
    )
    one.world.gates.targets["spare"].take()
    task = asyncio.get_running_loop().create_task(one.chat("pair"))
    await one.waits.acquire()
    for _ in range(20):
        await asyncio.sleep(0)
    assert hosts(one) == ["oai"]
    one.released.set()
    assert (await task).status == 200
    one.world.gates.targets["spare"].leave()
    one.check()


async def test_never_more_than_the_share_nor_more_than_the_retry_budget():
    regained = 50 * 0.5 * 0.1  # the reserve of retries grows with time
    for share, most in ((0.1, 5), (1.0, RETRIES_RESERVED + 50 * RETRIES_SHARE + regained)):
        one = Slow(hedge=HedgeRow(after_seconds=0.5, share=share))
        for _ in range(50):
            task = asyncio.get_running_loop().create_task(one.chat("pair"))
            await one.waits.acquire()
            for _ in range(30):
                await asyncio.sleep(0)
            one.released.set()
            assert (await task).status == 200
            one.released.clear()
        assert 0 < len(one.upstream.sent) - 50 <= most
        one.check()


async def test_a_second_server_gives_its_place_back():
    one = Slow(providers=(provider("oai", "openai"), provider("spare", "openai", gate=GateRow(1, 5, 5.0))))
    for _ in range(3):
        assert (await one.chat("pair")).status == 200
        one.check()


async def test_a_delay_is_learned_from_the_calls():
    one = House(models=(pair(HedgeRow(share=1.0)),), teams=(TEAM,), behaviour=Behaviour(first_byte_seconds=0.4))
    for _ in range(20):
        await one.chat("pair")
    learned = one.world.hedges.of("pair")
    assert isinstance(learned, Hedging)
    assert learned.delay_seconds(HedgeRow()) == pytest.approx(0.4)


async def test_a_silent_stream_is_begun_in_time_and_then_answered_by_that_target_alone(monkeypatch):
    monkeypatch.setattr("ostiary.gateway.hedge.COMMIT_AFTER_SECONDS", 0.01)
    one = Slow(at=0)
    one.second = asyncio.Event()
    from_client = asyncio.get_running_loop().create_task(one.chat("pair", stream=True))
    await one.waits.acquire()
    await one.waits.acquire()
    while one.world.holds.open_count and not any(reply.closed for reply in one.upstream.replies):
        await asyncio.sleep(0)
    one.released.set()
    one.second.set()
    sink = await from_client
    assert sink.status == 200
    assert sink.ended
    assert sum(reason == "" for _, reason in attempts(one)) == 1
    one.check()
