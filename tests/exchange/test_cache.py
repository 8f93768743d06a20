"""Which calls are answered from memory, which never are, and what they are told."""

import asyncio

import msgspec
import pytest

from ostiary.core.error import Code
from ostiary.core.event import Kind, Outcome
from ostiary.core.limit import CACHE_ENTRY_BYTES_MAX
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import (
    BudgetedRow,
    BudgetRow,
    CacheRow,
    CacheScope,
    LimitedRow,
    LimitRow,
    ServerRow,
    TeamRow,
)
from tests.exchange.harness import PRINCIPAL, House, fallback, model

MODELS = (
    model("gpt", ("oai", "gpt-4o-mini"), cache=CacheRow(ttl_seconds=60), attempts=1),
    model("plain", ("oai", "gpt-4o-mini")),
    model("team", ("oai", "gpt-4o-mini"), cache=CacheRow(60, scope=CacheScope.TEAM)),
    model("key", ("oai", "gpt-4o-mini"), cache=CacheRow(60, scope=CacheScope.KEY)),
    model("stale", ("oai", "gpt-4o-mini"), cache=CacheRow(60, stale_if_error_seconds=600), attempts=1),
    model("ashore", ("onsite", "tiny"), cache=CacheRow(60)),
    model("flaky", ("oai", "gpt-4o-mini"), cache=CacheRow(60), attempts=2, fallbacks=(fallback("plain"),)),
    model("alone", ("oai", "gpt-4o-mini"), cache=CacheRow(60, single_flight=False)),
)
TEAM = TeamRow(tenant="acme", name="search", environment="production", models=("*",))


def house(**fields):
    return House(models=MODELS, teams=(TEAM,), **fields)


def said(sink):
    return sink.headers[b"x-ostiary-cache"].decode()


def as_(one, **fields):
    """The same gateway for another caller."""
    one.gateway._keys.principal = msgspec.structs.replace(PRINCIPAL, **fields)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_request_again_is_answered_from_memory_at_no_cost(stream):
    one = house()
    first = await one.chat("gpt", stream=stream)
    one.clock.advance(7)
    again = await one.chat("gpt", stream=stream)
    assert (said(first), said(again)) == ("miss", "hit")
    assert again.body == first.body
    assert again.streamed is stream
    assert again.headers[b"content-type"] == first.headers[b"content-type"]
    assert (again.headers[b"age"], again.headers[b"x-ostiary-attempts"]) == (b"7", b"0")
    assert again.headers[b"x-ostiary-target"] == first.headers.get(
        b"x-ostiary-target", again.headers[b"x-ostiary-target"]
    )
    assert len(one.upstream.sent) == 1
    paid, free = one.journal.of(Kind.CLOSED)
    assert (free.outcome, free.cache, free.cost.nano, free.usage.total_tokens) == (Outcome.SUCCEEDED, "hit", 0, 0)
    assert (free.answer_digest, free.opened) == (paid.answer_digest, -1)
    assert paid.cost.nano > 0
    one.check()


async def test_an_answer_is_fresh_for_its_time_and_no_longer():
    one = house()
    await one.chat("gpt")
    one.clock.advance(59)
    assert said(await one.chat("gpt")) == "hit"
    one.clock.advance(1)
    assert said(await one.chat("gpt")) == "miss"
    assert said(await one.chat("gpt")) == "hit"


async def test_a_model_that_keeps_nothing_says_so():
    one = house()
    for _ in range(2):
        assert said(await one.chat("plain")) == "bypass"
    assert len(one.upstream.sent) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        {"response_format": {"type": "json_object"}},
        {"seed": 8},
        {"temperature": 0.5},
        {"user": "someone-else"},
        {"max_tokens": 5},
        {"stream": True},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say something."}]},
        {"some_new_field": 1},
    ],
)
async def test_at69_requests_that_differ_anywhere_share_nothing(change):
    one = house()
    await one.chat("gpt", seed=7)
    assert said(await one.chat("gpt", **{"seed": 7, **change})) == "miss"


