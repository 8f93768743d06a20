"""Replicas that end, and replicas that never return: what of their journal the store has, and what is said of the rest."""

import json
import shutil
import signal

import pytest

from ostiary.core.limit import ORIGIN_SILENCE_SECONDS
from ostiary.simulator.behaviour import Behaviour
from tests import postgresql
from tests.process.house import APP_KEY, House, until


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


def installation(folder, provider, url, replica="r0", drain_seconds=1):
    folder.mkdir()
    top = f'storage: {{url: "{url}"}}\njournal: {{drain_seconds: {drain_seconds}}}'
    return House(folder, provider.port, top=top, environment={"OSTIARY_REPLICA": replica})


def readiness(house):
    answer = house.ask("GET", "/readyz", key=None, admin=True)
    word, left = answer.body.decode().splitlines()
    return answer.status, word, int(left.removeprefix("unshipped_bytes "))


def usage(house):
    return json.loads(house.command("usage", "--by", "team", "--json"))


def test_readiness_says_how_many_bytes_the_store_lacks_and_an_end_waits_for_it(tmp_path, provider, schema, proxy):
    house = installation(tmp_path / "a", provider, postgresql.url(schema, port=proxy.port), drain_seconds=60)
    house.command("migrate")
    with house.start():
        assert house.chat().status == 200
        until(lambda: readiness(house) == (200, "ready", 0), 5, "projection")
        proxy.down()
        assert [house.chat().status for _ in range(5)] == [200] * 5
        status, word, left = until(lambda: (found := readiness(house))[0] == 503 and found, 10, "word of what is left")
        assert "not projected" in word or "not published" in word
        assert left > 5 * 500
        assert house.metric("ostiary_journal_unshipped_bytes") == left
        # The store is away: the drain waits for it, and ends when everything is there.
        house.send(signal.SIGTERM)
        until(lambda: house.worker() is None, 10, "the end of the workers")
        until(lambda: readiness(house)[1] == "draining", 5, "the drain")
        assert readiness(house)[2] >= left
        assert house.process.poll() is None
        proxy.up()
        assert house.process.wait(30) == 0
    assert not house.logged("not_projected")
    (line,) = usage(house)
    assert line["requests"] == 6


def test_an_end_that_cannot_ship_ends_in_time_and_says_what_is_left(tmp_path, provider, schema, proxy):
    house = installation(tmp_path / "a", provider, postgresql.url(schema, port=proxy.port), drain_seconds=1)
    house.command("migrate")
    with house.start():
        assert house.chat().status == 200
        until(lambda: readiness(house)[2] == 0, 5, "projection")
        proxy.down()
        assert house.chat().status == 200
        house.send(signal.SIGTERM)
        assert house.process.wait(15) == 1
    (told,) = house.logged("not_projected")
    assert (told["origin"], told["unshipped_bytes"] > 500) == ("r0.0", True)
    proxy.up()
    with house.start():
        until(lambda: readiness(house)[2] == 0, 5, "projection after the next start")
        assert house.stop() == 0
    assert usage(house)[0]["requests"] == 2


def test_a_second_signal_ends_the_wait_for_the_store(tmp_path, provider, schema, proxy):
    house = installation(tmp_path / "a", provider, postgresql.url(schema, port=proxy.port), drain_seconds=600)
    house.command("migrate")
    with house.start():
        until(lambda: readiness(house)[2] == 0, 5, "projection")
        proxy.down()
        assert house.chat().status == 200
        house.send(signal.SIGINT)
        until(lambda: readiness(house)[1] == "draining", 10, "the drain")
        house.send(signal.SIGINT)
        assert house.process.wait(15) == 1
    assert house.logged("not_projected")


def _share_keys(first, second):
    second.data.mkdir(mode=0o700)
    for name in ("pepper.key", "digest.key"):
        shutil.copy(first.data / name, second.data / name)


def age(schema, origin):
    """As if the replica had been silent for that long."""
    with postgresql.admin() as connection:
        (found,) = connection.execute(
            f"UPDATE {schema}.origins SET seen_ns = seen_ns - %s WHERE origin = %s RETURNING seen_ns",
            (int((ORIGIN_SILENCE_SECONDS + 1) * 1e9), origin),
        ).fetchone()
    return found


