"""Answers that were purged, in memory and where workers share them."""

import asyncio

import msgspec
import pytest

from ostiary.core.limit import CACHE_TAG_CHARS_MAX, CACHE_TAGS_MAX
from ostiary.gateway.cache.answers import MemoryAnswers
from ostiary.snapshot.purges import Purges
from ostiary.snapshot.tables import CacheRow, TeamRow
from ostiary.testing.clock import FakeClock
from tests.exchange.harness import House, model
from tests.exchange.test_cache import Gate, as_, said

MODELS = (
    model("gpt", ("oai", "gpt-4o-mini"), cache=CacheRow(60, tags=("docs",)), attempts=1),
    model("oai/*", ("oai", "*"), cache=CacheRow(60)),
)
TEAMS = tuple(
    TeamRow(tenant=tenant, name=team, environment="production", models=("*",))
    for tenant in ("acme", "evil")
    for team in ("search", "sales")
)


def house(**fields):
    return House(models=MODELS, teams=TEAMS, **fields)


@pytest.mark.parametrize(
    ("row", "gone"),
    [
        (("acme", "model:gpt", 1), True),
        (("", "model:gpt", 1), True),
        (("acme", "team:search", 1), True),
        (("acme", "tag:docs", 1), True),
        (("acme", "tag:mine", 1), True),
        (("acme", "", 1), True),
        (("evil", "model:gpt", 1), False),
        (("acme", "model:other", 1), False),
        (("acme", "team:sales", 1), False),
        (("acme", "tag:model:gpt", 1), False),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
async def test_a_purge_takes_what_has_its_tag(row, gone, shared):
    place = MemoryAnswers(1 << 20) if shared else None
    one, headers = house(shared_answers=place), {b"x-ostiary-cache-tags": b"mine, other"}
    await one.chat(headers=headers)
    one.world.answers.purge(Purges(1, (row,)))
    if shared:
        one.world.answers.resize(0)
        one.world.answers.resize(1 << 20)
    assert said(await one.chat()) == ("miss" if gone else "hit")
    assert said(await one.chat()) == "hit", "what was asked anew is kept again"


async def test_a_model_behind_a_pattern_goes_by_its_name_and_by_the_patterns():
    for tag in ("model:oai/x", "model:oai/*"):
        one = house()
        await one.chat("oai/x")
        one.world.answers.purge(Purges(1, (("", tag, 1),)))
        assert said(await one.chat("oai/x")) == "miss"


async def test_an_answer_that_was_on_its_way_when_the_purge_came_is_not_given_later():
    one = house()
    gate = Gate(one)
    call = asyncio.ensure_future(one.chat())
    await gate.waiting.wait()
    one.world.answers.purge(Purges(3, (("acme", "model:gpt", 3),)))
    gate.open.set()
    assert said(await call) == "miss"
    assert said(await one.chat()) == "miss"
    assert said(await one.chat()) == "hit"


async def test_workers_that_share_answers_find_one_anothers_and_obey_the_same_purges():
    place, clock = MemoryAnswers(1 << 20), FakeClock()
    one, other = (house(shared_answers=place, clock=clock) for _ in range(2))
    first = await one.chat()
    again = await other.chat()
    assert (said(again), again.body, other.upstream.sent) == ("hit", first.body, [])
    other.world.answers.purge(Purges(1, (("", "model:gpt", 1),)))
    assert said(await other.chat()) == "miss"
    assert said(await one.chat()) == "hit", "this worker has not heard of it yet"
    one.world.answers.purge(Purges(1, (("", "model:gpt", 1),)))
    assert said(await one.chat()) == "hit", "the other one's answer is newer than the purge"
    assert len(one.upstream.sent) + len(other.upstream.sent) == 2


async def test_other_tenants_of_shared_answers_find_nothing():
    place, clock = MemoryAnswers(1 << 20), FakeClock()
    one, other = (house(shared_answers=place, clock=clock) for _ in range(2))
    await one.chat()
    as_(other, tenant="evil")
    assert said(await other.chat()) == "miss"


async def test_regulated_data_reaches_no_shared_place():
    place = MemoryAnswers(1 << 20)
    one = House(models=(model("ashore", ("onsite", "tiny"), cache=CacheRow(60)),), teams=TEAMS, shared_answers=place)
    await one.chat("ashore", headers={b"x-ostiary-sensitivity": b"regulated"})
    assert len(place) == 0
    await one.chat("ashore")
    assert len(place) == 1


@pytest.mark.parametrize(
    "value",
    [b"a b", b"x" * (CACHE_TAG_CHARS_MAX + 1), b",".join(b"t%d" % n for n in range(CACHE_TAGS_MAX + 1)), b"\xc3\xa9"],
)
async def test_tags_that_cannot_be_purged_by_are_refused(value):
    one = house()
    sink = await one.chat(headers={b"x-ostiary-cache-tags": value})
    assert (sink.status, sink.json["error"]["param"]) == (400, "x-ostiary-cache-tags")
    assert one.upstream.sent == []
    one.check()


async def test_answers_that_may_no_longer_be_given_at_all_are_dropped_when_they_are_found():
    one = house()
    await one.chat()
    one.clock.advance(61)
    (key,) = one.world.answers.memory._kept
    assert await one.world.answers.find(key, one.clock.now_ns() // 1_000_000_000) is None
    assert len(one.world.answers) == 0
    assert msgspec.structs.asdict(key)["tenant"] == "acme"
