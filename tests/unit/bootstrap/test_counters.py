"""Where counters may be kept, what an operator is told of it, and that nobody is told a password."""

import importlib
import stat
from pathlib import Path

import pytest

from ostiary.bootstrap.counters import check_extra, shared_counters, shared_url, warnings_of
from ostiary.core.error import OperatorError
from ostiary.settings import load

CANARY = "hunter2-canary"


def loaded(folder, url):
    file = folder / "ostiary.yaml"
    file.write_text(f'data_dir: ./data\ncounters: {{url: "{url}"}}\n')
    return load(file)


@pytest.mark.parametrize("url", ["redis://counters:6379/2", "rediss://counters", "unix:///run/redis.sock"])
def test_urls_of_servers_are_taken_as_they_stand(tmp_path, url):
    assert shared_url(loaded(tmp_path, url)) == url


def test_counters_in_memory_are_shared_with_nobody(tmp_path):
    one = loaded(tmp_path, "memory://")
    assert shared_url(one) == ""
    assert shared_counters(one, tmp_path) is None
    assert warnings_of(one) == ()


@pytest.mark.parametrize(
    "url", ["http://h", "redis://", "unix://", "redis://h:port", "redis://h:99999", "plain", "memory://x"]
)
def test_anything_else_is_refused_with_its_line_and_never_shown(tmp_path, url):
    one = loaded(tmp_path, url.replace("//h", f"//:{CANARY}@h"))
    with pytest.raises(OperatorError) as caught:
        shared_url(one)
    assert "ostiary.yaml:2" in caught.value.message
    assert CANARY not in caught.value.message


def test_a_password_comes_from_a_reference_and_reaches_workers_in_a_file_of_the_owners(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTERS_PASSWORD", CANARY)
    one = loaded(tmp_path, "rediss://:${env:COUNTERS_PASSWORD}@counters/0")
    job = shared_counters(one, tmp_path)
    file = Path(job.url_file)
    assert file.read_text() == f"rediss://:{CANARY}@counters/0"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert CANARY not in repr(job)
    assert warnings_of(one) == ()
    assert shared_counters(one, tmp_path) == job, "whose journals these are does not change"


def test_an_operator_is_warned_of_plain_text_on_the_network_and_of_a_password_in_the_file(tmp_path):
    told = warnings_of(loaded(tmp_path, f"redis://:{CANARY}@counters:6379"))
    assert len(told) == 2
    assert "without TLS" in told[0]
    assert CANARY not in str(told)
    assert warnings_of(loaded(tmp_path, "redis://127.0.0.1:6379")) == ()


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(OperatorError, match=r"pip install 'ostiary\[redis\]'"):
        check_extra(loaded(tmp_path, "redis://counters"))
    check_extra(loaded(tmp_path, "memory://"))
