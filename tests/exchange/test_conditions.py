"""Targets with conditions: whom a call goes to by what the gateway knows of the caller and what the caller says."""

import pytest

from ostiary.core.error import Code
from ostiary.core.event import Kind, Skipped
from ostiary.snapshot.tables import TargetRow, TeamRow
from tests.exchange.harness import House, fallback, model

TEAM = (TeamRow(tenant="acme", name="search", environment="production", models=("*",)),)


def house(*conditions, **fields):
    places = ("oai", "spare", "onsite")
    targets = (
        TargetRow(place, f"m{i}", when=when)
        for i, (place, when) in enumerate(zip(places, conditions, strict=False), start=1)
    )
    other = model("other", ("spare", "gpt-spare"))
    return House(models=(model("gpt", *targets, strategy="priority", **fields), other), teams=TEAM)


async def target_of(one, **options):
    sink = await one.chat("gpt", **options)
    one.check()
    assert sink.status == 200, sink.body
    return sink.headers[b"x-ostiary-target"].partition(b"@")[0].decode()


@pytest.mark.parametrize(
    ("when", "first"),
    [
        ('principal.tenant == "acme" && principal.team == "search"', True),
        ('principal.environment == "sandbox"', False),
        ('principal.key == "search-prod"', True),
        ('request.model == "gpt" && request.operation == "chat" && !request.stream', True),
        ("request.input_tokens > 100000", False),
        ("request.max_tokens == 0", True),
        ('request.label == "internal"', True),
        ("size(request.needs) == 0", True),
    ],
)
async def test_a_target_takes_the_calls_for_which_its_condition_holds(when, first):
    assert await target_of(house(when, "")) == ("oai/m1" if first else "spare/m2")


async def test_what_the_caller_says_can_be_asked():
    one = house('request.metadata.kind == "batch"', "")
    assert await target_of(one, headers={b"x-ostiary-metadata": b'{"kind": "batch"}'}) == "oai/m1"
    assert await target_of(one, headers={b"x-ostiary-metadata": b'{"kind": "other"}'}) == "spare/m2"


async def test_a_condition_without_an_answer_leaves_its_target_out_and_says_so():
    one = house('request.metadata.kind == "batch"', "")
    assert await target_of(one) == "spare/m2"
    assert one.closed.route == (Skipped("oai/m1", "condition failed"),)
    assert one.closed.strategy == "priority"


async def test_a_target_left_out_is_on_record():
    one = house("request.stream", "")
    assert await target_of(one) == "spare/m2"
    assert one.closed.route == (Skipped("oai/m1", "condition"),)


async def test_where_no_condition_holds_the_call_is_refused_by_that_reason():
    one = house("request.stream", 'principal.team == "other"')
    sink = await one.chat("gpt")
    assert sink.status == 400
    assert one.closed.error == Code.MODEL_CONDITION
    assert one.upstream.sent == []
    assert [skipped.reason for skipped in one.closed.route] == ["condition", "condition"]


async def test_where_no_condition_holds_a_fallback_stands_in_and_says_why():
    one = house("request.stream", fallbacks=(fallback("other"),))
    assert await target_of(one) == "spare/gpt-spare"
    assert one.closed.fallback == Code.MODEL_UNSUITABLE


async def test_a_condition_opens_no_way_around_a_label():
    one = house("true", "true", "true")
    assert await target_of(one, headers={b"x-ostiary-sensitivity": b"regulated"}) == "onsite/m3"


async def test_a_condition_that_was_never_compiled_holds_for_nobody():
    one = house("request.stream ||", "")
    assert await target_of(one) == "spare/m2"
    assert one.journal.of(Kind.CLOSED)[0].route == (Skipped("oai/m1", "condition failed"),)
