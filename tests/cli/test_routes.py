"""`ostiary routes`, run as a person would."""

import json

import pytest
from typer.testing import CliRunner

from ostiary.cli.main import app

CONFIG = """\
data_dir: ./data
providers:
  openai: {auth: {secret: "${env:KEY}"}}
  cohere: {auth: {secret: "${env:KEY}"}}
  local: {dialect: openai, base_url: "http://127.0.0.1:9/v1", auth: {scheme: none}, residency: private}
models:
  chat:
    strategy: cheapest
    targets:
      - {provider: openai, model: gpt-4o, context_window: 1000}
      - {provider: openai, model: gpt-4o-mini, capabilities: {images: false}}
      - {provider: local, model: tiny}
    fallbacks: [other]
  other: {targets: [{provider: local, model: spare}, {provider: cohere, model: command-r}]}
  shared: {targets: [{provider: openai, model: gpt-4o, weight: 3}, {provider: local, model: tiny}]}
  closed: {targets: [{provider: openai, model: gpt-4o}]}
  careful:
    targets: [{provider: local, model: tiny}]
    fallbacks: [{model: other, on: [schema, quality]}]
    degraded: {on: [error, quality], answers: [{handover: {}}, {text: "no"}]}
pricing:
  prices: [{provider: local, model: tiny, input: "100", output: "100"}]
tenants:
  - name: acme
    teams:
      - name: search
        models: [chat, other, shared, closed]
        keys: [{name: prod, secret: "a-key-of-more-than-24-characters", models: [chat]}]
"""


@pytest.fixture
def run(tmp_path):
    """Run a command; gives what it printed, decoded where it is JSON."""
    config = tmp_path / "ostiary.yaml"
    config.write_text(CONFIG)

    def run(*words, code=0):
        result = CliRunner().invoke(app, ["routes", "explain", *words, "--config", str(config)])
        assert result.exit_code == code, (result.output, result.exception)
        return json.loads(result.stdout) if "--json" in words else result.output

    run.folder = tmp_path
    return run


def kept(told):
    return [one["target"] for one in told["candidates"] if one["place"] is not None]


def left_out(told):
    return {one["target"]: one["reason"] for one in told["candidates"] if one["place"] is None}


def test_the_targets_stand_in_the_order_in_which_they_are_tried_each_with_its_reason(run):
    told = run("chat", "--input-tokens", "500", "--max-tokens", "500", "--json")
    assert kept(told) == ["openai/gpt-4o-mini", "openai/gpt-4o", "local/tiny", "local/spare"]
    assert told["strategy"] == "cheapest"
    assert told["health"] is None
    first, second, third, fourth, last = told["candidates"]
    assert "USD for 500 tokens in and 500 out" in first["why"]
    assert third["why"].startswith("0.100000000 USD")
    assert "upstream.timeout" in fourth["on"]
    assert (last["target"], last["reason"]) == ("cohere/command-r", "one target is enough")


def test_what_keeps_a_target_out_is_named(run):
    told = run("chat", "--input-tokens", "2000", "--need", "images", "--json")
    assert left_out(told) == {
        "openai/gpt-4o": "capability.context_window",
        "openai/gpt-4o-mini": "capability.images",
        "cohere/command-r": "one target is enough",
    }
    assert "The limit is 1000 tokens." in next(
        one["why"] for one in told["candidates"] if one["target"] == "openai/gpt-4o"
    )


def test_regulated_data_stays_private(run):
    told = run("shared", "--sensitivity", "regulated", "--json")
    assert kept(told) == ["local/tiny"]
    assert left_out(told) == {"openai/gpt-4o": "not private"}


def test_an_operation_that_a_provider_has_no_endpoint_for_is_told(run):
    told = run("other", "--operation", "moderation", "--json")
    assert left_out(told) == {"cohere/command-r": "operation"}


def test_a_body_says_itself_what_it_needs(run):
    body = run.folder / "body.json"
    image = {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}
    body.write_text(json.dumps({"model": "chat", "messages": [{"role": "user", "content": [image]}]}))
    assert "openai/gpt-4o-mini" in left_out(run("chat", "--body", str(body), "--json"))
    body.write_text("{")
    assert "JSON" in run("chat", "--body", str(body), code=2)


def test_a_table_says_what_is_not_known_offline(run):
    text = run("shared")
    assert "weight 3 of 4: first for 75.0% of calls" in text
    assert "health is not known offline" in text


def test_what_a_key_may_not_use_is_refused_by_its_reason(run):
    run("shared", "--team", "acme/search")
    assert "policy.model_not_allowed" in run("shared", "--team", "search", "--key", "prod", code=2)
    assert "no team `acme/nobody`" in run("shared", "--team", "acme/nobody", code=2)
    assert "no key `other`" in run("shared", "--team", "search", "--key", "other", code=2)


def test_a_fallback_that_the_key_may_not_use_is_no_candidate(run):
    told = run("chat", "--team", "search", "--key", "prod", "--json")
    assert "local/spare" not in {one["target"] for one in told["candidates"]}


