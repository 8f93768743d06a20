"""Where data may go: regions and private targets, which no fallback, retry or passthrough crosses."""

import msgspec
import pytest

from ostiary.core.error import Code
from ostiary.core.event import Skipped
from ostiary.simulator.behaviour import Behaviour
from ostiary.snapshot.tables import Residency, TeamRow
from tests.exchange.harness import House, fallback, model, provider

DOWN = Behaviour(status=500)
PROVIDERS = (
    provider("zurich", "openai", region="ch", residency=Residency.PRIVATE),
    provider("basel", "openai", region="ch"),
    provider("paris", "openai", region="fr"),
    provider("nowhere", "openai"),
)
MODELS = (
    model("all", *((row.name, "m") for row in reversed(PROVIDERS)), strategy="priority"),
    model("swiss", *((row.name, "m") for row in reversed(PROVIDERS)), strategy="priority", regions=("ch",)),
    model("falls", ("basel", "m"), regions=("ch",), attempts=4, fallbacks=(fallback("french"), fallback("zurich"))),
    model("french", ("paris", "m")),
    model("zurich", ("zurich", "m")),
    model("bound", ("basel", "m"), regions=("ch",), attempts=4, fallbacks=(fallback("french"),)),
)


def house(*, script=(), **bound):
    team = TeamRow(tenant="acme", name="search", environment="production", models=("*",), passthrough=("*",), **bound)
    return House(providers=PROVIDERS, models=MODELS, teams=(team,), script=script)


def hosts(one):
    return [sent.origin.host.removesuffix(".test") for sent in one.upstream.sent]


async def test_a_model_bound_to_regions_goes_nowhere_else_and_says_so():
    one = house()
    assert (await one.chat("swiss")).status == 200
    one.check()
    assert hosts(one) == ["basel"]
    assert one.closed.route == (Skipped("nowhere/m", "region unknown"), Skipped("paris/m", "region"))


async def test_no_failure_crosses_a_region():
    one = house(script=[DOWN] * 9)
    assert (await one.chat("swiss")).status == 502
    one.check()
    assert set(hosts(one)) == {"basel", "zurich"}


async def test_a_fallback_is_bound_as_the_model_that_was_asked_for():
    one = house(script=lambda request: DOWN if request.path.startswith("/v1") and len(one.upstream.sent) < 2 else None)
    assert (await one.chat("falls")).status == 200
    one.check()
    assert hosts(one) == ["basel", "zurich"]
    one = house(script=[DOWN] * 9)
    assert (await one.chat("bound")).status == 502
    assert set(hosts(one)) == {"basel"}


@pytest.mark.parametrize(
    ("bound", "there"),
    [
        ({"regions": ("ch",)}, "basel"),
        ({"residency": Residency.PRIVATE}, "zurich"),
        ({"regions": ("fr", "ch")}, "paris"),
    ],
)
async def test_a_team_is_bound_whatever_the_model_allows(bound, there):
    one = house(**bound)
    assert (await one.chat("all")).status == 200
    one.check()
    assert hosts(one) == [there]


@pytest.mark.parametrize("bound", [{"regions": ("us",)}, {"regions": ("fr",), "residency": Residency.PRIVATE}])
async def test_a_call_that_may_go_nowhere_is_refused_by_that_reason(bound):
    one = house(**bound)
    sink = await one.chat("swiss")
    one.check()
    assert sink.status == 403
    assert one.closed.error == Code.POLICY_RESIDENCY
    assert one.upstream.sent == []


async def test_passthrough_is_bound_too():
    one = house(regions=("ch",))
    body = msgspec.json.encode({"model": "m", "messages": []})
    sink = await one.post(b"/passthrough/paris/chat/completions", body)
    one.check()
    assert sink.status == 403
    assert one.upstream.sent == []