@pytest.mark.parametrize(
    "headers",
    [
        {b"x-ostiary-sensitivity": b"public"},
        {b"x-ostiary-drop-unsupported": b"true"},
        {b"openai-beta": b"assistants=v2"},
    ],
)
async def test_at69_headers_that_shape_an_answer_are_part_of_what_is_asked(headers):
    one = house()
    await one.chat("gpt")
    assert said(await one.chat("gpt", headers=headers)) == "miss"


@pytest.mark.parametrize(
    ("name", "other", "shared"),
    [
        ("gpt", {"tenant": "evil"}, False),
        ("gpt", {"team": "sales"}, True),
        ("gpt", {"key_id": "key-2"}, True),
        ("team", {"team": "sales"}, False),
        ("team", {"key_id": "key-2"}, True),
        ("key", {"key_id": "key-2"}, False),
        ("key", {}, True),
    ],
)
async def test_at69_answers_are_shared_as_far_as_the_entry_says_and_never_across_tenants(name, other, shared):
    teams = tuple(
        TeamRow(tenant=tenant, name=team, environment="production", models=("*",))
        for tenant in ("acme", "evil")
        for team in ("search", "sales")
    )
    one = House(models=MODELS, teams=teams)
    await one.chat(name)
    as_(one, **other)
    assert said(await one.chat(name)) == ("hit" if shared else "miss")


async def said_after(change):
    """Of the cache, to a repeated call, after a change of the snapshot."""
    one = house()
    await one.chat("gpt")
    snapshot = one.world.index.snapshot
    one.world.swap(Index(msgspec.structs.replace(snapshot, id="another", **change(snapshot))))
    return said(await one.chat("gpt"))


def with_first(rows, **changes):
    return (msgspec.structs.replace(rows[0], **changes), *rows[1:])


@pytest.mark.parametrize(
    "change",
    [
        lambda told: {"teams": with_first(told.teams, tool_depth=3)},
        lambda told: {"teams": (*told.teams, msgspec.structs.replace(told.teams[0], name="another"))},
        lambda told: {"models": tuple(msgspec.structs.replace(row, attempts=2) for row in told.models)},
        lambda told: {"providers": tuple(msgspec.structs.replace(row, region="eu") for row in told.providers)},
    ],
    ids=["a team's rules", "a new team", "the model's entry", "its providers"],
)
async def test_at69_a_change_of_the_rules_or_of_what_a_model_stands_for_forgets(change):
    assert await said_after(change) == "miss"


@pytest.mark.parametrize(
    "change",
    [
        lambda told: {"pricing": msgspec.structs.replace(told.pricing, version="newer")},
        lambda told: {"teams": (*told.teams, msgspec.structs.replace(told.teams[0], tenant="another"))},
        lambda told: {"models": (*told.models, msgspec.structs.replace(told.models[0], name="another"))},
        lambda told: {"budgets": (BudgetedRow("tenant/acme", BudgetRow(nano=10**15)),)},
    ],
    ids=["prices", "another tenant", "another model", "a budget"],
)
async def test_a_change_that_no_answer_depends_on_forgets_nothing(change):
    assert await said_after(change) == "hit"


async def test_a_caller_whose_team_may_not_use_the_model_gets_no_kept_answer():
    one = House(
        models=MODELS, teams=(TEAM, TeamRow(tenant="acme", name="sales", environment="production", models=("plain",)))
    )
    await one.chat("gpt")
    as_(one, team="sales")
    sink = await one.chat("gpt")
    assert sink.status == 403


async def test_regulated_data_is_neither_kept_nor_looked_up():
    one = house()
    regulated = {b"x-ostiary-sensitivity": b"regulated"}
    for _ in range(2):
        sink = await one.chat("ashore", headers=regulated)
        assert (sink.status, said(sink)) == (200, "bypass")
    assert len(one.world.answers) == 0


