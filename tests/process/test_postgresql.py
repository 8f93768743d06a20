"""The running system on PostgreSQL: from the first start to a report, through a server that is gone, as replicas."""

import json
import os
import shutil
import signal

import pytest

from ostiary.core.limit import USAGE_PARTITIONS_AHEAD_COUNT
from ostiary.store.postgresql.schema import steps
from tests import postgresql
from tests.process.house import APP_KEY, House, until

CANARY = "pg-p/ssw:rd@canary"


@pytest.fixture
def schema():
    postgresql.need()
    name = postgresql.new_schema()
    yield name
    postgresql.drop_schema(name)


@pytest.fixture
def proxy():
    postgresql.need()
    made = postgresql.Proxy()
    yield made
    made.close()


def installation(folder, provider, url, **options):
    folder.mkdir(exist_ok=True)
    environment = {"DB": url, **options.pop("environment", {})}
    house = House(folder, provider.port, top='storage: {url: "${env:DB}"}', environment=environment, **options)
    house.environment["OSTIARY_REPLICA"] = environment.get("OSTIARY_REPLICA", "r0")
    return house


def create(house, name):
    return json.loads(house.command("keys", "create", name, "--tenant", "acme", "--team", "search", "--json"))


def usage(house):
    return sum(line["requests"] for line in json.loads(house.command("usage", "--by", "team", "--json")))


def partitions(schema):
    with postgresql.admin() as connection:
        named = (
            "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relispartition AND relkind = 'r'"
        )
        return connection.execute(named, (schema,)).fetchall()


def admin_ready(house):
    return house.ask("GET", "/readyz", key=None, admin=True).status == 200


def test_from_an_empty_database_to_a_report(tmp_path, provider, schema):
    house = installation(tmp_path / "a", provider, postgresql.url(schema))
    assert "run `ostiary migrate`" in house.command("serve", code=2)
    planned = house.command("migrate", "--dry-run")
    assert f"schema 0 to {steps()[-1].migration.version}" in planned
    assert "done" not in planned
    done = house.command("migrate")
    assert "done: 1 foundation" in done
    assert "done: 2 origins" in done
    assert "nothing to do" in house.command("migrate")
    with house.start():
        until(lambda: len(partitions(schema)) > USAGE_PARTITIONS_AHEAD_COUNT, 5, "room for the days to come")
        made = create(house, "minted")
        until(lambda: house.models(made["secret"]) == 200, 2.0, "a new key")
        assert [house.chat().status for _ in range(7)] == [200] * 7
        assert house.chat(key=made["secret"]).status == 200
        assert house.chat("no-such-\0model").status in (403, 404)
        rotated = json.loads(house.command("keys", "rotate", made["id"], "--json"))
        until(lambda: house.models(rotated["secret"]) == 200, 2.0, "a rotated key")
        until(lambda: house.models(made["secret"]) == 401, 2.0, "the end of the old secret")
        house.command("keys", "revoke", made["id"])
        # What is promised is a second; the rest is for a machine that does much else.
        until(lambda: house.models(rotated["secret"]) == 401, 2.0, "the end of a revoked key")
        house.command("teams", "create", "ads", "--tenant", "acme", "--model", "*")
        house.command("tenants", "create", "globex")
        assert "globex" in house.command("tenants", "list")
        assert usage(house) == 9
        (line,) = json.loads(house.command("models", "whatif", "openai/gpt-4o", "--by", "total", "--json"))
        assert line["calls"] == 8
        until(lambda: admin_ready(house), 5, "readiness")
        assert house.stop() == 0
    assert usage(house) == 9
    assert all(not report["problems"] for report in house.verify())
    assert not (house.data / "ostiary.db").exists()


def test_fd22_while_the_server_is_gone_calls_go_on_and_nothing_is_lost(tmp_path, provider, schema, proxy):
    house = installation(tmp_path / "a", provider, postgresql.url(schema, port=proxy.port))
    house.command("migrate")
    with house.start():
        made = create(house, "minted")
        until(lambda: house.models(made["secret"]) == 200, 2.0, "a new key")
        assert house.chat().status == 200
        proxy.down()
        statuses = [house.chat(key=key).status for key in (APP_KEY, made["secret"]) * 10]
        assert statuses == [200] * 20
        until(lambda: not admin_ready(house), 10, "word of what is not done")
        assert "Connection refused" in house.command("keys", "list", code=2)
        until(lambda: house.logged("projection_failed"), what="a line of it")
        assert house.process.poll() is None
        # A change of the file waits for the database too.
        house.write(models="  added: {targets: [{provider: sim, model: gpt-4o}]}")
        until(lambda: house.logged("change_refused"), 10, "word of the file")
        proxy.up()
        until(lambda: "added" in house.offered(), 15, "the file")
        # Even the ops process may die while the server is gone.
        proxy.down()
        os.kill(house.ops, signal.SIGKILL)
        assert house.chat().status == 200
        proxy.up()
        until(lambda: house.ops and admin_ready(house), 30, "projection")
        assert usage(house) == 22
        house.command("keys", "revoke", made["id"])
        until(lambda: house.models(made["secret"]) == 401, 5.0, "the end of a revoked key")
        assert house.stop() == 0
    assert usage(house) == 22


