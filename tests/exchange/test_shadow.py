"""Calls that another model gets to see as well: shown to nobody, on record, paid for, and never in the way."""

import asyncio

from ostiary.core.error import Code
from ostiary.core.event import Outcome
from ostiary.core.limit import SHADOW_BODY_BYTES_MAX, SHADOW_REQUESTS_MAX
from ostiary.simulator.behaviour import Behaviour
from ostiary.snapshot.tables import (
    BudgetedRow,
    BudgetRow,
    LimitedRow,
    LimitRow,
    Residency,
    ShadowRow,
    TargetRow,
    TeamRow,
)
from tests.exchange.harness import House, RecordingSink, fallback, model, provider

PROVIDERS = (
    provider("oai", "openai", region="ch"),
    provider("ant", "anthropic", region="fr"),
    provider("onsite", "openai", residency=Residency.PRIVATE, region="ch"),
)
REGULATED = {b"x-ostiary-sensitivity": b"regulated"}


def house(*, share=1.0, team=None, other=None, scope=(), **fields):
    asked = {name: fields.pop(name) for name in ("regions", "cache") if name in fields}
    models = (
        model(
            "gpt",
            ("oai", "gpt-4o-mini"),
            ("onsite", "tiny"),
            strategy="priority",
            shadow=ShadowRow("next", share),
            **asked,
        ),
        other or model("next", ("ant", "claude-sonnet"), default_max_tokens=50, fallbacks=(fallback("spare"),)),
        model("spare", ("onsite", "tiny")),
    )
    team = team or TeamRow(tenant="acme", name="search", environment="production", models=("*",))
    return House(providers=PROVIDERS, models=models, teams=(team,), **fields)


async def mirrored(one):
    """All mirrored calls to their end; gives their closing records."""
    shadows = one.gateway.shadows
    while shadows.open_count:
        await asyncio.gather(*shadows._tasks)
    one.check()
    return [record for record in one.observer.records if record.shadow_of]


def hosts(one):
    return [sent.origin.host.removesuffix(".test") for sent in one.upstream.sent]


async def test_a_call_is_mirrored_after_its_answer_with_records_and_a_cost_of_its_own():
    one = house()
    sink = await one.chat("gpt")
    assert sink.status == 200
    assert hosts(one) == ["oai"], "nothing was mirrored before the answer was out"
    (record,) = await mirrored(one)
    assert hosts(one) == ["oai", "ant"]
    real = next(found for found in one.observer.records if not found.shadow_of)
    assert (record.shadow_of, record.original_model) == (real.request_id, "next")
    assert record.request_id != real.request_id
    assert record.outcome is Outcome.SUCCEEDED
    assert record.cost.nano > 0
    assert [opened.shadow_of for opened in one.opened] == ["", real.request_id]
    assert len(sink.pieces) == 1


async def test_a_stream_is_mirrored_too():
    one = house()
    sink = await one.chat("gpt", stream=True)
    assert sink.ended
    (record,) = await mirrored(one)
    assert record.outcome is Outcome.SUCCEEDED
    assert record.stream


async def test_chance_takes_the_share_and_no_more():
    assert len(await mirrored(await asked(house(share=0.25, draw=0.2)))) == 1
    assert await mirrored(await asked(house(share=0.25, draw=0.25))) == []


async def asked(one, **options):
    await one.chat("gpt", **options)
    return one


async def test_a_failure_is_not_mirrored():
    one = house(script=[Behaviour(status=400)])
    assert (await one.chat("gpt")).status == 400
    assert await mirrored(one) == []


async def test_a_mirrored_call_that_fails_changes_nothing_for_anybody():
    one = house(
        script=lambda request: Behaviour(status=400) if "ant" in request.path or b"claude" in request.body else None
    )
    assert (await one.chat("gpt")).status == 200
    (record,) = await mirrored(one)
    assert record.outcome is Outcome.FAILED
    assert record.fallback == ""
    assert hosts(one) == ["oai", "ant"], "nobody stands in for a shadow"


