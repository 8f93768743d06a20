"""Usage to cost: each kind once, and never more than what was held."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.usage import Usage
from ostiary.gateway.meter import price
from ostiary.gateway.meter.price import ceiling_cost, charge, cost, covers, most, upper_bound
from ostiary.snapshot.tables import PriceRow, PricingRow, Rates, UnknownPrice

FIELDS = Usage.__struct_fields__
counts = st.integers(0, 10_000_000)
usages = st.builds(Usage, **dict.fromkeys(FIELDS, counts))
amounts = st.integers(0, 10**12)
optional = st.one_of(st.none(), amounts)
rates = st.builds(
    Rates, **{name: amounts if name in ("input", "output") else optional for name in Rates.__struct_fields__}
)
rows = st.builds(
    PriceRow,
    provider=st.just("p"),
    model=st.just("m"),
    rates=rates,
    tiers=st.lists(st.tuples(counts, rates), max_size=2).map(
        lambda tiers: tuple(sorted(tiers, key=lambda one: one[0]))
    ),
)


@st.composite
def within(draw, bound):
    """A usage that is nowhere greater. Parts of tokens may be any part of their whole."""
    most = msgspec.structs.asdict(bound)
    for name in FIELDS:
        if name.startswith(("cached", "cache_write", "input_")) and name != "input_tokens":
            most[name] = bound.input_tokens
        elif name.endswith("_tokens") and name not in ("input_tokens", "output_tokens"):
            most[name] = bound.output_tokens
    return Usage(**{name: draw(st.integers(0, most[name])) for name in FIELDS})


@given(st.data(), rows, usages)
def test_no_usage_within_a_bound_costs_more_than_the_bound(data, row, bound):
    usage = data.draw(within(bound))
    assert cost(row, usage).nano <= upper_bound(row, bound)


@given(st.data(), rates, usages)
def test_the_same_holds_for_the_ceiling(data, ceiling, bound):
    pricing = PricingRow(rows=(), unknown=UnknownPrice.CEILING, ceiling=ceiling, version="v")
    usage = data.draw(within(bound))
    assert ceiling_cost(pricing, usage).nano <= upper_bound(pricing, bound)


@pytest.mark.parametrize(
    ("rate", "usage", "nano"),
    [
        ({"image": 40_000_000}, Usage(images=3), 120_000_000),
        ({"request": 9}, Usage(), 9),
        ({"audio_minute": 6_000_000}, Usage(audio_milliseconds=90_000), 9_000_000),
        ({"audio_minute": 6_000_000}, Usage(audio_milliseconds=1), 100),
        ({"audio_minute": 1}, Usage(audio_milliseconds=1), 1),
        ({"character": 15_000_000_000}, Usage(characters=100), 1_500_000),
        ({"search_unit": 2_000_000}, Usage(search_units=2), 4_000_000),
        ({"input_image": 10_000_000}, Usage(input_tokens=10, input_image_tokens=4), 6 * 1 + 4 * 10),
        ({"input_audio": 10_000_000}, Usage(input_tokens=10, input_audio_tokens=4), 6 * 1 + 4 * 10),
        ({}, Usage(input_tokens=10, input_image_tokens=4), 10),
        ({}, Usage(images=1, audio_milliseconds=1, characters=1, search_units=1), 0),
        ({"request": 5, "image": 7}, Usage(input_tokens=3, output_tokens=1, images=1), 3 + 2 + 5 + 7),
    ],
)
def test_each_kind_is_charged_once(rate, usage, nano):
    row = PriceRow(provider="p", model="m", rates=Rates(input=1_000_000, output=2_000_000, **rate))
    assert cost(row, usage).nano == nano
    assert upper_bound(row, usage) >= nano


@given(rows, usages)
def test_what_costs_apart_costs_no_less_together(row, usage):
    alone = [Usage(**{name: getattr(usage, name)}) for name in ("images", "audio_milliseconds", "characters")]
    plain = PriceRow(provider="p", model="m", rates=msgspec.structs.replace(row.rates, request=None))
    apart = sum(cost(plain, one).nano for one in alone)
    together = cost(plain, alone[0] + alone[1] + alone[2]).nano
    assert apart - len(alone) < together <= apart


ZERO = Rates(input=0, output=0)
BY_TOKEN = Rates(input=1_000_000, output=2_000_000)
PRICING = PricingRow(
    rows=(),
    unknown=UnknownPrice.CEILING,
    ceiling=Rates(input=30_000_000, output=0, image=500, character=7),
    version="v",
)


@pytest.mark.parametrize(
    ("rates", "usage", "covered"),
    [
        (BY_TOKEN, Usage(1, 1), True),
        (BY_TOKEN, Usage(), True),
        (BY_TOKEN, Usage(images=1), False),
        (BY_TOKEN, Usage(1, 1, images=1), True),
        (BY_TOKEN, Usage(audio_milliseconds=5), False),
        (msgspec.structs.replace(BY_TOKEN, image=4), Usage(images=1), True),
        (msgspec.structs.replace(ZERO, audio_minute=4), Usage(audio_milliseconds=5), True),
        (msgspec.structs.replace(ZERO, audio_minute=4), Usage(5, 5), False),
        (msgspec.structs.replace(ZERO, request=4), Usage(characters=5), True),
        (ZERO, Usage(5, 5), True),
        (ZERO, Usage(images=5), True),
    ],
)
def test_a_list_covers_what_it_has_a_rate_for_or_gives_away(rates, usage, covered):
    assert covers(PriceRow(provider="p", model="m", rates=rates), usage) is covered


@given(rows, usages)
def test_nothing_is_charged_at_nothing_but_by_a_rate_of_nothing(row, usage):
    charged = charge(row, PRICING, usage)
    if not covers(row, usage):
        assert charged.estimated
        assert charged == ceiling_cost(PRICING, usage)
    else:
        assert charged == cost(row, usage)


@given(st.data(), rows, usages)
def test_a_hold_covers_what_is_charged_by_the_same_list(data, row, bound):
    usage = data.draw(within(bound))
    held = most(row, PRICING, bound)
    if covers(row, usage) and covers(row, bound):
        assert charge(row, PRICING, usage).nano <= held


def test_an_operator_may_refuse_what_a_list_does_not_cover():
    row = PriceRow(provider="p", model="m", rates=BY_TOKEN)
    strict = msgspec.structs.replace(PRICING, unknown=UnknownPrice.REFUSE)
    assert most(row, strict, Usage(images=1)) is None
    assert most(None, strict, Usage(1, 1)) is None
    assert most(None, strict, Usage()) == 0
    assert most(row, PRICING, Usage(images=2)) == 1_000


def test_the_output_of_an_answer_of_images_is_images_unless_it_says_otherwise():
    row = PriceRow(provider="p", model="m", rates=msgspec.structs.replace(BY_TOKEN, output_image=9_000_000))
    assert cost(row, Usage(0, 10)).nano == 20
    assert cost(row, Usage(0, 10, images=1)).nano == 90
    assert cost(row, Usage(0, 10, images=1, output_image_tokens=4)).nano == 4 * 9 + 6 * 2


only_tokens = st.builds(Rates, input=st.integers(0, 10**12), output=st.integers(0, 10**12))
priced = st.one_of(
    rows,
    st.builds(
        PriceRow,
        provider=st.just("p"),
        model=st.just("m"),
        rates=only_tokens,
        tiers=st.lists(st.tuples(counts, only_tokens), max_size=2).map(
            lambda tiers: tuple(sorted(tiers, key=lambda one: one[0]))
        ),
    ),
)
most_usages = st.one_of(
    usages, st.builds(Usage, st.integers(0, 9), counts), st.builds(Usage, counts, st.integers(0, 9))
)


@given(priced, st.sampled_from(UnknownPrice), most_usages)
def test_what_most_calls_cost_is_worked_out_shorter_and_comes_to_the_same(row, unknown, usage):
    pricing = PricingRow((), unknown, Rates(7, 11), "v")
    if covers(row, usage):
        held = upper_bound(row, usage)
        tier = [row.rates, *(rates for above, rates in row.tiers if usage.input_tokens > above)][-1]
        charged = price._nano(tier, usage)
        assert cost(row, usage).nano == charged
    else:
        held = None if unknown is UnknownPrice.REFUSE and usage != Usage() else upper_bound(pricing, usage)
        charged = ceiling_cost(pricing, usage).nano
    assert charge(row, pricing, usage).nano == charged
    price._dearest.clear()
    assert most(row, pricing, usage) == held
    assert most(row, pricing, usage) == held  # with the dearest rates known
