"""`ostiary models`, run as a person would."""

import json

import pytest
import typer
from typer.testing import CliRunner

from ostiary.cli import models
from ostiary.cli.check import check
from ostiary.core.event import Closed, Kind, Opened, Outcome
from ostiary.core.usage import Cost, Nano, Usage
from ostiary.gateway.audit import record
from ostiary.store.journal.disk import OsDisk
from ostiary.store.journal.opening import open_journal
from ostiary.testing.clock import FakeClock

app = typer.Typer()
app.add_typer(models.app, name="models")
app.command("check")(check)
CONFIG = """\
data_dir: ./data
providers:
  openai: {auth: {secret: "${env:KEY}"}}
  local: {dialect: openai, base_url: "http://127.0.0.1:9/v1", auth: {scheme: none}}
models:
  old: {targets: [{provider: openai, model: gpt-3.5-turbo}]}
  new: {targets: [{provider: openai, model: gpt-4o}, {provider: local, model: gpt-4o}]}
  all/*: {targets: [{provider: openai, model: "*"}]}
pricing:
  prices: [{provider: local, model: tiny, input: "2", output: "4", tiers: [{above: 100, input: "20", output: "40"}]}]
tenants: [{name: acme, teams: [{name: search, models: [old]}]}]
"""


@pytest.fixture
def run(tmp_path):
    """Run a command; gives what it printed, decoded where it is JSON."""
    config = tmp_path / "ostiary.yaml"
    config.write_text(CONFIG)

    def run(*words, code=0, on_file=True):
        named = ("--config", str(config)) if on_file else ()
        result = CliRunner().invoke(app, [*words, *named])
        assert result.exit_code == code, (result.output, result.exception)
        if "--json" in words:
            return json.loads(result.stdout)
        return result.output

    run.folder = tmp_path / "data"
    return run


def fill(folder, *usages, team="search"):
    opened = open_journal(folder / "journal", "r1", disk=OsDisk(), clock=FakeClock(), segment_bytes=1 << 16)
    clock = FakeClock()
    for number, usage in enumerate(usages):
        fields = {
            "request_id": f"req-{number}",
            "at_ns": clock.now_ns(),
            "tenant": "acme",
            "environment": "production",
            "key_id": "k",
            "team": team,
            "operation": "chat",
            "client_dialect": "openai",
            "original_model": "old",
        }
        receipt = opened.writer.append(Kind.OPENED, record.encode(Opened(**fields)))
        closed = Closed(
            **fields,
            opened=receipt.sequence,
            outcome=Outcome.SUCCEEDED,
            request_model="gpt-3.5-turbo",
            provider="openai",
            usage=usage,
            cost=Cost(Nano(1_000)),
        )
        opened.writer.append(Kind.CLOSED, record.encode(closed))
    opened.journal.close()


def test_models_are_listed_by_what_they_can(run):
    some = run(
        "models", "list", "--provider", "gemini", "--can", "thinking", "--modality", "video", "--json", on_file=False
    )
    assert some
    assert {row["provider"] for row in some} == {"google"}
    assert all(row["capabilities"]["thinking"] and row["capabilities"]["video"] for row in some)
    assert len(run("models", "list", "--json", on_file=False)) > 900
    long = run("models", "list", "--context", "1000000", "--json", on_file=False)
    assert long
    assert min(row["context_window"] for row in long) >= 1_000_000
    past = run("models", "list", "--retired", "--json", on_file=False)
    assert past
    assert all(row["retired"] for row in past)
    kinds = run("models", "list", "--kind", "embedding", "--not-retired", "--json", on_file=False)
    assert {row["kind"] for row in kinds} == {"embedding"}
    assert "openai/gpt-4o" in run("models", "list", "--provider", "openai", on_file=False)


def test_what_is_not_known_is_said_to_be_unknown(run):
    (row,) = [
        row
        for row in run("models", "list", "--provider", "openai", "--json", on_file=False)
        if row["model"] == "gpt-4o"
    ]
    assert row["capabilities"]["logprobs"] is None
    assert row["capabilities"]["audio"] is False
    assert "not known" in run("models", "explain", "openai/gpt-4o")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("list", "--can", "fly"), "structured_output"),
        (("list", "--modality", "tools"), "images"),
        (("list", "--provider", "nobody"), "openai"),
        (("compare", "openai/gpt-4o"), "two"),
    ],
)
def test_a_word_that_nobody_knows_is_answered_with_those_there_are(run, words, told):
    assert told in run("models", *words, code=2, on_file=False)


