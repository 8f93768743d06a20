"""The shipped prices: whatever a list names has its price, by every name under which it is asked for."""

import msgspec
import pytest

from ostiary.control.catalogue import catalogue, price_lists, price_rows
from ostiary.control.models import prices_of
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import Match, PriceRow, Rates
from tests.exchange.harness import snapshot


def index_of(*rows):
    told = snapshot()
    return Index(msgspec.structs.replace(told, pricing=msgspec.structs.replace(told.pricing, rows=rows)))


@pytest.mark.parametrize(
    ("price_list", "name"),
    [
        ("google", "gemini-2.5-pro"),
        ("google", "gemini-2.5-pro-preview-05-06"),
        ("google", "gemini-2.5-flash"),
        ("google", "gemini-2.0-flash"),
        ("google", "gemini-2.0-flash-001"),
        ("openai", "gpt-4o-mini-2024-07-18"),
        ("openai", "gpt-6-luna-2026-03-04"),
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("anthropic", "claude-opus-5-20260105"),
        ("x-ai", "grok-4.5-20260105"),
    ],
)
def test_models_are_priced_by_the_names_they_are_asked_for(price_list, name):
    found = prices_of(price_list, name)
    assert found
    assert all(row.rates.input and row.rates.output for row in found)
    (at_calls, *_) = index_of(*price_rows(price_list))._matching(price_list, name)
    assert at_calls.rates in [row.rates for row in found]


def test_every_exact_name_of_every_list_is_priced():
    for price_list in price_lists():
        for row in price_rows(price_list):
            assert row.match is not Match.EQUALS or prices_of(price_list, row.model)
    assert {row.prices or name for name, row in catalogue().items() if row.prices} <= set(price_lists())


def test_a_release_has_its_own_price_before_that_of_its_model_and_that_before_a_family():
    def row(model, price, match=Match.EQUALS):
        return PriceRow("l", model, Rates(input=price, output=price), match)

    rows = (row("m-2", 2), row("m-2-2026-01-05", 3), row("m-", 1, Match.PREFIX), row("m-2-2026-02", 4, Match.PREFIX))
    index = index_of(*rows)
    asked = ("m-2", "m-2-2026-01-05", "m-2-2026-02-07", "m-2-2026-03-01", "m-2-20260301", "m-2@20260301", "m-3", "n")
    found = [index._matching("l", name) for name in asked]
    assert [one[0].rates.input if one else None for one in found] == [2, 3, 4, 2, 2, 2, 1, None]
