"""Where answers may be kept and by what they are compared: checked when the file is read, with line and reason."""

import stat
from pathlib import Path

import pytest

from ostiary.bootstrap.answers import shared_answers
from ostiary.bootstrap.answers_url import answers_job, check_answers
from ostiary.bootstrap.compile import compile_file
from ostiary.bootstrap.job import AnswersJob
from ostiary.bootstrap.system import SystemClock, SystemRandom
from ostiary.core.error import OperatorError
from ostiary.settings import load
from ostiary.snapshot.tables import SemanticRow

CANARY = "hunter2-canary"
MODELS = """\
providers:
  local: {dialect: openai, base_url: 'http://127.0.0.1:9/v1', auth: {scheme: none}}
models:
  vectors: {targets: [{provider: local, model: v}]}
  chat:
    targets: [{provider: local, model: tiny}]
    prompt_cache: %s
    cache:
      ttl_seconds: 60
      tags: %s
      semantic:
        mode: %s
        embedder: %s
"""


def written(folder, text):
    file = folder / "ostiary.yaml"
    file.write_text(text)
    return load(file)


def declared(folder, lifetime="1h", tags="[a, b]", mode="serve", embedder="vectors"):
    return compile_file(written(folder, MODELS % (lifetime, tags, mode, embedder)), folder / "secrets")


def test_an_entry_says_how_its_answers_are_kept_and_compared(tmp_path):
    row = next(row for row in declared(tmp_path).models if row.name == "chat")
    assert row.cache.tags == ("a", "b")
    assert row.cache.semantic == SemanticRow(True, 0.95, "vectors")
    assert row.prompt_cache == "1h"
    row = next(row for row in declared(tmp_path, mode="shadow", embedder="builtin").models if row.name == "chat")
    assert row.cache.semantic == SemanticRow(False, 0.95, "builtin")


@pytest.mark.parametrize(
    ("fields", "line", "reason"),
    [
        ({"embedder": "vektors"}, 13, "did you mean `vectors`"),
        ({"embedder": "chat"}, 13, "does not embed"),
        ({"embedder": "zzz"}, 13, "`builtin` needs none"),
        ({"mode": "sometimes"}, 12, "known here: shadow, serve|known here: serve, shadow"),
        ({"tags": "['a b']"}, 10, "tags"),
        ({"tags": "[" + ", ".join(f"t{n}" for n in range(17)) + "]"}, 10, "length"),
        ({"lifetime": "2h"}, 7, "did you mean `1h`"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_with_its_line(tmp_path, fields, line, reason):
    with pytest.raises(OperatorError, match=reason) as caught:
        declared(tmp_path, **fields)
    assert f"ostiary.yaml:{line}:" in caught.value.message


def test_an_embedder_behind_a_pattern_is_one(tmp_path):
    text = (MODELS % ("5m", "[]", "serve", "local/embed")).replace("vectors:", '"local/*":')
    assert compile_file(written(tmp_path, text), tmp_path / "secrets").models


@pytest.mark.parametrize("url", ["http://h", "redis://", "unix://", "redis://h:port", "plain", "memory://x"])
def test_a_url_that_is_none_is_refused_and_never_shown(tmp_path, url):
    one = written(tmp_path, f'cache:\n  url: "{url.replace("//h", f"//:{CANARY}@h")}"\n')
    with pytest.raises(OperatorError, match="cache.url") as caught:
        check_answers(one)
    assert "ostiary.yaml:2" in caught.value.message
    assert CANARY not in caught.value.message


def test_a_password_reaches_workers_in_a_file_of_the_owners(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_PASSWORD", CANARY)
    one = written(tmp_path, 'cache: {url: "rediss://:${env:CACHE_PASSWORD}@h/1", prefix: mine}\n')
    job = answers_job(one, tmp_path)
    assert Path(job.url_file).read_text() == f"rediss://:{CANARY}@h/1"
    assert stat.S_IMODE(Path(job.url_file).stat().st_mode) == 0o600
    assert (job.prefix, CANARY in repr(job)) == ("mine", False)
    assert check_answers(one) == ()
    assert answers_job(written(tmp_path, "{log: {level: info}}\n"), tmp_path) is None


def test_plain_text_on_the_network_and_a_password_in_the_file_are_told(tmp_path):
    told = check_answers(written(tmp_path, f'cache: {{url: "redis://:{CANARY}@h:6379"}}\n'))
    assert len(told) == 2
    assert CANARY not in "".join(told)


def test_a_worker_without_such_a_place_has_none_and_one_that_cannot_use_it_says_so(tmp_path):
    given = {"clock": SystemClock(), "random": SystemRandom()}
    assert shared_answers(None, b"k" * 32, **given) is None
    with pytest.raises(OperatorError, match="shared answers"):
        shared_answers(AnswersJob(str(tmp_path / "nowhere"), "p"), b"k" * 32, **given)
