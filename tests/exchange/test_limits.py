"""Limits and budgets on the road of a call: refused by one, charged to none; settled once, whatever happens."""

import asyncio

import msgspec
import pytest

from ostiary.bootstrap.scopes import FALLBACK_ON
from ostiary.core.error import Code, UpstreamError
from ostiary.core.event import Kind
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.snapshot.tables import (
    BudgetedRow,
    BudgetRow,
    IncreaseRow,
    LimitedRow,
    LimitRow,
    Period,
    PriceRow,
    Rates,
)
from tests.exchange.harness import PRINCIPAL, House, fallback, model

TEAM, KEY, TENANT, USER = "team/acme/search", "key/acme/key-1", "tenant/acme", "user/acme/search"


def house(*, limits=(), budgets=(), **fields):
    return House(
        limits=tuple(LimitedRow(scope, row) for scope, row in limits),
        budgets=tuple(BudgetedRow(scope, row) for scope, row in budgets),
        **fields,
    )


def budget(nano=None, **fields):
    return BudgetRow(nano=nano, period=Period.MONTH, **fields)


async def test_requests_beyond_the_limit_are_refused_with_the_time_to_wait():
    one = house(limits=[(KEY, LimitRow(requests_per_minute=60, request_burst=2))])
    assert [(await one.chat()).status for _ in range(2)] == [200, 200]
    sink = await one.chat()
    assert (sink.status, sink.json["error"]["code"]) == (429, Code.LIMIT_REQUESTS)
    assert sink.headers[b"retry-after"] == b"1"
    assert len(one.upstream.sent) == 2
    (denied,) = one.journal.of(Kind.DENIED)
    assert denied.error == Code.LIMIT_REQUESTS
    one.clock.advance(1.0)
    assert (await one.chat()).status == 200
    one.check()


async def test_a_call_refused_by_one_scope_costs_the_others_nothing():
    one = house(
        limits=[
            (TENANT, LimitRow(requests_per_minute=60, request_burst=3)),
            (KEY, LimitRow(requests_per_minute=60, request_burst=1)),
        ]
    )
    assert [(await one.chat()).status for _ in range(9)] == [200] + [429] * 8
    one.clock.advance(1.0)
    assert (await one.chat()).status == 200
    one.check()


async def test_tokens_are_charged_as_estimated_and_corrected_by_what_was_used():
    one = house(limits=[(TEAM, LimitRow(tokens_per_minute=6_000, token_burst=6_000))])
    first = await one.chat(max_tokens=4_000)
    assert first.status == 200
    used = first.json["usage"]["total_tokens"]
    cell = f"tokens {TEAM}"
    owed = (one.world.limits._rates.tat(cell) - one.clock.monotonic()) * 100
    assert owed == pytest.approx(used, abs=60), "what was taken too much is given back"
    assert (await one.chat(max_tokens=5_000)).status == 200


async def test_calls_open_at_once_are_bounded():
    one = house(limits=[(KEY, LimitRow(concurrent_requests=2))])
    gate = asyncio.Event()

    async def hold(*_):
        await gate.wait()

    one.upstream.pause = hold
    calls = [asyncio.get_running_loop().create_task(one.chat()) for _ in range(2)]
    while len(one.upstream.sent) < 2:
        await asyncio.sleep(0)
    sink = await one.chat()
    assert (sink.status, sink.json["error"]["code"]) == (429, Code.LIMIT_CONCURRENCY)
    gate.set()
    assert [(await call).status for call in calls] == [200, 200]
    assert (await one.chat()).status == 200
    one.check()


async def test_each_end_user_has_limits_of_its_own_and_the_nameless_share_one():
    one = house(limits=[(USER, LimitRow(requests_per_minute=60, request_burst=1))])
    for user, expected in (("ann", 200), ("ben", 200), ("ann", 429), (None, 200), (None, 429)):
        assert (await one.chat(**({} if user is None else {"user": user}))).status == expected
    one.check()


async def test_a_project_and_a_tier_are_scopes_of_their_keys_and_teams():
    base = House().world.index.snapshot
    teams = tuple(msgspec.structs.replace(team, tier="free") for team in base.teams)
    project, tier = "project/acme/search/beta", "tier/free"
    cost = 10**6
    fields = {
        "budgets": [(project, budget(cost))],
        "limits": [(tier, LimitRow(requests_per_minute=60, request_burst=3))],
    }
    one = house(**fields, teams=teams, principal=msgspec.structs.replace(PRINCIPAL, project="beta"))
    assert (await one.chat(max_tokens=10)).status == 200
    assert one.closed.project == "beta"
    assert one.world.holds.spent()[project].nano == one.closed.cost.nano
    assert (await one.chat(max_tokens=100_000)).status == 402
    await one.chat(max_tokens=10)
    assert (await one.chat(max_tokens=10)).json["error"]["code"] == Code.LIMIT_REQUESTS
    one.check()
    other = house(**fields)
    assert (await other.chat(max_tokens=100_000)).status == 200, "a key of no project, a team of no tier"


