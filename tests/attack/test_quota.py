"""What takes more than it was given: budgets raced, limits split, numbers that lie, calls that multiply (AT-26 to AT-34,
AT-79). Whole calls in one process; the same over several workers is `tests/process/test_shared_counters.py`."""

import asyncio

import msgspec
import pytest

from ostiary.core.error import Code
from ostiary.core.event import Kind
from ostiary.core.principal import KeyId
from ostiary.core.usage import Usage
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.snapshot.tables import BudgetedRow, BudgetRow, LimitedRow, LimitRow, Period
from tests.exchange.harness import PRINCIPAL, House, OneKey, fallback, model

TEAM, EACH = "team/acme/search", "user/acme/search"


def house(*, limits=(), budgets=(), **fields):
    return House(
        limits=tuple(LimitedRow(scope, row) for scope, row in limits),
        budgets=tuple(BudgetedRow(scope, BudgetRow(period=Period.MONTH, **row)) for scope, row in budgets),
        **fields,
    )


async def cost_of(**fields):
    one = House()
    await one.chat(**fields)
    return one.closed.cost.nano


async def together(one, count, **fields):
    return await asyncio.gather(*(one.chat(**fields) for _ in range(count)))


# --- AT-26 ------------------------------------------------------------------------------------------------------


async def test_at26_a_user_never_seen_before_has_the_budget_of_each_from_the_first_of_many_calls_at_once():
    cost = await cost_of(max_tokens=20)
    one = house(budgets=[(EACH, {"nano": 4 * cost})])
    sinks = await together(one, 50, max_tokens=20, user="nobody-knew-me")
    answered = [sink for sink in sinks if sink.status == 200]
    assert answered
    assert {sink.status for sink in sinks} == {200, 402}
    (spent,) = [spent.nano for scope, spent in one.world.holds.spent().items() if scope.startswith(EACH)]
    assert spent == sum(closed.cost.nano for closed in one.journal.of(Kind.CLOSED)) <= 4 * cost
    other = await one.chat(max_tokens=20, user="another")
    assert other.status == 200, "another user's budget is another"
    one.check()


# --- AT-28, AT-29 -----------------------------------------------------------------------------------------------

LIES = {
    "n": [2**31, 0, -1, "2", True, 1.5],
    "max_tokens": [0, -1, 10**308, "10", True, 1.5, 2**63],
    "max_completion_tokens": [-1, 2**63, "10"],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in LIES.items() for value in values])
async def test_at28_a_number_that_no_call_has_is_refused_and_holds_nothing(field, value):
    one = house(budgets=[(TEAM, {"nano": 10**9})])
    sink = await one.chat(**{field: value})
    assert sink.status == 400, sink.body
    assert one.upstream.sent == []
    assert one.world.holds.open_count == 0
    one.check()


@pytest.mark.parametrize(
    "number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 100_000, b"-0", b"1E400"]
)
@pytest.mark.parametrize("field", [b"max_tokens", b"temperature", b"n", b"seed", b"top_p", b"frequency_penalty"])
async def test_at29_numbers_beyond_numbers_bypass_no_comparison(field, number):
    one = house(budgets=[(TEAM, {"nano": 10})], limits=[(TEAM, LimitRow(tokens_per_minute=100))])
    body = b'{"model":"gpt","messages":[{"role":"user","content":"x"}],"%s":%s}' % (field, number)
    sink = await one.post(b"/v1/chat/completions", body)
    assert sink.status in (400, 402, 403, 429), sink.body
    assert one.upstream.sent == []
    assert one.world.holds.open_count == 0
    one.check()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [Fault.WRONG_USAGE, Fault.NO_USAGE])
async def test_at28_usage_that_cannot_be_true_is_counted_by_us_and_marked(fault, stream):
    one = house(budgets=[(TEAM, {"nano": 10**12})], behaviour=Behaviour(fault=fault))
    await one.chat(stream=stream)
    closed = one.closed
    assert closed.usage_estimated
    assert 0 < closed.usage.total_tokens < 10_000
    assert one.world.holds.spent()[TEAM].nano == closed.cost.nano > 0
    one.check()


async def test_at28_ten_thousand_images_are_held_for_or_refused():
    image = {"type": "image_url", "image_url": {"url": "https://images.test/a.png"}}
    content = [{"type": "text", "text": "what?"}, *[image] * 10_000]
    one = house(budgets=[(TEAM, {"nano": 10**6})])
    sink = await one.post(b"/v1/chat/completions", {"model": "gpt", "messages": [{"role": "user", "content": content}]})
    assert sink.status in (400, 402), sink.body
    assert one.upstream.sent == []
    one.check()


# --- AT-33, AT-34 -----------------------------------------------------------------------------------------------


async def test_at33_other_keys_and_made_up_addresses_of_one_team_share_its_limit():
    one = house(limits=[(TEAM, LimitRow(requests_per_minute=60, request_burst=5))])
    statuses = []
    for number in range(20):
        principal = msgspec.structs.replace(PRINCIPAL, key_id=KeyId(f"key-{number}"))
        one.gateway._keys = OneKey(principal)
        spoofed = {
            b"x-forwarded-for": b"198.51.100.%d" % number,
            b"forwarded": b"for=198.51.100.%d" % number,
            b"x-real-ip": b"2001:db8:%d::1" % number,
        }
        statuses.append((await one.chat(headers=spoofed)).status)
    assert statuses == [200] * 5 + [429] * 15
    one.check()


