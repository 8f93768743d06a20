"""Which database the configuration names, and what is told where it cannot be."""

import importlib
import subprocess
import sys

import pytest

from ostiary.bootstrap.compile import compile_file
from ostiary.bootstrap.replica import IDENTITY_FILE, claim
from ostiary.bootstrap.storage import handed_on, holds_password, open_storage, storage_url, unverified
from ostiary.bootstrap.system import SystemClock
from ostiary.core.error import Code, OperatorError
from ostiary.settings import load
from tests.contract.backends import CountingIds

CLOCK = SystemClock()


@pytest.fixture
def written(tmp_path):
    """What a file with this `storage.url` is loaded as."""

    def write(url):
        file = tmp_path / "ostiary.yaml"
        file.write_text(f'storage: {{url: "{url}"}}\n')
        return load(file)

    return write


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("sqlite", "sqlite"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("postgresql://u:${env:PW}@h/d", "postgresql://u:p%2Fw%40%24@h/d"),
        ("postgres://u:${file:pw}@h/d", "postgres://u:of%20a%20file@h/d"),
        ("${env:WHOLE}", "postgresql://a:b%20c@h/d"),
        ("${env:LITE}", "sqlite:///other.db"),
    ],
)
def test_references_in_the_url(written, tmp_path, monkeypatch, text, url):
    monkeypatch.setenv("PW", "p/w@$")
    monkeypatch.setenv("WHOLE", "postgresql://a:b%20c@h/d")
    monkeypatch.setenv("LITE", "sqlite:///other.db")
    (tmp_path / "pw").write_text("of a file\n")
    assert storage_url(written(text)) == url


@pytest.mark.parametrize("text", ["mysql://x/y", "postgresql:/x", "sqlite:/x", "postgresql://", "${pg}"])
def test_another_url_is_refused_with_its_line(written, text):
    with pytest.raises(OperatorError, match=r"ostiary\.yaml:1: storage\.url") as caught:
        written(text)
    assert caught.value.code is Code.CONFIG_INVALID


@pytest.mark.parametrize("value", ["", "mysql://canary@x/y", "canary"])
def test_a_reference_to_something_else_is_refused_without_showing_it(written, monkeypatch, value):
    monkeypatch.setenv("WHOLE", value)
    with pytest.raises(OperatorError, match=r"ostiary\.yaml:1: storage\.url") as caught:
        compile_file(written("${env:WHOLE}"), None)
    assert "canary" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("sqlite:///x", False),
        ("${env:X}", False),
        ("postgresql://u@h/d", False),
        ("postgresql://u:${env:PW}@h/d", False),
        ("postgresql://u:${env:PW}x@h/d", True),
        ("postgresql://u:pw@h/d", True),
        ("postgresql://h/d?password=pw", True),
        ("postgresql://[h", True),
    ],
)
def test_a_password_in_the_file_itself_is_seen(text, holds):
    assert holds_password(text) == holds


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("sqlite", ""),
        ("${env:X}", ""),
        ("postgresql://u@127.0.0.1/d", ""),
        ("postgresql://u:a@[::1]:5432/d", ""),
        ("postgresql:///d?host=x", ""),
        ("postgresql://u@db/d?sslmode=verify-full", ""),
        ("postgresql://u@db/d?x=1&sslmode=verify-ca", ""),
        ("postgresql://u@db/d?sslmode=require", "db"),
        ("postgresql://u@db:5432,localhost,other/d", "db, other"),
    ],
)
def test_a_server_elsewhere_that_is_not_verified_is_warned_of(written, text, hosts, monkeypatch):
    monkeypatch.setenv("X", "sqlite")
    assert unverified(text) == hosts
    warned = [one for one in compile_file(written(text), None).warnings if "not verified" in one]
    assert len(warned) == bool(hosts)


def test_what_other_processes_are_told_holds_no_password(written, tmp_path, monkeypatch):
    monkeypatch.setenv("PW", "canary")
    secrets = tmp_path / "data" / "secrets"
    assert handed_on(written("postgresql://u:${env:PW}@h/d"), secrets) == "postgresql://u:${env:PW}@h/d"
    assert handed_on(written("sqlite:///x.db"), secrets) == f"sqlite:///{tmp_path / 'x.db'}"
    assert handed_on(written("sqlite"), secrets) == f"sqlite:///{tmp_path / '.ostiary' / 'ostiary.db'}"
    assert not secrets.exists()
    told = handed_on(written("postgresql://u:canary@h/d"), secrets)
    assert "canary" not in told
    assert storage_url(written(told)) == "postgresql://u:canary@h/d"
    assert [path.stat().st_mode & 0o777 for path in secrets.iterdir()] == [0o600]


def test_without_the_driver_it_is_said_what_to_install(written, tmp_path, monkeypatch):
    real = importlib.import_module

    def missing(name):
        if name == "ostiary.bootstrap.postgresql":
            raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(OperatorError, match=r"pip install 'ostiary\[postgresql\]'") as caught:
        open_storage(written("postgresql://h/d"), tmp_path, CLOCK)
    assert caught.value.code is Code.CONFIG_INVALID


def test_without_postgresql_in_the_file_its_driver_is_not_imported(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from ostiary.bootstrap.offline import opened; from ostiary.settings import load; import ostiary.cli.main\n"
        "with opened(load(Path('ostiary.yaml'))): pass\n"
        "assert not [name for name in sys.modules if name.startswith('psycopg')]"
    )
    (tmp_path / "ostiary.yaml").write_text("storage: {url: sqlite}\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Facts(dict):
    recall = dict.get
    remember = dict.setdefault


def test_a_replicas_name_belongs_to_one_journal(tmp_path):
    facts, ids = Facts(), CountingIds()
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for root in (ours, theirs):
        claim(facts, root, ids)
        assert not root.exists(), "nothing is claimed, nothing is made"
    claim(facts, ours, ids, ["r0"])
    claim(facts, ours, ids, ["r0"])
    claim(facts, theirs, ids, ["r1"])
    assert (ours / IDENTITY_FILE).stat().st_mode & 0o777 == 0o600
    for root, name in ((theirs, "r0"), (ours, "r1")):
        with pytest.raises(OperatorError, match="OSTIARY_REPLICA"):
            claim(facts, root, ids, [name])
    # What stands in a journal belongs to it too, whoever opens it under whatever name.
    (theirs / "r0.0").mkdir()
    with pytest.raises(OperatorError, match="the replica r0 "):
        claim(facts, theirs, ids, ["r1"])
    # A journal that was lost and begun anew is another one.
    (ours / IDENTITY_FILE).unlink()
    with pytest.raises(OperatorError, match="lost its journal"):
        claim(facts, ours, ids, ["r0"])
