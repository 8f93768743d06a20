"""What calls hear and targets bear while targets are slow, refuse or fail: FD-04, FD-05, FD-06, FD-08 and FD-09 in their
logical forms. Whole calls in one process; time is a number."""

import asyncio
import datetime as dt
from collections import Counter

import pytest

from ostiary.core.error import Code
from ostiary.core.limit import (
    EJECT_AFTER_FAILURES,
    EJECT_SECONDS,
    EJECT_SECONDS_MAX,
    QUOTA_REST_SECONDS_MAX,
    RETRIES_RESERVED,
    RETRIES_SHARE,
)
from ostiary.simulator.behaviour import Behaviour
from ostiary.snapshot.tables import TeamRow
from tests.exchange.harness import TIMEOUTS, House, model, replaced

TEAM = TeamRow(tenant="acme", name="search", environment="production", models=("*",))
PATIENT = replaced(TIMEOUTS, first_token_seconds=60)
DOWN = Behaviour(status=500)


def house(script=(), *, strategy="priority", attempts=3, timeouts=TIMEOUTS, targets=2, **fields):
    pairs = (("oai", "first"), ("spare", "second"))[:targets]
    one = model("m", *pairs, strategy=strategy, attempts=attempts, timeouts=timeouts)
    return House(models=(one,), teams=(TEAM,), script=script, **fields)


def hosts(one):
    return [sent.origin.host.removesuffix(".test") for sent in one.upstream.sent]


def on_first(behaviour):
    return lambda request: behaviour() if b"first" in request.body else None


# --- FD-04: slow first byte -----------------------------------------------------------------------------------


async def test_fd04_calls_move_away_from_a_target_that_has_become_slow():
    slow = Behaviour(first_byte_seconds=30.0)
    state = {"slow": False}
    one = house(
        lambda request: (
            (slow if state["slow"] else Behaviour(first_byte_seconds=0.1))
            if b"first" in request.body
            else Behaviour(first_byte_seconds=0.2)
        ),
        strategy="least-latency",
        timeouts=PATIENT,
    )
    for _ in range(40):
        assert (await one.chat("m")).status == 200
    assert hosts(one)[-20:].count("oai") >= 15
    state["slow"] = True
    before = len(one.upstream.sent)
    for _ in range(60):
        assert (await one.chat("m")).status == 200
    asked = hosts(one)[before:]
    assert asked[:30].count("oai") <= 15
    assert asked[-30:].count("oai") <= 3, "no more than looks whether it is well again"
    assert one.world.open_calls == 0
    one.check()


async def test_fd04_a_target_slower_than_its_time_is_ejected_and_no_call_waits_for_it():
    one = house(on_first(lambda: Behaviour(first_byte_seconds=30.0)))
    for _ in range(EJECT_AFTER_FAILURES):
        assert (await one.chat("m")).status == 200
    before = one.clock.monotonic()
    for _ in range(20):
        assert (await one.chat("m")).status == 200
    assert hosts(one)[-20:] == ["spare"] * 20
    assert one.clock.monotonic() == before
    one.check()


# --- FD-05: 429 ---------------------------------------------------------------------------------------------


def http_date(one, seconds):
    at = dt.datetime.fromtimestamp(one.clock.now_ns() / 1e9 + seconds, dt.UTC)
    return at.strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize("told", ["seconds", "date", "absurd", "nothing"])
async def test_fd05_a_storm_of_429_cools_the_target_uses_the_others_and_blames_no_host(told):
    after = {"seconds": "20", "absurd": "99999999", "nothing": ""}
    one = house(on_first(lambda: Behaviour(status=429, retry_after=after[told])))
    after["date"] = http_date(one, 20)
    for _ in range(20):
        assert (await one.chat("m")).status == 200
    assert hosts(one).count("oai") == 1
    health = one.world.health.of("oai/first", one.clock.monotonic())
    assert not health.ejected_until
    rests = max(health.rests_until, health.spared_until) - one.clock.monotonic()
    assert 0 < rests <= QUOTA_REST_SECONDS_MAX
    one.clock.advance(QUOTA_REST_SECONDS_MAX)
    await one.chat("m")
    assert hosts(one).count("oai") == 2, "and it is asked again"
    one.check()


async def test_fd05_a_client_hears_429_only_where_every_target_is_cooled_and_then_at_once():
    one = house(lambda request: Behaviour(status=429, retry_after="30"), attempts=2)
    sink = await one.chat("m")
    assert (sink.status, sink.json["error"]["code"]) == (429, Code.UPSTREAM_RATE_LIMITED)
    sent = len(one.upstream.sent)
    sink = await one.chat("m")
    assert (sink.status, len(one.upstream.sent)) == (429, sent)
    assert 0 < int(sink.headers[b"retry-after"]) <= 30
    one.check()


