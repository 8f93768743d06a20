"""What must work in an incident while the configuration file is not valid: finding a key and taking it out of use."""

import json

import pytest
from typer.testing import CliRunner

from ostiary.bootstrap.emergency import remember_storage
from ostiary.cli.main import app

GOOD = """\
# where everything is
data_dir: ./data
providers:
  local: {dialect: openai, base_url: 'http://127.0.0.1:9/v1', auth: {scheme: none}}
models:
  chat:
    targets: [{provider: local, model: tiny}]
tenants:
  - name: acme
    teams:
      - {name: search, environment: staging, models: [chat]}
"""
BROKEN = {
    "an unknown key": GOOD + "modles: {}\n",
    "a value of another kind": GOOD.replace("models: [chat]", "models: chat"),
    "no YAML": GOOD + "models: [\n  chat: }\n",
    "a tab": GOOD + "server:\n\tport: 1\n",
    "cut off in the middle": GOOD[: GOOD.index("targets") + 12],
    "no text": GOOD.encode() + b"x: \xff\xfe\n",
    "a section twice": GOOD + "models: {}\n",
    "not a mapping": "- data_dir: ./data\n",
    "a broken line before": "tenants: }\n" + GOOD,
}


class House:
    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "ostiary.yaml"
        self.write(GOOD)

    def write(self, text):
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())

    def run(self, *words, code=0):
        result = CliRunner().invoke(app, [*words, "--config", str(self.file)])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    def key(self, name="app"):
        made = self.run("keys", "create", name, "--tenant", "acme", "--team", "search", "--json")
        return json.loads(made.stdout)

    def states(self):
        return {one["name"]: one["state"] for one in json.loads(self.run("keys", "list", "--json").stdout)}


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


@pytest.mark.parametrize("what", BROKEN)
def test_a_key_is_found_and_revoked_whatever_is_wrong_with_the_file_and_that_is_said(house, what):
    made = house.key()
    if what == "not a mapping":
        (house.folder / "data").rename(house.folder / ".ostiary")  # of such a file nothing is believed
    house.write(BROKEN[what])
    listed = house.run("keys", "list", "--json")
    assert [one["id"] for one in json.loads(listed.stdout)] == [made["id"]]
    done = house.run("keys", "revoke", made["id"])
    assert f"{house.file}" in done.stderr
    assert "the configuration file is not valid" in done.stderr
    assert "going on all the same" in done.stderr
    assert "revoked" in done.stdout
    assert house.states() == {"app": "revoked"}
    refused = house.run("keys", "create", "other", "--tenant", "acme", "--team", "search", code=2)
    assert "going on" not in refused.stderr


def test_with_a_valid_file_nothing_is_said(house):
    assert house.run("keys", "revoke", house.key()["id"]).stderr == ""


def test_teams_and_tenants_of_the_database_are_disabled_too(house):
    house.run("tenants", "create", "globex")
    house.run("teams", "create", "ads", "--tenant", "globex", "--environment", "sandbox", "--model", "chat")
    house.write(BROKEN["no YAML"])
    assert "disabled" in house.run("teams", "disable", "ads", "--tenant", "globex").stdout
    assert "disabled" in house.run("tenants", "disable", "globex").stdout


def test_the_database_is_the_files_where_that_is_sound_and_else_that_of_the_last_start(house):
    elsewhere = GOOD.replace("data_dir: ./data\n", "data_dir: ./data\nstorage:\n  url: sqlite:///rows/mine.db\n")
    house.write(elsewhere)
    made = house.key()
    house.write(elsewhere + "x: [\n")
    assert "`storage` of the file" in house.run("keys", "list", "--json").stderr
    remember_storage(house.folder / "data" / "secrets", f"sqlite:///{house.folder}/rows/mine.db")
    for url in ("sqlitte:///rows/mine.db", "[", "{url: x"):
        house.write(elsewhere.replace("sqlite:///rows/mine.db", url))
        listed = house.run("keys", "list", "--json")
        assert "the database of the last start" in listed.stderr
        assert [one["id"] for one in json.loads(listed.stdout)] == [made["id"]]
    house.write(elsewhere.replace("  url: sqlite:///rows/mine.db\n", "")[:40] + "\nx: [")
    assert "the database of the last start" in house.run("keys", "revoke", made["id"]).stderr


def test_nothing_is_made_where_no_installation_is(house):
    house.write(BROKEN["no YAML"])
    refused = house.run("keys", "revoke", "x", code=2)
    assert "which database" in refused.stderr.lower()
    assert "--config" in refused.stderr
    house.write(
        GOOD.replace("data_dir: ./data\n", "data_dir: ./data\nstorage: {url: 'sqlite:///rows.db'}\n") + "x: [\n"
    )
    assert "There is no installation" in house.run("keys", "revoke", "x", code=2).stderr
    assert sorted(one.name for one in house.folder.iterdir()) == ["ostiary.yaml"]


def test_a_database_that_is_gone_is_not_made_anew(house):
    house.key()
    house.write(BROKEN["no YAML"].replace("data_dir: ./data\n", "data_dir: ./data\nstorage: {url: sqlite}\n"))
    (house.folder / "data" / "ostiary.db").unlink()
    assert "There is no database" in house.run("keys", "list", code=2).stderr
    assert not (house.folder / "data" / "ostiary.db").exists()