async def test_regulated_data_is_mirrored_to_private_targets_alone():
    one = house()
    assert (await one.chat("gpt", headers=REGULATED)).status == 200
    (record,) = await mirrored(one)
    assert (record.outcome, record.error) == (Outcome.DENIED, Code.POLICY_SENSITIVITY)
    assert hosts(one) == ["onsite"]
    one = house(other=model("next", ("onsite", "next")))
    await one.chat("gpt", headers=REGULATED)
    (record,) = await mirrored(one)
    assert (record.outcome, record.label) == (Outcome.SUCCEEDED, "regulated")


async def test_what_binds_a_model_or_a_team_to_regions_binds_the_mirror():
    (record,) = await mirrored(await asked(house(regions=("ch",))))
    assert (record.outcome, record.error) == (Outcome.DENIED, Code.POLICY_RESIDENCY)
    team = TeamRow(tenant="acme", name="search", environment="production", models=("*",), regions=("ch", "us"))
    one = house(team=team, regions=("ch", "fr"), other=model("next", ("ant", "x"), TargetRow("oai", "next")))
    (record,) = await mirrored(await asked(one))
    assert record.outcome is Outcome.SUCCEEDED
    assert hosts(one) == ["oai", "oai"]


async def test_a_model_that_the_key_may_not_use_is_no_mirror():
    team = TeamRow(tenant="acme", name="search", environment="production", models=("gpt",))
    assert await mirrored(await asked(house(team=team))) == []


async def test_a_budget_without_room_lets_the_call_through_and_not_its_mirror():
    budgets = (BudgetedRow("team/acme/search", BudgetRow(tokens=85)),)
    one = house(budgets=budgets)
    assert (await one.chat("gpt", max_tokens=50)).status == 200
    (record,) = await mirrored(one)
    assert (record.outcome, record.error) == (Outcome.DENIED, Code.BUDGET_EXHAUSTED)
    assert hosts(one) == ["oai"]


async def test_a_mirror_takes_no_share_of_a_callers_limits():
    limits = (LimitedRow("team/acme/search", LimitRow(requests_per_minute=2, request_burst=2, concurrent_requests=1)),)
    one = house(limits=limits)
    for _ in range(2):
        assert (await one.chat("gpt")).status == 200
        await mirrored(one)
    assert (await one.chat("gpt")).status == 429


async def test_there_are_never_more_than_the_bound_and_the_rest_is_counted():
    one = house()
    for _ in range(SHADOW_REQUESTS_MAX + 3):
        one.gateway.shadows._tasks.add(asyncio.get_running_loop().create_future())
    one.gateway.shadows.dropped = 0
    assert (await one.chat("gpt")).status == 200
    assert one.gateway.shadows.dropped == 1
    one.gateway.shadows._tasks.clear()
    assert await mirrored(one) == []


async def test_a_large_body_is_not_held_for_a_mirror():
    one = house()
    body = {"model": "gpt", "messages": [{"role": "user", "content": "a" * SHADOW_BODY_BYTES_MAX}]}
    assert (await one.post(b"/v1/chat/completions", body)).status == 200
    assert one.gateway.shadows.dropped == 1
    assert await mirrored(one) == []


async def test_a_repetition_is_not_mirrored_again():
    one = house()
    key = {b"idempotency-key": b"one"}
    for _ in range(2):
        assert (await one.chat("gpt", headers=key)).status == 200
    assert len(await mirrored(one)) == 1


async def test_a_worker_that_stops_ends_them_and_each_is_on_record():
    one = house()
    waiting = asyncio.Event()
    send = one.upstream.send

    async def slow(request):
        if request.origin.host == "ant.test":
            waiting.set()
            await asyncio.Event().wait()
        return await send(request)

    one.upstream.send = slow
    await one.chat("gpt")
    await waiting.wait()
    await one.gateway.shadows.end()
    (record,) = await mirrored(one)
    assert (record.outcome, record.error) == (Outcome.FAILED, Code.GATEWAY_DRAINING)
    await one.chat("gpt", sink=RecordingSink(one.journal))
    assert len(await mirrored(one)) == 1, "none is begun any more"