# --- FD-06: failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 529])
@pytest.mark.parametrize("every", [1, 3])
async def test_fd06_a_storm_of_failures_costs_no_more_than_the_retry_budget(status, every):
    seen = iter(range(10**6))
    one = house(lambda request: Behaviour(status=status) if next(seen) % every == 0 else None, draw=0.5)
    calls = 200
    began = one.clock.monotonic()
    for _ in range(calls):
        await one.chat("m")
        one.clock.advance(0.05)
    passed = one.clock.monotonic() - began
    reserved = 2 * (RETRIES_RESERVED + passed * 0.1)
    assert len(one.upstream.sent) <= calls * (1 + RETRIES_SHARE) + reserved
    assert all(0 <= pause <= QUOTA_REST_SECONDS_MAX for pause in one.slept)
    one.check()


async def test_however_many_calls_wait_for_a_provider_that_fails_each_is_answered_by_the_next():
    one = house(on_first(lambda: DOWN))
    held = asyncio.Event()

    async def pause(place):
        if place == -1:
            await held.wait()

    one.upstream.pause = pause
    tasks = [asyncio.get_running_loop().create_task(one.chat("m")) for _ in range(100)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert hosts(one) == ["oai"] * 100, "all of them wait for the first"
    held.set()
    assert Counter(sink.status for sink in await asyncio.gather(*tasks)) == {200: 100}
    assert Counter(hosts(one)) == {"oai": 100, "spare": 100}, "at most one attempt failed for each"
    one.check()


# --- FD-08: half open ---------------------------------------------------------------------------------------


async def ejected(script):
    one = house(script, targets=1, attempts=1)
    for _ in range(EJECT_AFTER_FAILURES):
        await one.chat("m")
    return one


async def crowd(one, count):
    """So many calls at once, while the provider answers none: how many reach it, and what they hear in the end."""
    held = asyncio.Event()

    async def pause(place):
        if place == -1:
            await held.wait()

    one.upstream.pause = pause
    sent = len(one.upstream.sent)
    tasks = [asyncio.get_running_loop().create_task(one.chat("m")) for _ in range(count)]
    for _ in range(20):
        await asyncio.sleep(0)
    reached = len(one.upstream.sent) - sent
    assert sum(task.done() for task in tasks) == count - reached, "the others are refused at once"
    held.set()
    heard = Counter(sink.json["error"]["code"] for sink in await asyncio.gather(*tasks))
    one.upstream.pause = None
    return reached, heard


async def test_fd08_one_call_at_a_time_probes_and_the_others_are_refused_at_once():
    one = await ejected(lambda request: DOWN)
    one.clock.advance(EJECT_SECONDS)
    assert await crowd(one, 50) == (1, {Code.UPSTREAM_UNAVAILABLE: 49, Code.UPSTREAM_ERROR: 1})
    one.check()


async def test_fd08_a_target_that_is_back_for_one_in_ten_is_ejected_for_longer_each_time_without_a_stampede():
    seen = iter(range(10**6))
    one = await ejected(lambda request: None if next(seen) % 10 == 9 else DOWN)
    ejections = []
    for _ in range(2_000):
        await one.chat("m")
        until = one.world.health.of("oai/first", one.clock.monotonic()).ejected_until
        if until and (not ejections or ejections[-1][0] != until):
            ejections.append((until, until - one.clock.monotonic()))
        one.clock.advance(0.25)
    lengths = [seconds for _, seconds in ejections]
    assert max(lengths) > 4 * EJECT_SECONDS
    assert max(lengths) <= EJECT_SECONDS_MAX
    assert len(one.upstream.sent) < 200, "of two thousand calls"
    one.check()


# --- FD-09: all down ----------------------------------------------------------------------------------------


async def test_fd09_where_every_target_is_down_calls_are_refused_at_once_and_one_finds_out_when_it_ends():
    state = {"down": True}
    one = house(lambda request: DOWN if state["down"] else None, attempts=1)
    for _ in range(3 * EJECT_AFTER_FAILURES):
        await one.chat("m")
    known = len(one.world.health._targets)
    began = one.clock.monotonic()
    sent, finds_out = await crowd(one, 300)
    assert sent == 1, "the panic rule: one is tried, whatever its standing"
    assert finds_out == {Code.UPSTREAM_UNAVAILABLE: 299, Code.UPSTREAM_ERROR: 1}
    assert (one.clock.monotonic(), one.slept) == (began, []), "nobody waited"
    assert len(one.world.health._targets) == known
    state["down"] = False
    one.clock.advance(EJECT_SECONDS_MAX)
    assert (await one.chat("m")).status == 200
    one.check()