def test_a_call_that_nothing_can_take_ends_with_one(run):
    told = run("closed", "--sensitivity", "regulated", "--json", code=1)
    assert left_out(told) == {"openai/gpt-4o": "not private"}
    assert "no model `nothing`" in run("nothing", code=2)


CONDITIONED = """\
providers:
  openai: {auth: {secret: "${env:KEY}"}}
  local: {dialect: openai, base_url: "http://127.0.0.1:9/v1", auth: {scheme: none}, residency: private}
models:
  chat:
    targets:
      - {provider: openai, model: a, when: 'CONDITION'}
      - {provider: local, model: b}
tenants: [{name: acme, teams: [{name: search, models: ["*"]}]}]
"""


def conditioned(folder, condition):
    (folder / "ostiary.yaml").write_text(CONDITIONED.replace("CONDITION", condition))


def test_a_condition_is_explained_with_the_caller_and_what_it_says(run):
    conditioned(run.folder, 'principal.team == "search" && request.metadata.kind == "batch"')
    told = run("chat", "--team", "search", "--metadata", "kind=batch", "--json")
    assert "openai/a" in kept(told)
    told = run("chat", "--team", "search", "--metadata", "kind=other", "--json")
    assert left_out(told) == {"openai/a": "condition"}
    told = run("chat", "--team", "search", "--json")
    assert left_out(told) == {"openai/a": "condition failed"}


def test_check_refuses_a_condition_with_its_line_and_warns_of_a_callers_word(run):
    def check(code=0):
        result = CliRunner().invoke(app, ["check", "--config", str(run.folder / "ostiary.yaml")])
        assert result.exit_code == code, result.output
        return result.output

    conditioned(run.folder, 'principal.taem == "search"')
    assert "ostiary.yaml:7: `principal` has no `taem`; did you mean `team`?" in " ".join(check(1).split()).replace(
        "models.chat.targets[0].when: ", ""
    )
    conditioned(run.folder, 'request.metadata.kind == "batch"')
    assert "`request.metadata.kind` is the caller's own word, and decides here who gets to see the data" in check()
    conditioned(run.folder, 'principal.team == "search"')
    assert "caller's own word" not in check()


REGIONS = """\
providers:
  zurich: {dialect: openai, base_url: "http://127.0.0.1:9/v1", auth: {scheme: none}, region: CH}
  paris: {dialect: openai, base_url: "http://127.0.0.1:9/v1", auth: {scheme: none}, region: fr}
  other: {dialect: openai, base_url: "http://127.0.0.1:9/v1", auth: {scheme: none}}
models:
  chat: {regions: [WHERE], targets: [{provider: zurich, model: a}, {provider: paris, model: a}, {provider: other, model: a}]}
tenants: [{name: acme, teams: [{name: search, models: ["*"], regions: [fr]}]}]
"""


def test_regions_are_explained_and_checked(run):
    file = run.folder / "ostiary.yaml"
    file.write_text(REGIONS.replace("WHERE", "ch"))
    told = run("chat", "--json")
    assert (kept(told), left_out(told)) == (["zurich/a"], {"paris/a": "region", "other/a": "region unknown"})
    assert left_out(run("chat", "--team", "search", "--json", code=1)).keys() == {"zurich/a", "paris/a", "other/a"}
    checked = CliRunner().invoke(app, ["check", "--config", str(file)])
    assert "where the provider other runs is not known" in checked.output
    file.write_text(REGIONS.replace("WHERE", "chh"))
    checked = CliRunner().invoke(app, ["check", "--config", str(file)])
    assert checked.exit_code == 1
    assert "no target is known to run there; did you mean `ch`?" in checked.output


def test_check_refuses_a_shadow_that_is_not_there_or_the_model_itself(run):
    file = run.folder / "ostiary.yaml"
    for name, told in (("spar", "no model `spar`; did you mean `spare`?"), ("chat", "a model is not its own shadow")):
        file.write_text(
            "providers: {local: {dialect: openai, base_url: 'http://127.0.0.1:9/v1', auth: {scheme: none}}}\n"
            "models:\n"
            f"  chat: {{targets: [{{provider: local, model: a}}], shadow: {{model: {name}, share: 0.5}}}}\n"
            "  spare: {targets: [{provider: local, model: b}]}\n"
        )
        checked = CliRunner().invoke(app, ["check", "--config", str(file)])
        assert checked.exit_code == 1
        assert told in checked.output


def test_what_answers_are_checked_for_and_what_stands_ready_is_told(run):
    told = run("careful", "--json")
    assert told["checks"] == ["schema", "quality"]
    assert told["instead"] == ["handover", "text"]
    assert "upstream.quality" in told["instead_on"]
    assert {one["target"]: one["on"] for one in told["candidates"]}["local/spare"] == [
        "upstream.schema",
        "upstream.quality",
    ]
    text = run("careful")
    assert "(after upstream.schema, upstream.quality)" in " ".join(text.split())
    assert "answers are checked for: schema, quality" in text
    assert text.rstrip().endswith(": handover, then text")