async def test_at25_a_thousand_calls_at_once_spend_no_more_than_a_budget_for_ten():
    alone = House()
    cost = int((await alone.chat(max_tokens=50)).headers[b"x-ostiary-cost"].split()[0].replace(b".", b""))
    bound = alone.world.holds.reserved_nano
    assert bound == 0
    one = house(budgets=[(TEAM, budget(10 * cost))])
    sinks = await asyncio.gather(*(one.chat(max_tokens=50) for _ in range(1_000)))
    answered = [sink for sink in sinks if sink.status == 200]
    assert 1 <= len(answered) <= 10
    assert {sink.status for sink in sinks} <= {200, 402}
    spent = one.world.holds.spent()[TEAM].nano
    recorded = sum(closed.cost.nano for closed in one.journal.of(Kind.CLOSED))
    assert spent == recorded <= 10 * cost
    one.check()


async def test_a_refusal_says_what_was_held_what_is_left_and_what_would_pass():
    one = house(budgets=[(TEAM, budget(2_000_000))])
    sink = await one.chat(max_tokens=100_000)
    told = sink.json["error"]
    assert (sink.status, told["code"]) == (402, Code.BUDGET_EXHAUSTED)
    assert "0.002 USD are left" in told["message"]
    most = int(told["message"].split("max_tokens of ")[1].split()[0])
    assert (await one.chat(max_tokens=most)).status == 200
    one.check()


async def test_a_default_bound_goes_with_a_call_that_a_budget_covers():
    models = (model("gpt", ("oai", "gpt-4o-mini"), default_max_tokens=77),)
    one = house(budgets=[(TEAM, budget(10**9))], models=models)
    await one.chat()
    assert b'"max_completion_tokens":77' in one.upstream.sent[0].body
    await one.chat(max_tokens=5)
    assert b"77" not in one.upstream.sent[1].body
    free = house(models=models)
    await free.chat()
    assert b"77" not in free.upstream.sent[0].body


async def test_a_soft_budget_only_alerts():
    one = house(budgets=[(TEAM, budget(1_000, alerts=(0.5, 1.0), hard=False))])
    for _ in range(3):
        assert (await one.chat()).status == 200
    assert one.observer.alerts == [(TEAM, 0.5), (TEAM, 1.0)]
    recorded = one.journal.of(Kind.ALERT)
    assert [(alert.scope, alert.share, alert.budget_nano) for alert in recorded] == [
        (TEAM, 0.5, 1_000),
        (TEAM, 1.0, 1_000),
    ]
    assert all(alert.start <= alert.at_ns // 10**9 < alert.end for alert in recorded)
    one.check()


async def test_a_journal_that_fails_for_an_alert_fails_no_call():
    one = house(budgets=[(TEAM, budget(1_000, alerts=(0.5,), hard=False))])
    one.journal.fail_at = (2,)  # after the opening record, before the closing one
    assert (await one.chat()).status == 200
    assert one.observer.alerts == [(TEAM, 0.5)]
    assert not one.journal.of(Kind.ALERT)
    one.check()


async def test_an_increase_raises_the_budget_for_its_time_alone():
    now = House().clock.now_ns() // 10**9
    raised = budget(1_000, increases=(IncreaseRow(now + 10, now + 20, nano=10**9),))
    one = house(budgets=[(TEAM, raised)])
    assert (await one.chat(max_tokens=100)).status == 402
    one.clock.advance(10.0)
    assert (await one.chat(max_tokens=100)).status == 200
    one.clock.advance(10.0)
    assert (await one.chat(max_tokens=100)).status == 402
    one.check()


async def test_an_increase_holds_for_each_end_user_too():
    now = House().clock.now_ns() // 10**9
    one = house(budgets=[(USER, budget(1_000, increases=(IncreaseRow(0, now + 5, nano=10**9),)))])
    assert (await one.chat(max_tokens=100, user="anna")).status == 200
    one.clock.advance(10.0)
    assert (await one.chat(max_tokens=100, user="bert")).status == 402
    one.check()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(status=500),
        Behaviour(fault=Fault.CUT, after=1),
        Behaviour(fault=Fault.MALFORMED),
        Behaviour(fault=Fault.NO_USAGE),
        Behaviour(fault=Fault.WRONG_USAGE),
        Behaviour(fault=Fault.DROP),
    ],
)
async def test_whatever_happens_holds_are_settled_and_spend_is_what_the_journal_says(behaviour, stream):
    one = house(
        budgets=[(TEAM, budget(10**12)), (KEY, budget(10**12))], limits=[(KEY, LimitRow(concurrent_requests=3))]
    )
    one.upstream.then(*[behaviour] * 2)
    for _ in range(3):
        await one.chat(stream=stream)
        one.clock.advance(400.0)
    one.check()
    recorded = sum(closed.cost.nano for closed in one.journal.of(Kind.CLOSED) if closed.cost)
    spent = one.world.holds.spent()
    assert spent[TEAM].nano == spent[KEY].nano == recorded


