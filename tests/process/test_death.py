"""Processes that are killed: what others notice, what is lost (only what was under way), what is written down."""

import json
import os
import signal
import threading
import time
from collections import Counter

import pytest

from ostiary.simulator.behaviour import Behaviour
from tests.process.house import House, alive, until


class Load:
    """Callers that go on calling; `statuses` and `broken` are what they saw."""

    def __init__(self, house, callers=4, streams=True):
        self.house = house
        self.stop = threading.Event()
        self.seen = []
        self.succeeded = 0
        self.broken = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._call, args=(streams and i % 2 == 0,)) for i in range(callers)]

    def _call(self, stream):
        while not self.stop.is_set():
            try:
                answer = self.house.chat(stream=stream)
                whole = answer.status == 200 and (not stream or answer.body.endswith(b"data: [DONE]\n\n"))
                with self.lock:
                    self.seen.append(answer.status)
                    self.succeeded += whole
            except Exception as error:
                with self.lock:
                    self.broken.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(30)


def counts(house):
    """Of the journal: opened, closed by outcome; and that each opening record has its one closing one."""
    records = house.records()
    opened = Counter((one["origin"], one["sequence"]) for one in records if one["kind"] == "opened")
    closed = [one for one in records if one["kind"] == "closed"]
    assert Counter((one["origin"], one["record"]["opened"]) for one in closed) == opened
    return len(opened), Counter(one["record"]["outcome"] for one in closed)


def usage(house):
    return sum(line["requests"] for line in json.loads(house.command("usage", "--by", "model", "--json")))


@pytest.mark.parametrize("times", [10, pytest.param(100, marks=pytest.mark.drill)])
def test_fd34_a_killed_worker_loses_only_what_was_under_way(tmp_path, provider, times):
    house = House(tmp_path, provider.port, workers=2)
    delays = []
    with house.start(), Load(house) as load:
        for number in range(times):
            slot = number % 2
            pid = until(lambda: house.worker(slot), 10)
            before = len(load.seen)
            until(lambda: len(load.seen) > before + 3, 20, "calls going on")
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            other = house.worker(1 - slot)
            until(lambda: house.worker(slot) not in (None, pid), 10, "a successor")
            before = len(load.seen)
            until(lambda: len(load.seen) > before + 3, 20, "calls after the kill")
            delays.append(time.monotonic() - killed)
            assert house.worker(1 - slot) == other, "the other worker was not to be touched"
            assert house.ask("GET", "/readyz", key=None).status == 200
        load.__exit__()
        assert house.process.poll() is None
        assert house.stop() == 0
    assert set(load.seen) == {200}
    # What a kill breaks is what was under way on that worker, never more.
    assert 1 <= len(load.broken) <= times * 4, len(load.broken)
    reports = house.verify()
    assert [report["problems"] for report in reports] == [[], []]
    opened, outcomes = counts(house)
    print(f"calls again {max(delays):.2f} s after a kill at most; {outcomes}, seen {load.succeeded}")
    assert outcomes["aborted"] <= len(load.broken)
    # A client that saw its answer has a record of it; a few more were written whose answer the kill took.
    assert load.succeeded <= outcomes["succeeded"] <= load.succeeded + len(load.broken)
    assert usage(house) == opened


def test_fd34_the_client_of_a_killed_worker_sees_a_reset_and_the_journal_an_aborted_call(house, provider):
    with house.start():
        provider.then(Behaviour(tokens=400, tokens_per_second=20.0))
        connection = house.connect()
        body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        connection.request(
            "POST",
            "/v1/chat/completions",
            json.dumps(body),
            {"authorization": f"Bearer {house.environment['APP_KEY']}", "content-type": "application/json"},
        )
        answer = connection.getresponse()
        request_id = answer.headers["x-request-id"]
        assert answer.readline().startswith(b"data: ")
        before = provider.open_connections
        os.kill(house.worker(), signal.SIGKILL)
        with pytest.raises(Exception, match="reset|IncompleteRead|chunk"):
            while answer.readline():
                pass
            raise AssertionError("IncompleteRead: the body ended without its end")
        connection.close()
        until(lambda: provider.open_connections < before, 5, "the end of the upstream call")
        until(lambda: house.models() == 200, 10, "the successor")
        (closed,) = [one for one in house.records("closed") if one["record"]["request_id"] == request_id]
        assert closed["record"]["outcome"] == "aborted"
        assert house.logged("journal_recovered")[0]["calls_aborted"] == 1


def test_a_killed_ops_process_is_not_felt_by_callers_and_projection_goes_on_exactly_once(house):
    with house.start():
        with Load(house, callers=3) as load:
            for _ in range(3):
                pid = until(lambda: house.ops, 10)
                os.kill(pid, signal.SIGKILL)
                until(lambda: house.ops not in (None, pid), 10, "another ops process")
                until(lambda: admin_ready(house), 10, "its readiness")
        assert load.broken == []
        assert set(load.seen) == {200}
        until(lambda: house.metric("ostiary_requests_total") == len(load.seen), 5, "metrics")
        made = json.loads(house.command("keys", "create", "after", "--tenant", "acme", "--team", "search", "--json"))
        until(lambda: house.models(made["secret"]) == 200, 2.0, "a key made after the restart")
        assert house.stop() == 0
    opened, outcomes = counts(house)
    assert outcomes == {"succeeded": len(load.seen)}
    assert usage(house) == opened == len(load.seen)


