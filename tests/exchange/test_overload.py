"""More calls than can be served at once, through whole calls: who waits, who is refused, what that costs and says.
FD-44, FD-38 and FD-36 in their logical forms."""

import asyncio

import pytest

from ostiary.core.error import Code
from ostiary.core.event import BUSY, Kind, Outcome, Skipped
from ostiary.core.http import Answer
from ostiary.core.limit import LAG_LOOKS_COUNT
from ostiary.core.principal import Principal, Priority
from ostiary.gateway.ports import SHED
from ostiary.simulator.behaviour import Behaviour
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import GateRow, OverloadRow, TargetRow, TeamRow
from tests.exchange.harness import House, RecordingSink, fallback, model, provider, replaced, snapshot

TEAM = TeamRow(tenant="acme", name="search", environment="production", models=("*",))
HEAD = b"/v1/chat/completions"


def principal(priority=None):
    return Principal("acme", "search", "production", "key-1", "search-prod", priority=priority)


def narrow(places=1, waiting=2, seconds=5.0):
    return OverloadRow(GateRow(places, waiting, seconds))


class Held:
    """A gateway whose provider answers when it is told to."""

    def __init__(self, **fields):
        self.house = House(**{"teams": (TEAM,), **fields})
        self.released = asyncio.Semaphore(0)
        self.arrived = asyncio.Semaphore(0)
        self.house.upstream.pause = self._pause
        self.calls = []

    async def _pause(self, place):
        if place == -1:
            self.arrived.release()
            await self.released.acquire()

    async def call(self, *, reaches=True, **options):
        """A call under way: at the provider, or waiting for a place."""
        task = asyncio.get_running_loop().create_task(self.house.chat(**options))
        self.calls.append(task)
        if reaches:
            await self.arrived.acquire()
        else:
            for _ in range(20):  # turns of the loop: it waits for a place by then, or is over
                await asyncio.sleep(0)
        return task

    async def release(self, count=1):
        for _ in range(count):
            self.released.release()

    async def end(self):
        await self.release(99)
        found = await asyncio.gather(*self.calls)
        self.house.check()
        return found


async def test_a_call_beyond_the_bound_waits_for_the_place_of_another():
    one = Held(overload=narrow())
    await one.call()
    second = await one.call(reaches=False)
    assert one.house.world.gates.worker.room.waiting == 1
    assert len(one.house.upstream.sent) == 1
    assert len(one.house.opened) == 1, "one that waits is not open yet"
    await one.release()
    await one.arrived.acquire()
    assert [sink.status for sink in await one.end()] == [200, 200]
    assert second.result().headers[b"x-ostiary-attempts"] == b"1"


async def test_fd44_the_excess_is_refused_on_its_head_with_the_time_to_come_back_and_costs_no_record():
    one = Held(overload=narrow(places=1, waiting=1))
    await one.call()
    await one.call(reaches=False)
    records = len(one.house.journal.records)
    for _ in range(50):
        verdict = one.house.gateway.accept(one.house.head(HEAD))
        assert isinstance(verdict, Answer), "before its body is read"
        assert verdict.status == 503
        assert int(dict(verdict.headers)[b"retry-after"]) >= 1
        assert Code.GATEWAY_OVERLOADED.encode() in verdict.body
    assert len(one.house.journal.records) == records
    assert len(one.house.upstream.sent) == 1
    assert one.house.observer.sheds == [("", "full", "standard")] * 50
    assert [sink.status for sink in await one.end()] == [200, 200]
    assert (await one.house.chat()).status == 200, "and it is over at once"


async def test_fd44_the_urgent_get_in_at_the_expense_of_batch_calls_which_are_told_and_recorded():
    one = Held(overload=narrow(places=1, waiting=1), teams=(replaced(TEAM, priority=Priority.BATCH),))
    await one.call()
    displaced = await one.call(reaches=False)
    one.house.gateway._keys.principal = principal(Priority.INTERACTIVE)
    urgent = await one.call(reaches=False)
    sink = await displaced
    assert (sink.status, sink.json["error"]["code"]) == (503, Code.GATEWAY_OVERLOADED)
    (denied,) = one.house.journal.of(Kind.DENIED)
    assert denied.error == Code.GATEWAY_OVERLOADED
    await one.end()
    assert urgent.result().status == 200
    assert one.house.observer.sheds == [("", "displaced", "batch")]