async def test_answers_tell_the_tightest_limits_in_the_dialects_own_names():
    one = house(
        limits=[
            (TENANT, LimitRow(requests_per_minute=6_000, request_burst=100)),
            (KEY, LimitRow(requests_per_minute=60, request_burst=5, tokens_per_minute=9_000, token_burst=9_000)),
        ]
    )
    sink = await one.chat(max_tokens=100)
    assert sink.headers[b"x-ratelimit-limit-requests"] == b"60"
    assert sink.headers[b"x-ratelimit-remaining-requests"] == b"4"
    assert sink.headers[b"x-ratelimit-reset-requests"] == b"1.000s"
    assert 8_000 < int(sink.headers[b"x-ratelimit-remaining-tokens"]) < 9_000
    sink = await one.message()
    assert sink.headers[b"anthropic-ratelimit-requests-remaining"] == b"3"
    assert sink.headers[b"anthropic-ratelimit-requests-reset"].endswith(b"Z")
    assert b"x-ratelimit-limit-requests" not in sink.headers


CHEAP, DEAR = 1_000, 10**6


def priced(*, on=("budget",), room=50 * DEAR, **fields):
    rows = tuple(
        PriceRow(provider="list", model=name, rates=Rates(input=each * 10**6, output=each * 10**6), version="v1")
        for name, each in (("gpt-4o-mini", DEAR), ("gpt-spare", CHEAP))
    )
    pricing = msgspec.structs.replace(House().world.index.snapshot.pricing, rows=rows)
    codes = tuple(code for word in on for code in FALLBACK_ON[word])
    models = (
        model("gpt", ("oai", "gpt-4o-mini"), fallbacks=(fallback("spare", *codes),)),
        model("spare", ("spare", "gpt-spare")),
    )
    return house(budgets=[(TEAM, budget(room))], pricing=pricing, models=models, **fields)


async def test_a_call_its_budget_has_no_room_for_goes_to_the_fallback_for_that():
    one = priced()
    sink = await one.chat(max_tokens=100)
    assert sink.status == 200
    assert sink.headers[b"x-ostiary-fallback"] == Code.BUDGET_EXHAUSTED.encode()
    assert (one.closed.request_model, one.closed.fallback) == ("gpt-spare", Code.BUDGET_EXHAUSTED)
    assert [sent.origin.host for sent in one.upstream.sent] == ["spare.test"]
    assert one.world.holds.spent()[TEAM].nano == one.closed.cost.nano
    one.check()


async def test_where_the_budget_has_room_nothing_changes():
    one = priced(room=10**12)
    sink = await one.chat(max_tokens=100)
    assert b"x-ostiary-fallback" not in sink.headers
    assert one.closed.request_model == "gpt-4o-mini"
    one.check()


async def test_a_fallback_for_other_failures_does_not_stand_for_want_of_budget():
    one = priced(on=("error",))
    assert (await one.chat(max_tokens=100)).status == 402
    assert one.upstream.sent == []
    one.check()


async def test_where_not_even_the_fallback_fits_the_refusal_is_that_of_the_model_itself():
    one = priced(room=10)
    sink = await one.chat(max_tokens=100)
    assert (sink.status, sink.json["error"]["code"]) == (402, Code.BUDGET_EXHAUSTED)
    (denied,) = one.journal.of(Kind.DENIED)
    assert denied.fallback == ""
    assert one.upstream.sent == []
    one.check()


async def test_a_fallback_that_rests_leaves_the_refusal_as_it_is():
    one = priced()
    now = one.clock.monotonic()
    one.world.health.of("spare/gpt-spare", now).began(now, first=True)
    one.world.health.failed("spare/gpt-spare", now, UpstreamError(Code.UPSTREAM_CREDENTIAL, "refused"))
    assert (await one.chat("spare", max_tokens=100)).json["error"]["code"] == Code.UPSTREAM_CREDENTIAL, "it rests"
    sink = await one.chat(max_tokens=100)
    assert (sink.status, sink.json["error"]["code"]) == (402, Code.BUDGET_EXHAUSTED)
    assert one.upstream.sent == []
    one.check()