def admin_ready(house):
    try:
        return house.ask("GET", "/readyz", key=None, admin=True).status == 200
    except OSError:
        return False


def test_a_killed_supervisor_takes_its_children_along_and_the_next_start_goes_on(tmp_path, provider):
    house = House(tmp_path, provider.port, workers=2)
    house.start()
    assert house.chat().status == 200
    children = house.pids()
    assert len(children) == 3
    os.kill(house.process.pid, signal.SIGKILL)
    house.process.wait(10)
    until(lambda: not any(alive(pid) for pid in children), 10, "the children's end")
    house.ended()
    with house.start():
        assert house.chat().status == 200
        assert house.stop() == 0
    opened, outcomes = counts(house)
    assert (opened, outcomes) == (2, {"succeeded": 2})


def test_who_starts_while_the_workers_of_a_killed_supervisor_still_finish_waits_for_them(tmp_path, provider):
    house = House(tmp_path, provider.port, drain=10)
    house.start()
    provider.then(Behaviour(tokens=120, tokens_per_second=20.0))
    bodies = []
    caller = threading.Thread(target=lambda: bodies.append(house.chat(stream=True).body))
    caller.start()
    until(lambda: "ostiary_open_streams 1.0" in house.metrics(), 5, "an open stream")
    old = house.process
    old.kill()
    old.wait(10)
    port = house.port
    house.write(port=port)
    house.start()
    caller.join(30)
    assert bodies[0].endswith(b"data: [DONE]\n\n")
    assert any("waiting for the workers of a supervisor that is gone" in line for line in house.err)
    assert house.port == port
    assert house.chat().status == 200
    old.stdout.close()
    old.stderr.close()
    assert house.stop() == 0
    assert counts(house)[1] == {"succeeded": 2}


def test_everything_killed_at_once_under_load_starts_again_with_whole_books(tmp_path, provider):
    house = House(tmp_path, provider.port, workers=2)
    load = Load(house.start())
    with load:
        until(lambda: len(load.seen) > 40, 20)
        load.stop.set()
        house.kill()
    # A start with fewer workers closes what the other slot left open, too.
    house.write(workers=1)
    with house.start():
        assert house.chat().status == 200
        assert house.stop() == 0
    assert [report["problems"] for report in house.verify()] == [[], []]
    opened, outcomes = counts(house)
    assert load.succeeded + 1 <= outcomes["succeeded"] <= load.succeeded + 1 + len(load.broken)
    assert outcomes["aborted"] <= len(load.broken)
    assert usage(house) == opened


def test_a_worker_that_dies_again_and_again_is_started_ever_later_and_leaves_nothing_behind(house):
    with house.start():
        pids = [house.worker()]
        house.chat()
        until(lambda: house.metric("ostiary_requests_total") == 1, 3)
        files = sorted(path.name for path in (house.data / "metrics").iterdir())
        for _ in range(3):
            os.kill(pids[-1], signal.SIGKILL)
            pids.append(until(lambda: house.worker() not in (None, pids[-1]) and house.worker(), 10))
            until(lambda: house.models() == 200, 10)
        assert sorted(path.name for path in (house.data / "metrics").iterdir()) == files
        assert house.metric("ostiary_requests_total") == 1, "counters go on where the worker before left them"
        assert house.metric("ostiary_open_streams") == 0
        zombies = [pid for pid in pids[:-1] if os.path.exists(f"/proc/{pid}")]
        assert zombies == []


def test_processes_inherit_only_the_descriptors_that_are_theirs(tmp_path, provider):
    with House(tmp_path, provider.port, workers=2) as house:
        listeners = {}
        for pid, words in house.pids().items():
            targets = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
            listeners[words[2].decode(), pid] = sockets(pid, targets)
            assert not any(target.endswith(".db-wal") for target in targets if b"data" in words[2]), targets
            if b"bootstrap.data" in words[2]:
                assert not any("ostiary.db" in target for target in targets), "a data worker opens no database"
        ports = [sorted(found) for found in listeners.values()]
        assert sorted(ports) == sorted([[house.port], [house.port], [house.admin_port]])


def sockets(pid, targets):
    """The ports a process listens on."""
    inodes = {target[8:-1] for target in targets if target.startswith("socket:[")}
    found = []
    for line in open_lines(f"/proc/{pid}/net/tcp"):
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            found.append(int(fields[1].split(":")[1], 16))
    return found


def open_lines(path):
    with open(path) as file:
        return file.read().splitlines()[1:]