async def test_a_call_waits_no_longer_than_the_room_allows_and_is_then_told():
    one = Held(overload=narrow(seconds=0.01))
    await one.call()
    sink = await (await one.call(reaches=False))
    assert sink.status == 503
    assert one.house.observer.sheds == [("", "expired", "standard")]
    await one.end()


async def test_a_call_waits_no_longer_than_it_may_last_itself():
    quick = replaced(model("gpt", ("oai", "gpt-4o-mini")), timeouts=replaced(model("x").timeouts, total_seconds=0.01))
    one = Held(models=(quick,), overload=narrow(seconds=500.0))
    await one.call()
    assert (await (await one.call(reaches=False))).status == 503
    await one.end()


async def test_a_client_that_leaves_the_queue_takes_nobodys_place():
    one = Held(overload=narrow())
    await one.call()
    gone = await one.call(reaches=False)
    third = await one.call(reaches=False)
    gone.cancel()
    await asyncio.wait([gone])
    assert one.house.world.gates.worker.room.waiting == 1
    one.calls.remove(gone)
    await one.end()
    assert third.result().status == 200


async def test_a_client_that_leaves_in_the_moment_it_is_let_in_gives_its_place_back():
    one = Held(overload=narrow())
    await one.call()
    gone = await one.call(reaches=False)
    one.house.world.gates.worker.leave()  # as if the first had ended
    assert one.house.world.gates.worker.room.in_flight == 1
    gone.cancel()
    await asyncio.wait([gone])
    one.house.world.gates.worker.room.take(0.0)  # the first's own, given back twice otherwise
    one.calls.remove(gone)
    await one.end()


async def test_a_denied_call_hears_so_at_once_whatever_waits():
    one = Held(overload=narrow())
    await one.call()
    assert (await one.house.chat("nowhere")).status == 404
    await one.end()


async def test_new_bounds_come_with_a_snapshot_and_end_no_call():
    one = Held(overload=narrow())
    await one.call()
    waiting = await one.call(reaches=False)
    one.house.world.swap(Index(snapshot(teams=(TEAM,), overload=narrow(places=2))))
    await one.arrived.acquire()
    assert [sink.status for sink in await one.end()] == [200, 200]
    assert waiting.result().status == 200


# --- the event loop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "refused"),
    [(0.5, set()), (1.5, {"batch"}), (3.0, {"batch", "standard"}), (5.0, {"batch", "standard", "interactive"})],
)
async def test_fd38_a_loop_that_runs_late_sheds_by_priority_and_says_so(times, refused):
    found = set()
    for priority in Priority:
        one = House(principal=principal(priority))
        pressure = one.world.gates.pressure
        for _ in range(LAG_LOOKS_COUNT):
            pressure.look(pressure.bound_seconds * times)
        if (await one.chat()).status == 503:
            found.add(str(priority))
            assert one.upstream.sent == []
        assert bool(one.world.gates.degraded) is (times > 1)
        pressure.look(0.0)
        assert (await one.chat()).status == 200
        one.check()
    assert found == refused


async def test_fd36_a_gateway_short_of_memory_takes_no_new_call_and_ends_none():
    one = Held()
    await one.call(stream=True)
    one.house.world.gates.memory_short = True
    assert (await one.house.chat()).status == 503
    one.house.world.gates.memory_short = False
    assert (await one.end())[0].status == 200


async def test_fd36_a_stream_ended_for_memory_says_so_is_recorded_as_failed_and_charged():
    one = House(teams=(TEAM,))
    more = asyncio.Event()

    async def pause(place):
        if place == 3:
            more.set()
            await asyncio.Event().wait()

    one.upstream.pause = pause
    sink = RecordingSink(one.journal)
    task = asyncio.create_task(one.chat(stream=True, sink=sink))
    await more.wait()
    task.cancel(SHED)
    await task
    assert Code.GATEWAY_OVERLOADED.encode() in sink.body
    assert b"[DONE]" not in sink.body
    (closed,) = one.journal.of(Kind.CLOSED)
    assert (closed.outcome, closed.error) == (Outcome.FAILED, Code.GATEWAY_OVERLOADED)
    assert closed.cost.nano > 0
    one.check()


