"""The commands on keys, teams, tenants, usage and the journal, run as a person would, on a folder of their own."""

import csv
import io
import json

import pytest
import typer
from typer.testing import CliRunner

from ostiary.cli import audit, keys, teams, tenants, usage
from ostiary.cli.output import duration, money, neutral, when
from ostiary.core.credential import has_our_form
from ostiary.core.error import CallerError
from ostiary.core.event import Closed, Kind, Opened, Outcome, Timings
from ostiary.core.usage import Cost, Nano, Usage
from ostiary.gateway.audit import record
from ostiary.store.journal.disk import OsDisk
from ostiary.store.journal.opening import open_journal
from ostiary.testing.clock import FakeClock

app = typer.Typer()
for name, group in (("keys", keys), ("teams", teams), ("tenants", tenants), ("usage", usage), ("audit", audit)):
    app.add_typer(group.app, name=name)


@pytest.fixture
def run(tmp_path):
    """Run a command on the installation of this test; gives its result."""
    config = tmp_path / "ostiary.yaml"
    config.write_text(
        "data_dir: ./data\n"
        "providers:\n  local: {dialect: openai, base_url: 'http://127.0.0.1:9/v1', auth: {scheme: none}}\n"
        "models:\n  chat:\n    targets: [{provider: local, model: tiny}]\n"
        "tenants:\n  - name: acme\n    teams:\n"
        "      - {name: search, environment: staging, models: [chat], keys: "
        "[{name: fixed, secret: 'a-supplied-key-of-some-length'}]}\n"
    )

    def run(*words, code=0):
        result = CliRunner().invoke(app, [*words, "--config", str(config)])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    run.folder = tmp_path / "data"
    return run


def fill(folder, calls=3, tenant="acme", model="chat", outcome=Outcome.SUCCEEDED, *, project=""):
    opened = open_journal(folder / "journal", "r1", disk=OsDisk(), clock=FakeClock(), segment_bytes=1 << 16)
    clock = FakeClock()
    for number in range(calls):
        fields = {
            "request_id": f"req-{number}",
            "at_ns": clock.now_ns(),
            "tenant": tenant,
            "team": "search",
            "environment": "staging",
            "key_id": "k",
            "operation": "chat",
            "client_dialect": "openai",
            "original_model": model,
            "project": project,
        }
        receipt = opened.writer.append(Kind.OPENED, record.encode(Opened(**fields)))
        closed = Closed(
            **fields,
            opened=receipt.sequence,
            outcome=outcome,
            request_model="tiny",
            provider="local",
            usage=Usage(10, 5, reasoning_tokens=2),
            cost=Cost(Nano(1_500_000)),
            timings=Timings(total_ms=100.0 * (number + 1)),
        )
        opened.writer.append(Kind.CLOSED, record.encode(closed))
    opened.journal.close()
    return opened.origin


def test_a_key_from_its_creation_to_its_end(run):
    minted = run("keys", "create", "app", "--tenant", "acme", "--team", "search", "--expires", "90d")
    secret = minted.stdout.strip()
    assert has_our_form(secret)
    (listed,) = json.loads(run("keys", "list", "--json").stdout)
    assert (listed["name"], listed["environment"], listed["state"]) == ("app", "staging", "active")
    assert secret not in json.dumps(listed)
    rotated = json.loads(run("keys", "rotate", listed["id"], "--overlap", "1h", "--json").stdout)
    assert rotated["id"] == listed["id"]
    assert has_our_form(rotated["secret"])
    assert rotated["secret"] != secret
    run("keys", "revoke", rotated["secret"][:16])
    (listed,) = json.loads(run("keys", "list", "--json").stdout)
    assert listed["state"] == "revoked"
    database = (run.folder / "ostiary.db").read_bytes()
    for text in (secret, rotated["secret"]):
        assert text.encode() not in database
        assert text[17:].encode() not in database


def test_a_key_that_cannot_be_made_says_why(run):
    for words, reason in (
        (("--tenant", "acme", "--team", "nobody"), "no team"),
        (("--tenant", "acme", "--team", "search", "--model", "other"), "may not use"),
        (("--tenant", "acme", "--team", "search", "--expires", "soon"), "duration"),
    ):
        assert reason in run("keys", "create", "app", *words, code=2).stderr
    of_file = run("keys", "create", "fixed", "--tenant", "acme", "--team", "search", code=2)
    assert "ostiary.yaml" in of_file.stderr
    unknown = run("keys", "revoke", "osk_something_secret", code=2)
    assert "osk_something" not in unknown.stderr


def test_teams_and_tenants(run):
    run("tenants", "create", "globex")
    run("teams", "create", "ads", "--tenant", "globex", "--model", "chat", "--environment", "sandbox")
    run("teams", "models", "ads", "--tenant", "globex", "--model", "*")
    listed = json.loads(run("teams", "list", "--json").stdout)
    assert [(one["tenant"], one["name"], one["managed_by"]) for one in listed] == [
        ("acme", "search", "file"),
        ("globex", "ads", "api"),
    ]
    assert listed[1]["models"] == ["*"]
    for words in (("teams", "disable", "search", "--tenant", "acme"), ("tenants", "disable", "acme")):
        assert "ostiary.yaml" in run(*words, code=2).stderr
    run("teams", "disable", "ads", "--tenant", "globex")
    run("keys", "create", "x", "--tenant", "globex", "--team", "ads", code=2)
    run("tenants", "disable", "globex")
    assert "globex" in run("tenants", "list").stdout
    run("teams", "create", "x", "--tenant", "globex", "--model", "chat", "--environment", "moon", code=2)


