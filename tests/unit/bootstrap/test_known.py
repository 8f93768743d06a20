"""What the file says of models goes before what is shipped, and what neither says stays unknown."""

import datetime as dt

import pytest

from ostiary.bootstrap.compile import compile_file
from ostiary.core.capability import Capability
from ostiary.core.error import OperatorError
from ostiary.settings import load
from ostiary.snapshot.tables import TraitsRow

PROVIDERS = """\
providers:
  openai: {auth: {secret: "${env:KEY}"}}
  onsite: {dialect: openai, base_url: "http://127.0.0.1:9/v1", auth: {scheme: none}}
"""


@pytest.fixture
def declared(tmp_path):
    def compiled(text):
        file = tmp_path / "ostiary.yaml"
        file.write_text(PROVIDERS + text)
        return compile_file(load(file), tmp_path / "secrets")

    return compiled


def traits(declared, text):
    (model,) = declared(text).models
    return [one.traits for one in model.targets]


def test_what_is_shipped_holds_where_the_file_says_nothing(declared):
    shipped, unknown = traits(
        declared,
        "models: {m: {targets: [{provider: openai, model: gpt-4o-mini}, {provider: onsite, model: gpt-4o-mini}]}}\n",
    )
    assert Capability.IMAGES in shipped.can
    assert Capability.AUDIO in shipped.cannot
    assert (shipped.context_window, shipped.max_output_tokens) == (128_000, 16_384)
    assert unknown is None


def test_a_target_goes_before_its_entry_and_both_before_what_is_shipped(declared):
    first, second = traits(
        declared,
        "models:\n  m:\n    capabilities: {images: false, audio: true}\n    context_window: 7\n    targets:\n"
        "      - {provider: openai, model: gpt-4o-mini, capabilities: {images: true}, max_output_tokens: 9}\n"
        "      - {provider: onsite, model: tiny}\n",
    )
    assert {Capability.IMAGES, Capability.AUDIO, Capability.TOOLS} <= set(first.can)
    assert not {Capability.IMAGES, Capability.AUDIO} & set(first.cannot)
    assert (first.context_window, first.max_output_tokens) == (7, 9)
    assert second == TraitsRow((Capability.AUDIO,), (Capability.IMAGES,), 7)


def test_models_behind_a_wildcard_are_known_too(declared):
    found = declared('models: {"any/*": {targets: [{provider: openai, model: "*"}]}}\n')
    rows = {row.model: row for row in found.known_models}
    assert rows["gpt-4o-mini"].provider == "openai"
    assert rows["gpt-4o-mini"].traits.context_window == 128_000
    assert declared("models: {m: {targets: [{provider: openai, model: gpt-4o}]}}\n").known_models == ()


def test_a_capability_that_nobody_knows_is_refused_with_its_line(declared):
    with pytest.raises(OperatorError, match="fly"):
        declared("models: {m: {capabilities: {fly: true}, targets: [{provider: openai, model: gpt-4o}]}}\n")


def test_prices_of_the_file_have_tiers_in_order_and_a_day(declared):
    found = declared(
        'pricing: {prices: [{provider: onsite, model: tiny, input: "1", output: "2", output_image: "3", '
        'valid_from: "2026-02-01", tiers: [{above: 20, input: "5", output: "6"}, {above: 10, input: "3", output: "4"}]}]}\n'
    )
    (row,) = [row for row in found.pricing.rows if row.provider == "onsite"]
    assert [(above, rates.input) for above, rates in row.tiers] == [(10, 3_000_000_000), (20, 5_000_000_000)]
    assert row.rates.output_image == 3_000_000_000
    assert row.valid_from == int(dt.datetime(2026, 2, 1, tzinfo=dt.UTC).timestamp())