# --- the bounds of servers ----------------------------------------------------------------------------------

GATE = GateRow(1, 1, 5.0)
PROVIDERS = (
    provider("one", "openai", gate=GATE),
    provider("two", "openai", gate=GATE),
    provider("free", "openai"),
)
MODELS = (
    model("both", ("one", "first"), ("two", "second"), strategy="priority"),
    model("sole", ("one", "first")),
    model("other", ("one", "another")),
    model("own", TargetRow("one", "mine", gate=GateRow(2, 0, 5.0))),
    model("helped", ("one", "first"), fallbacks=(fallback("free", Code.MODEL_BUSY),)),
    model("free", ("free", "tiny")),
)


def bounded(**fields):
    return Held(providers=PROVIDERS, models=MODELS, **fields)


def hosts(one):
    return [sent.origin.host.removesuffix(".test") for sent in one.house.upstream.sent]


async def test_a_server_never_gets_more_calls_at_once_than_it_takes_and_the_next_one_helps():
    one = bounded()
    await one.call(model="both")
    await one.call(model="both")
    assert hosts(one) == ["one", "two"]
    third = await one.call(model="both", reaches=False)
    assert hosts(one) == ["one", "two"]
    await one.end()
    assert third.result().status == 200
    second = one.house.journal.of(Kind.CLOSED)
    assert Skipped("one/first", BUSY) in [skipped for closed in second for skipped in closed.route]


async def test_a_providers_bound_holds_over_all_its_models_but_those_with_one_of_their_own():
    one = bounded()
    await one.call(model="sole")
    await one.call(model="other", reaches=False)
    await one.call(model="own")
    await one.call(model="own")
    assert hosts(one) == ["one"] * 3
    sink = await one.house.chat("own")
    assert (sink.status, sink.json["error"]["code"]) == (503, Code.MODEL_BUSY)
    assert [found.status for found in await one.end()] == [200] * 4


async def test_where_every_place_is_taken_and_wanted_the_call_is_refused_at_once_without_an_attempt():
    one = bounded()
    await one.call(model="sole")
    await one.call(model="sole", reaches=False)
    sink = await one.house.chat("sole")
    assert (sink.status, sink.json["error"]["code"]) == (503, Code.MODEL_BUSY)
    assert int(sink.headers[b"retry-after"]) >= 1
    assert sink.headers[b"x-ostiary-attempts"] == b"0"
    assert ("one", "full", "standard") in one.house.observer.sheds
    assert not one.house.world.health.of("one/first", 0.0).ejected_until
    assert [found.status for found in await one.end()] == [200, 200]


async def test_a_fallback_for_overload_takes_what_a_full_server_cannot():
    one = bounded()
    await one.call(model="helped")
    await one.call(model="helped", reaches=False)
    helped = await one.call(model="helped")
    assert hosts(one) == ["one", "free"]
    await one.end()
    assert helped.result().headers[b"x-ostiary-fallback"] == Code.MODEL_BUSY.encode()


async def test_a_stream_keeps_its_place_to_its_end():
    one = bounded()
    ends = asyncio.Event()

    async def pause(place):
        if place == 2:
            await ends.wait()

    one.house.upstream.pause = pause
    sink_task = asyncio.get_running_loop().create_task(one.house.chat("sole", stream=True))
    while not one.house.upstream.replies:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert one.house.world.gates.standing()["one"] == (1, 0, 1)
    ends.set()
    assert (await sink_task).status == 200
    one.house.check()


async def test_a_failed_attempt_gives_its_place_back():
    one = House(teams=(TEAM,), providers=PROVIDERS, models=MODELS, script=lambda request: Behaviour(status=500))
    for _ in range(3):
        assert (await one.chat("both")).status == 502
    one.check()