def test_a_replica_that_never_returns_is_declared_lost_by_a_recorded_command(tmp_path, provider, schema):
    url = postgresql.url(schema)
    first = installation(tmp_path / "a", provider, url, "r0")
    first.command("migrate")
    second = installation(tmp_path / "b", provider, url, "pod-1-*")
    with first.start():
        _share_keys(first, second)
        with second.start():
            (name,) = (one.name for one in (second.data / "journal").iterdir() if one.is_dir())
            assert name.startswith("pod-1-")
            provider.then(*(_never() for _ in range(2)))
            waiting = [_open_call(second) for _ in range(2)]
            until(lambda: _open(schema, name) == 2, 10, "two open calls in the store")
            checkpoint = tmp_path / "checkpoint.json"
            second.command("audit", "checkpoint", "--out", str(checkpoint))
            assert "it runs" in first.command("audit", "retire-origin", name, "--reason", "x", code=2)
            assert "start Ostiary" in second.command("audit", "retire-origin", name, "--reason", "x", code=2)
            second.kill()
            for one in waiting:
                one.close()
        shutil.move(second.data, tmp_path / "lost")
        age(schema, name)
        told = first.command("audit", "retire-origin", name, "--reason", "its node burnt")
        assert "2 open calls closed as aborted" in told
        # The running worker holds r0.0: the record stands in the next free journal of this replica.
        assert "recorded in the journal r0.1" in told
        (record,) = first.records("retired")
        assert (record["record"]["origin"], record["record"]["reason"]) == (name, "its node burnt")
        assert record["record"]["by"].startswith("local:")
        assert record["record"]["aborted"] == 2
        assert _open(schema, name) == 0
        assert usage(first)[0]["errors"] == 2
        # It is named by verification, which holds; also against a checkpoint that knows the lost journal.
        assert not any(report["problems"] for report in first.verify())
        proved = first.command("audit", "verify")
        assert f"{name}: holds" in proved
        assert "declared lost" in proved
        assert "its node burnt" in proved
        anchored = first.command("audit", "verify", "--checkpoint", str(checkpoint))
        assert "its node burnt" in anchored
        listed = first.command("audit", "origins")
        assert "its node burnt" in listed
        # The lost one comes back after all: it may not serve, and nothing of it is counted twice.
        shutil.move(tmp_path / "lost", second.data)
        assert "declared lost" in second.command("serve", code=2)
        # With an empty disk the same pod has a new name, and serves.
        shutil.rmtree(second.data)
        _share_keys(first, second)
        with second.start():
            assert second.chat().status == 200
            (other,) = (one.name for one in (second.data / "journal").iterdir() if one.is_dir())
            assert other != name
            assert second.stop() == 0
        assert first.stop() == 0
    assert usage(first)[0]["requests"] == 3


def _never():
    return Behaviour(first_byte_seconds=600.0)


def _open_call(house):
    connection = house.connect()
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "x"}]})
    headers = {"authorization": f"Bearer {APP_KEY}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    return connection


def _open(schema, origin):
    with postgresql.admin() as connection:
        (count,) = connection.execute(
            f"SELECT count(*) FROM {schema}.open_calls WHERE origin = %s", (origin,)
        ).fetchone()
    return count


def test_one_cut_off_while_it_was_declared_lost_says_so_and_projects_nothing(tmp_path, provider, schema, proxy):
    url = postgresql.url(schema)
    first = installation(tmp_path / "a", provider, url, "r0")
    first.command("migrate")
    second = installation(tmp_path / "b", provider, postgresql.url(schema, port=proxy.port), "r1")
    with first.start():
        _share_keys(first, second)
        with second.start():
            assert second.chat().status == 200
            until(lambda: usage(first) and usage(first)[0]["requests"] == 1, 10, "projection")
            proxy.down()
            assert second.chat().status == 200
            age(schema, "r1.0")
            assert "0 open calls" in first.command("audit", "retire-origin", "r1.0", "--reason", "cut off")
            proxy.up()
            until(lambda: "declared lost" in readiness(second)[1], 40, "word of it")
            assert second.chat().status == 200
            second.stop()
        assert usage(first)[0]["requests"] == 1
        assert first.stop() == 0