def test_two_replicas_share_keys_and_usage_and_nothing_else(tmp_path, provider, schema):
    url = postgresql.url(schema)
    first = installation(tmp_path / "a", provider, url)
    first.command("migrate")
    with first.start():
        second = installation(tmp_path / "b", provider, url, environment={"OSTIARY_REPLICA": "r1"})
        assert "copy it from another replica" in second.command("serve", code=2)
        for name in ("pepper.key", "digest.key"):
            shutil.copy(first.data / name, second.data / name)
        twin = installation(tmp_path / "b", provider, url)
        assert "needs a name of its own in OSTIARY_REPLICA" in twin.command("serve", code=2)
        with second.start():
            made = create(first, "minted")
            for house in (first, second):
                until(lambda house=house: house.models(made["secret"]) == 200, 2.0, "a new key")
            assert [house.chat(key=made["secret"]).status for house in (first, second) * 5] == [200] * 10
            second.command("keys", "revoke", made["id"])
            for house in (first, second):
                until(lambda house=house: house.models(made["secret"]) == 401, 2.0, "the end of a key")
            until(lambda: usage(first) == usage(second) == 10, 10, "the usage of both")
            assert [second.stop(), first.stop()] == [0, 0]
    assert usage(first) == 10


def test_the_password_of_the_database_stands_nowhere_but_where_it_was_put(tmp_path, provider, schema):
    host = postgresql.url(schema).partition("@")[2]
    written = CANARY.replace("/", "%2F").replace(":", "%3A").replace("@", "%40")
    house = installation(tmp_path / "a", provider, "unused")
    house.write(top=f'storage: {{url: "postgresql://postgres:{written}@{host}"}}')
    assert "password stands in the file" in house.command("check")
    house.command("migrate")
    with house.start():
        assert house.chat().status == 200
        # The file becomes unreadable and the ops process dies: it goes on with the database it had.
        good = house.file.read_text()
        house.write(": no yaml")
        os.kill(house.ops, signal.SIGKILL)
        until(lambda: house.logged("change_refused"), 10, "word of the file")
        assert house.chat().status == 200
        house.write(good)
        until(lambda: usage(house) == 2, 10, "usage")
        commands = b"\0".join(b"\0".join(words) for words in house.pids().values())
        metrics = house.metrics().encode()
        assert house.stop() == 0
    sinks = {"log": "\n".join(house.err + house.out).encode(), "commands": commands, "metrics": metrics}
    for path in house.data.rglob("*"):
        if path.is_file() and path != house.data / "secrets" / "storage-url":
            sinks[str(path)] = path.read_bytes()
    for name, data in sinks.items():
        assert CANARY.encode() not in data, name
        assert written.encode() not in data, name
    assert (house.data / "secrets" / "storage-url").stat().st_mode & 0o777 == 0o600


def test_a_password_by_reference_may_hold_any_character_and_a_url_that_is_none_is_not_repeated(
    tmp_path, provider, schema
):
    host = postgresql.url(schema).partition("@")[2]
    house = installation(tmp_path / "a", provider, "unused", environment={"PASSWORD": CANARY})
    house.write(top=f'storage: {{url: "postgresql://postgres:${{env:PASSWORD}}@{host}"}}')
    assert "storage.url" not in house.command("check")
    house.command("migrate")
    assert "key" in house.command("keys", "list")
    house.environment["DB"] = f"postgresql://postgres:{CANARY}%zz@x"
    house.write(top='storage: {url: "${env:DB}"}')
    said = house.command("keys", "list", code=2)
    assert "is no PostgreSQL URL" in said
    assert CANARY not in said
    house.environment["DB"] = ""
    assert "DB is not set" in house.command("check", code=1)
