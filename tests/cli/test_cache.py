"""`ostiary cache`, run as a person would."""

import json

import pytest
from typer.testing import CliRunner

from ostiary.cli.main import app

FILE = """\
data_dir: ./data
providers:
  local: {dialect: openai, base_url: 'http://127.0.0.1:9/v1', auth: {scheme: none}}
models:
  chat: {targets: [{provider: local, model: tiny}], cache: {ttl_seconds: 60}}
"""


@pytest.fixture
def run(tmp_path):
    config = tmp_path / "ostiary.yaml"
    config.write_text(FILE)

    def run(*words, code=0):
        result = CliRunner().invoke(app, ["cache", *words, "--config", str(config)])
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    return run


@pytest.mark.parametrize(
    ("words", "tenant", "tag", "told"),
    [
        (("--model", "chat"), "", "model:chat", "model:chat of every tenant"),
        (("--tag", "docs", "--tenant", "acme"), "acme", "tag:docs", "tag:docs of tenant acme"),
        (("--team", "search", "--tenant", "acme"), "acme", "team:search", "team:search of tenant acme"),
        (("--tenant", "acme"), "acme", "", "everything of tenant acme"),
    ],
)
def test_a_purge_is_told_and_listed(run, words, tenant, tag, told):
    assert run("purge", *words) == f"purged: {told}\n"
    (listed,) = json.loads(run("purges", "--json"))
    assert (listed["tenant"], listed["tag"], listed["number"]) == (tenant, tag, 1)
    assert told in run("purges")
    assert json.loads(run("purge", *words, "--json"))["number"] == 2


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--model", "a", "--tag", "b"),
        ("--team", "search"),
        ("--tag", "a b"),
        ("--tag", ""),
        ("--model", ""),
        ("--model", "x" * 300),
        ("--tenant", ""),
    ],
    ids=str,
)
def test_what_names_nothing_or_too_much_is_refused(run, words):
    run("purge", *words, code=2)
    assert json.loads(run("purges", "--json")) == []
