"""`ostiary migrate` as a person runs it."""

import sqlite3

import pytest
from typer.testing import CliRunner

from ostiary.cli.main import app
from ostiary.store.postgresql.schema import steps
from ostiary.store.sqlite.database import migrations
from tests import postgresql

NEWEST = migrations()[-1].version
NEWEST_ON_SERVER = steps()[-1].migration.version


@pytest.fixture
def run(tmp_path):
    def run(url, *words, code=0):
        config = tmp_path / "ostiary.yaml"
        config.write_text(f"data_dir: ./data\nstorage: {{url: '{url}'}}\n")
        done = CliRunner().invoke(app, ["migrate", *words, "--config", str(config)])
        assert done.exit_code == code, (done.stdout, done.stderr)
        return done.stdout + done.stderr

    return run


@pytest.fixture
def schema():
    postgresql.need()
    name = postgresql.new_schema()
    yield name
    postgresql.drop_schema(name)


def test_a_file_is_planned_made_and_then_left_alone(run, tmp_path):
    file = tmp_path / "data" / "ostiary.db"
    planned = run("sqlite", "--dry-run")
    assert f"schema 0 to {NEWEST}" in planned
    assert "1 foundation" in planned
    assert not file.exists()
    assert f"done: {NEWEST} " in run("sqlite")
    assert file.exists()
    assert "nothing to do" in run("sqlite")


def test_an_older_file_is_shown_as_it_is_and_a_newer_one_refused(run, tmp_path):
    run("sqlite")
    file = tmp_path / "data" / "ostiary.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    for words in ((), ("--dry-run",)):
        assert "install the newer version again" in run("sqlite", *words, code=2)


def test_a_server_is_planned_migrated_and_then_left_alone(run, schema):
    url = postgresql.url(schema)
    for _ in range(2):
        planned = run(url, "--dry-run")
        assert f"schema 0 to {NEWEST_ON_SERVER}\n  1 foundation\n" in planned
    assert f"done: {NEWEST_ON_SERVER} " in run(url)
    assert f"schema {NEWEST_ON_SERVER}, nothing to do" in run(url)
    assert "nothing to do" in run(url, "--contract")


def test_a_server_that_is_not_there_is_told(run):
    assert "cannot be used" in run("postgresql://x:canary@127.0.0.1:1/x", code=2)
    assert "canary" not in run("postgresql://x:canary@127.0.0.1:1/x", code=2)