async def test_at33_a_burst_across_the_edge_of_a_minute_gains_nothing():
    one = house(limits=[(TEAM, LimitRow(requests_per_minute=60, request_burst=10))])
    passed = 0
    for _ in range(4):  # the last second of one minute, the first of the next, and so on
        passed += sum(sink.status == 200 for sink in await together(one, 30))
        one.clock.advance(1.0)
    assert passed == 10 + 3, "the burst once, and one for each second"
    one.check()


async def test_at34_many_small_requests_take_as_much_as_they_are():
    one = house(limits=[(TEAM, LimitRow(requests_per_minute=60, request_burst=100))])
    statuses = [(await one.chat(max_tokens=1)).status for _ in range(1_000)]
    assert statuses.count(200) == 100
    one.check()


async def test_at34_an_array_of_inputs_counts_item_by_item():
    one = house(limits=[(TEAM, LimitRow(tokens_per_minute=1_000, token_burst=1_000))])
    small = await one.post(b"/v1/embeddings", {"model": "gpt", "input": ["word " * 20] * 2})
    assert small.status == 200, small.body
    big = await one.post(b"/v1/embeddings", {"model": "gpt", "input": ["word " * 20] * 1_000})
    assert (big.status, big.json["error"]["code"]) == (429, Code.LIMIT_TOKENS)
    one.check()


async def test_at34_attempts_and_fallbacks_of_one_call_are_one_request():
    models = (
        model("gpt", ("oai", "gpt-4o-mini"), fallbacks=(fallback("spare"),), attempts=3),
        model("spare", ("spare", "gpt-spare")),
    )
    one = house(limits=[(TEAM, LimitRow(requests_per_minute=60, request_burst=2))], models=models)
    one.upstream.then(*[Behaviour(status=500)] * 2)
    assert (await one.chat()).status == 200
    assert (await one.chat()).status == 200
    assert (await one.chat()).status == 429
    one.check()


# --- AT-79 ------------------------------------------------------------------------------------------------------


async def test_at79_a_short_prompt_that_asks_for_much_is_held_for_all_of_it():
    one = house(budgets=[(TEAM, {"nano": 1_000_000})])
    sink = await one.chat(max_tokens=100_000)
    assert (sink.status, sink.json["error"]["code"]) == (402, Code.BUDGET_EXHAUSTED)
    assert one.upstream.sent == []
    one.check()


async def test_at79_a_provider_in_trouble_is_asked_no_more_often_than_declared():
    models = (
        model("gpt", ("oai", "gpt-4o-mini"), fallbacks=(fallback("spare"),), attempts=4),
        model("spare", ("spare", "gpt-spare")),
    )
    one = house(models=models, behaviour=Behaviour(status=500))
    for _ in range(200):
        await one.chat()
        one.clock.advance(0.05)
    assert max(len(closed.attempts) for closed in one.journal.of(Kind.CLOSED)) <= 4
    assert len(one.upstream.sent) <= 200 * 1.2 + 10, "a fifth more than was offered, and what a start needs"
    one.check()


async def test_at79_a_conversation_of_ever_more_tool_rounds_ends_at_its_bound():
    base = House().world.index.snapshot
    teams = tuple(msgspec.structs.replace(team, tool_depth=3) for team in base.teams)
    one = House(teams=teams)
    call = {"id": "c", "type": "function", "function": {"name": "again", "arguments": "{}"}}
    rounds = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "go on"},
    ]
    tools = [{"type": "function", "function": {"name": "again", "parameters": {"type": "object"}}}]
    statuses = []
    for depth in (1, 3, 4, 50):
        messages = [{"role": "user", "content": "start"}, *rounds * depth]
        body = {"model": "gpt", "messages": messages, "tools": tools}
        statuses.append((await one.post(b"/v1/chat/completions", body)).status)
    assert statuses == [200, 200, 400, 400]
    assert {closed.error for closed in one.journal.of(Kind.DENIED)} == {Code.POLICY_TOOL_DEPTH}
    one.check()


# --- AT-27, AT-30 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.RESET, Fault.STALL, Fault.ERROR_EVENT])
async def test_at27_a_stream_that_breaks_off_is_charged_for_what_came(fault):
    one = house(budgets=[(TEAM, {"nano": 10**12})], behaviour=Behaviour(tokens=50, fault=fault, after=20))
    sink = await one.chat(stream=True)
    assert sink.begun
    closed = one.closed
    assert 0 < closed.usage.output_tokens < 50
    assert one.world.holds.spent()[TEAM].nano == closed.cost.nano > 0
    assert one.world.holds.open_count == 0
    one.check()


async def test_at30_a_model_without_a_price_is_never_free():
    models = (model("gpt", ("oai", "a-fine-tune-nobody-priced")),)
    one = house(budgets=[(TEAM, {"nano": 10**12})], models=models)
    await one.chat()
    assert one.closed.cost.nano > 0
    assert one.closed.cost.estimated
    assert one.closed.usage != Usage()
    one.check()