def test_a_model_is_explained_with_its_prices_and_who_uses_it(run):
    told = run("models", "explain", "openai/gpt-4o", "--json")
    assert told["used_by"] == ["new", "all/*"]
    assert told["rates"]["input"] == "2.50"
    assert {one["class"] for one in told["prices"]} >= {"standard"}
    text = run("models", "explain", "openai/gpt-4o")
    assert "new, all/*" in text
    tiered = run("models", "explain", "anthropic/claude-opus-4-6", "--json")["prices"]
    assert [one["valid_from"] for one in tiered if one["class"] == "standard"] == ["always", "2026-03-13"]
    assert "voyage" in run("models", "explain", "voyage/voyage-3.5")
    assert "several providers" in run("models", "explain", "gpt-4o", code=2)
    assert "no model" in run("models", "explain", "no-such-model", code=2)


def test_models_are_compared_side_by_side(run):
    one, two = run("models", "compare", "openai/gpt-4o", "gemini/gemini-2.5-flash", "--json", on_file=False)
    assert (one["context_window"], two["provider"]) == (128_000, "google")
    text = run("models", "compare", "openai/gpt-4o", "gemini/gemini-2.5-flash", on_file=False)
    assert "google/gemini-2.5-flash" in text
    assert "USD, input audio" in text


def test_recorded_calls_are_priced_as_another_model(run):
    fill(run.folder, Usage(1_000, 100), Usage(1_000, 100), Usage(images=1))
    since = ("--since", "1970-01-01", "--json")
    (line,) = run("models", "whatif", "openai/gpt-4o-mini", *since)
    assert (line["model"], line["calls"], line["was_nano"]) == ("old", 2, 2_000)
    assert line["would_be_nano"] == 2 * (1_000 * 150 + 100 * 600)
    assert line["difference_nano"] == line["would_be_nano"] - 2_000
    assert sum(line["left_out"].values()) == 1
    (line,) = run("models", "whatif", "openai/gpt-4o-mini", "--by", "team", *since)
    assert line["team"] == "search"
    (line,) = run("models", "whatif", "openai/gpt-4o-mini", "--by", "total", *since)
    assert line["calls"] == 2
    assert run("models", "whatif", "openai/gpt-4o-mini", "--tenant", "globex", *since) == []
    assert (
        run("models", "whatif", "openai/gpt-4o-mini", "--json", "--until", "1970-01-01", "--since", "1970-01-01") == []
    )
    text = run("models", "whatif", "openai/gpt-4o-mini", "--since", "1970-01-01")
    assert "+0.000418" in text


def test_the_operators_own_prices_go_first_in_tiers_and_from_a_file(run, tmp_path):
    fill(run.folder, Usage(100, 10), Usage(101, 10))
    since = ("--since", "1970-01-01", "--json")
    (line,) = run("models", "whatif", "local/tiny", *since)
    assert line["would_be_nano"] == (100 * 2_000 + 10 * 4_000) + (101 * 20_000 + 10 * 40_000)
    offer = tmp_path / "offer.yaml"
    offer.write_text('- {provider: local, model: tiny, input: "1", output: "1"}\n')
    (line,) = run("models", "whatif", "local/tiny", "--prices", str(offer), *since)
    assert line["would_be_nano"] == (100 + 10 + 101 + 10) * 1_000
    offer.write_text("- {provider: local}\n")
    assert "no list of prices" in run("models", "whatif", "local/tiny", "--prices", str(offer), code=2)
    assert "no standard price" in run("models", "whatif", "local/other", code=2)
    (batch,) = run("models", "whatif", "anthropic/claude-opus-4-5", "--class", "batch", *since)
    (whole,) = run("models", "whatif", "anthropic/claude-opus-4-5", *since)
    assert batch["would_be_nano"] * 2 == whole["would_be_nano"]


def test_a_configured_model_that_is_retired_is_warned_of(run):
    told = run("check", "--json")
    assert told["valid"]
    (warning,) = [text for text in told["warnings"] if "retired" in text]
    assert warning.startswith("models.old: openai/gpt-3.5-turbo was to be retired by its provider on ")