async def test_only_whole_answers_of_the_models_own_targets_are_kept():
    one = house(script=[Behaviour(status=400)])
    assert (await one.chat("gpt")).status == 400
    assert len(one.world.answers) == 0
    one.upstream.then(Behaviour(fault=Fault.CUT, after=4))
    await one.chat("gpt", stream=True)
    assert len(one.world.answers) == 0
    one.upstream.then(Behaviour(status=500), Behaviour())
    assert (await one.chat("flaky")).headers[b"x-ostiary-fallback"] == Code.UPSTREAM_ERROR.encode()
    assert len(one.world.answers) == 0
    one.check()


async def test_an_answer_that_was_cut_short_by_its_bound_is_not_kept():
    one = house(script=[Behaviour(tokens=50)])
    sink = await one.chat("gpt", max_tokens=3)
    assert sink.json["choices"][0]["finish_reason"] == "length"
    assert len(one.world.answers) == 0


@pytest.mark.parametrize(
    ("value", "expected", "kept"),
    [
        (b"no-store", "bypass", 0),
        (b"no-cache", "bypass", 1),
        (b"max-age=10", "miss", 1),
        (b"max-age=nonsense", "miss", 1),
        (b"max-age=3600", "hit", 1),
        (b"private, unheard-of=1", "hit", 1),
    ],
)
async def test_a_caller_says_what_of_the_cache_it_wants(value, expected, kept):
    one = house()
    if kept:
        await one.chat("gpt")
        one.clock.advance(11)
    sink = await one.chat("gpt", headers={b"cache-control": value})
    assert (said(sink), len(one.world.answers)) == (expected, kept)
    one.check()


async def test_only_if_cached_asks_nobody():
    one = house()
    sink = await one.chat("gpt", headers={b"cache-control": b"only-if-cached"})
    assert (sink.status, sink.json["error"]["code"]) == (504, Code.CACHE_MISS)
    assert one.upstream.sent == []
    await one.chat("gpt")
    assert (await one.chat("gpt", headers={b"cache-control": b"only-if-cached"})).status == 200
    one.check()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_old_answer_stands_in_for_a_failure_and_says_so(stream):
    one = house()
    first = await one.chat("stale", stream=stream)
    one.clock.advance(300)
    one.upstream.then(Behaviour(status=500))
    sink = await one.chat("stale", stream=stream)
    assert (sink.status, said(sink), sink.body) == (200, "stale", first.body)
    assert sink.headers[b"x-ostiary-fallback"] == Code.UPSTREAM_ERROR.encode()
    assert one.journal.of(Kind.CLOSED)[-1].cache == "stale"
    one.clock.advance(361)
    one.upstream.then(Behaviour(status=500))
    assert (await one.chat("stale", stream=stream)).status == 502
    one.check()


async def test_an_old_answer_stands_in_where_every_target_rests():
    one = house()
    await one.chat("stale")
    one.clock.advance(100)
    one.upstream.then(Behaviour(status=429, retry_after="50"))
    assert said(await one.chat("stale")) == "stale"
    before = len(one.upstream.sent)
    assert said(await one.chat("stale")) == "stale"
    assert len(one.upstream.sent) == before
    one.check()


async def test_what_the_caller_got_wrong_is_not_answered_with_an_old_answer():
    one = house()
    await one.chat("stale")
    one.clock.advance(100)
    one.upstream.then(Behaviour(status=422))
    assert (await one.chat("stale")).status == 422
    one.check()


class Gate:
    """Holds back every call that goes upstream until it is opened."""

    def __init__(self, one):
        self._send = one.upstream.send
        self.open = asyncio.Event()
        self.waiting = asyncio.Event()
        one.upstream.send = self.send

    async def send(self, request):
        self.waiting.set()
        await self.open.wait()
        return await self._send(request)


