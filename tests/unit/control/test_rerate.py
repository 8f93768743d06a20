"""What calls would have cost elsewhere: exact, and silent about nothing."""

from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from ostiary.control.rerate import Why, rerate
from ostiary.core.usage import Usage
from ostiary.govern.usage.model import Consumed
from ostiary.snapshot.tables import PriceRow, Rates


def consumed(**fields):
    given = {
        "group": ("search",),
        "day": "2026-01-02",
        "operation": "chat",
        "provider": "oai",
        "served": "gpt",
        "usage": Usage(10, 5),
        "calls": 1,
        "cost_nano": 100,
        "currency": "USD",
        **fields,
    }
    return Consumed(**given)


def price(**fields):
    return PriceRow(provider="p", model="m", rates=Rates(**{"input": 3_000_000, "output": 7_000_000, **fields}))


tokens = st.integers(0, 10**7)
rows = st.lists(
    st.builds(
        consumed,
        group=st.tuples(st.sampled_from(["search", "ads"])),
        usage=st.builds(Usage, input_tokens=tokens, output_tokens=tokens),
        calls=st.integers(1, 1000),
        cost_nano=st.integers(0, 10**12),
    ),
    max_size=20,
)


@given(rows, st.integers(1, 10**12), st.integers(1, 10**12), st.integers(1, 10**12), tokens)
def test_every_call_is_priced_alone_and_rounded_up_once(rows, base, output, above_rate, above):
    row = PriceRow(
        provider="p",
        model="m",
        rates=Rates(input=base, output=output),
        tiers=((above, Rates(input=above_rate, output=output)),),
    )
    total = sum(line.would_be_nano for line in rerate(rows, lambda _: row))
    rate = {False: base, True: above_rate}
    assert total == sum(
        one.calls
        * ceil(
            Fraction(
                one.usage.input_tokens * rate[one.usage.input_tokens > above] + one.usage.output_tokens * output, 10**6
            )
        )
        for one in rows
    )


@given(rows)
def test_no_call_is_lost_or_counted_twice(rows):
    lines = rerate(rows, lambda _: price())
    assert sum(line.calls + sum(line.left_out.values()) for line in lines) == sum(one.calls for one in rows)
    assert sum(line.was_nano for line in lines) == sum(one.cost_nano for one in rows)
    assert [line.group for line in lines] == sorted({one.group for one in rows})


def test_the_price_of_the_day_holds():
    by_day = {"2026-01-01": price(), "2026-01-02": price(input=6_000_000)}
    rows = [consumed(day=day, usage=Usage(10, 0)) for day in ("2026-01-01", "2026-01-02")]
    (line,) = rerate(rows, by_day.get)
    assert line.would_be_nano == 30 + 60


def test_what_cannot_be_priced_is_on_neither_side_and_says_why():
    rows = [
        consumed(calls=2),
        consumed(calls=3, day="1999-01-01"),
        consumed(calls=5, usage=Usage(images=2)),
        consumed(calls=7, operation="embeddings"),
        consumed(calls=11, currency="EUR"),
    ]
    (line,) = rerate(rows, {"2026-01-02": price()}.get, kind="chat")
    assert (line.calls, line.was_nano, line.would_be_nano) == (2, 100, 2 * 65)
    assert line.left_out == {Why.NO_PRICE: 3, Why.NOT_SOLD: 5, Why.OTHER_KIND: 7, Why.CURRENCY: 11}


def test_images_sound_and_requests_are_priced_where_the_list_sells_them():
    sold = price(image=40, request=9, audio_minute=60_000)
    rows = [
        consumed(usage=Usage(images=3), calls=2),
        consumed(usage=Usage(audio_milliseconds=1_500)),
    ]
    (line,) = rerate(rows, lambda _: sold)
    assert line.would_be_nano == 2 * (3 * 40 + 9) + (1_500 + 9)


def test_what_the_figures_do_not_know_is_counted():
    rows = [
        consumed(calls=2, estimated=True),
        consumed(calls=3, whole=False),
        consumed(calls=5, usage=Usage(1_001, 1)),
        consumed(calls=7, usage=Usage(10, 1, cached_tokens=4)),
    ]
    (line,) = rerate(rows, lambda _: price(), context_window=1_000)
    assert (line.estimated, line.partial, line.too_long, line.cached_tokens) == (2, 3, 5, 28)