def test_usage_is_reported_up_to_the_last_record(run):
    fill(run.folder)
    (line,) = json.loads(run("usage", "--json").stdout)
    assert (line["team"], line["model"]) == ("search", "chat")
    assert (line["requests"], line["input_tokens"], line["output_tokens"], line["reasoning_tokens"]) == (3, 30, 15, 6)
    assert line["cost"] == {"USD": "0.0045"}
    assert (line["p50_ms"], line["p95_ms"]) == (200.0, 300.0)
    fill(run.folder, calls=1, outcome=Outcome.FAILED)
    (line,) = json.loads(run("usage", "--json", "--by", "day,key,served").stdout)
    assert (line["requests"], line["errors"]) == (4, 1)
    assert "search" in run("usage").stdout
    assert json.loads(run("usage", "--json", "--until", "1999-01-01").stdout) == []
    assert json.loads(run("usage", "--json", "--tenant", "globex").stdout) == []
    run("usage", "--by", "weather", code=2)
    run("usage", "--json", "--csv", code=2)


def test_usage_is_reported_by_project(run):
    fill(run.folder, calls=2, project="alpha")
    fill(run.folder, calls=1)
    lines = json.loads(run("usage", "--json", "--by", "project,team").stdout)
    assert [(line["project"], line["team"], line["requests"]) for line in lines] == [
        ("", "search", 1),
        ("alpha", "search", 2),
    ]
    rows = list(csv.DictReader(io.StringIO(run("usage", "--csv", "--by", "project").stdout)))
    assert [(row["project"], row["requests"], row["cost"]) for row in rows] == [
        ("", "1", "0.0015 USD"),
        ("alpha", "2", "0.003 USD"),
    ]
    table = run("usage", "--by", "project,feature,end_user").stdout
    assert "end_user" in table
    assert "alpha" in table


def test_csv_cells_are_no_formulas(run):
    fill(run.folder, model="=HYPERLINK(1)")
    rows = list(csv.DictReader(io.StringIO(run("usage", "--csv").stdout)))
    assert [row["model"] for row in rows] == ["'=HYPERLINK(1)"]
    assert rows[0]["cost"] == "0.0045 USD"
    for text in ("=1", "+1", "-1", "@x", "\tx", "\rx"):
        assert neutral(text) == f"'{text}"
    assert neutral("plain=1") == "plain=1"


def test_the_journal_is_verified_and_compared(run, tmp_path):
    origin = fill(run.folder)
    kept = tmp_path / "kept.json"
    assert "holds" in run("audit", "verify").stdout
    run("audit", "checkpoint", "--out", str(kept))
    fill(run.folder, calls=1)
    run("audit", "verify", "--checkpoint", str(kept))
    shown = [json.loads(line) for line in run("audit", "show", "--kind", "closed").stdout.splitlines()]
    assert [one["record"]["request_id"] for one in shown] == ["req-0", "req-1", "req-2", "req-0"]
    segment = run.folder / "journal" / origin / "00000000.seg"
    data = bytearray(segment.read_bytes())
    data[600] ^= 1
    segment.write_bytes(data)
    result = run("audit", "verify", code=1)
    assert "00000000.seg, byte" in result.stdout
    reports = json.loads(run("audit", "verify", "--json", code=1).stdout)
    assert reports[0]["problems"]
    run("audit", "checkpoint", "--out", str(kept), code=2)
    run("audit", "set-aside", origin)
    assert fill(run.folder, calls=1) == "r1.1"
    run("audit", "verify", code=1)
    run("audit", "set-aside", "nothing.0", code=2)
    run("audit", "verify", "--checkpoint", str(tmp_path / "absent"), code=2)
    run("audit", "show", "--kind", "poem", code=2)


def test_a_pepper_that_is_not_the_databases_refuses(run):
    run("keys", "list")
    pepper = run.folder / "pepper.key"
    good = pepper.read_bytes()
    assert pepper.stat().st_mode & 0o777 == 0o600
    pepper.write_bytes(bytes(32))
    assert "not the one" in run("keys", "list", code=2).stderr
    pepper.write_bytes(b"short")
    assert "32 bytes" in run("keys", "list", code=2).stderr
    pepper.unlink()
    assert "missing" in run("keys", "list", code=2).stderr
    assert not pepper.exists()
    pepper.write_bytes(good)
    run("keys", "list")


def test_words_for_people():
    assert [money(nano) for nano in (0, 1, 10**9, 1_234_500_000, 999)] == [
        "0.00",
        "0.000000001",
        "1.00",
        "1.2345",
        "0.000000999",
    ]
    assert [duration(text) for text in ("45s", "30m", "12h", "90d")] == [45, 1_800, 43_200, 7_776_000]
    assert when(0) == "-"
    assert when(1_800_000_000_000_000_000) == "2027-01-15 08:00:00Z"
    for text in ("", "90", "d", "1w", "-1d", "1.5h"):
        with pytest.raises(CallerError):
            duration(text)