async def test_fd43_of_many_identical_calls_one_goes_out_per_tenant():
    teams = tuple(
        TeamRow(tenant=tenant, name="search", environment="production", models=("*",)) for tenant in ("acme", "evil")
    )
    one = House(models=MODELS, teams=teams)
    gate = Gate(one)
    calls = []
    for tenant in ("acme", "evil"):
        as_(one, tenant=tenant)
        calls += [asyncio.ensure_future(one.chat("gpt")) for _ in range(1_000)]
        await gate.waiting.wait()
        await asyncio.sleep(0)
    gate.open.set()
    sinks = await asyncio.gather(*calls)
    assert {sink.status for sink in sinks} == {200}
    assert len(one.upstream.sent) == 2
    assert sorted(map(said, sinks)) == ["hit"] * 1_998 + ["miss"] * 2
    one.check()


async def test_fd43_where_the_leader_fails_another_goes_and_the_rest_wait_for_it():
    one = house(script=[Behaviour(status=400)])
    gate = Gate(one)
    calls = [asyncio.ensure_future(one.chat("gpt")) for _ in range(20)]
    await gate.waiting.wait()
    gate.open.set()
    sinks = await asyncio.gather(*calls)
    assert sorted(sink.status for sink in sinks) == [200] * 19 + [400]
    assert len(one.upstream.sent) == 2
    one.check()


async def test_fd43_a_leader_whose_client_left_leaves_the_lead():
    one = house()
    gate = Gate(one)
    leader = asyncio.ensure_future(one.chat("gpt"))
    await gate.waiting.wait()
    follower = asyncio.ensure_future(one.chat("gpt"))
    await asyncio.sleep(0)
    leader.cancel()
    gate.open.set()
    assert said(await follower) == "miss"
    await leader
    assert one.world.flights.open_count == 0


async def test_calls_may_go_out_side_by_side_where_the_entry_says_so():
    one = house()
    gate = Gate(one)
    calls = [asyncio.ensure_future(one.chat("alone")) for _ in range(3)]
    await gate.waiting.wait()
    gate.open.set()
    await asyncio.gather(*calls)
    assert len(one.upstream.sent) == 3


async def test_memory_is_bounded_and_what_nobody_asked_for_longest_goes_first():
    one = house(server=ServerRow(cache_bytes=8_192))
    for seed in range(20):
        await one.chat("gpt", seed=seed)
    assert 0 < one.world.answers.bytes <= 8_192
    assert said(await one.chat("gpt", seed=19)) == "hit"
    assert said(await one.chat("gpt", seed=0)) == "miss"
    snapshot = one.world.index.snapshot
    one.world.swap(Index(msgspec.structs.replace(snapshot, server=ServerRow(cache_bytes=0))))
    assert one.world.answers.bytes == 0
    await one.chat("gpt", seed=1)
    assert len(one.world.answers) == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_too_large_to_keep_is_given_and_not_kept(stream):
    one = house(script=[Behaviour(text="word " * (CACHE_ENTRY_BYTES_MAX // 5 + 1))])
    sink = await one.chat("gpt", stream=stream)
    assert sink.status == 200
    assert len(one.world.answers) == 0
    one.check()


async def test_every_dialect_has_its_own_answers_and_embeddings_are_kept_too():
    one = house()
    for _ in range(2):
        sink = await one.post(b"/v1/embeddings", {"model": "gpt", "input": "x"})
    assert said(sink) == "hit"
    await one.chat("gpt")
    assert said(await one.message("gpt")) == "miss"
    assert said(await one.message("gpt")) == "hit"
    one.check()


async def test_a_hit_takes_a_request_but_no_tokens_of_a_limit():
    limit = LimitRow(requests_per_minute=60, request_burst=2, tokens_per_minute=6_000, token_burst=6_000)
    one = House(models=MODELS, teams=(TEAM,), limits=(LimitedRow("team/acme/search", limit),))
    await one.chat("gpt")
    sink = await one.chat("gpt")
    assert said(sink) == "hit"
    left = int(sink.headers[b"x-ratelimit-remaining-tokens"])
    assert left > 5_000
    assert (await one.chat("gpt")).status == 429
