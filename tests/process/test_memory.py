"""FD-36: little memory. The whole installation stands in a control group of 256 MiB of its own, whose limit the kernel enforces:
what goes beyond it is killed."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from ostiary.simulator.behaviour import Behaviour
from tests.process.house import APP_KEY, OSTIARY, House, ProviderThread, until

LIMIT = 256 * 1024 * 1024
GROUPS = Path("/sys/fs/cgroup")
MIB = 1024 * 1024


class Group:
    """A control group below this process's own, with a limit."""

    def __init__(self):
        lines = [line.partition(":")[2].partition(":") for line in Path("/proc/self/cgroup").read_text().splitlines()]
        first = next(
            (GROUPS / "memory" / path.lstrip("/") for kinds, _, path in lines if "memory" in kinds.split(",")), None
        )
        own = first or next((GROUPS / path.lstrip("/") for kinds, _, path in lines if not kinds), GROUPS)
        self.v1 = first is not None
        self.folder = own / f"ostiary-drill-{uuid.uuid4().hex[:8]}"
        try:
            self.folder.mkdir()
            (self.folder / ("memory.limit_in_bytes" if self.v1 else "memory.max")).write_text(str(LIMIT))
        except OSError as error:
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            pytest.skip(f"a control group with a limit of memory cannot be made here: {error.strerror}")

    @property
    def used(self):
        return int((self.folder / ("memory.usage_in_bytes" if self.v1 else "memory.current")).read_text())

    @property
    def killed(self):
        """How many processes the kernel ended for want of memory."""
        text = (self.folder / ("memory.oom_control" if self.v1 else "memory.events")).read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    def close(self):
        until(lambda: not (self.folder / "cgroup.procs").read_text(), 15, "an empty group")
        self.folder.rmdir()


@pytest.fixture
def group():
    made = Group()
    yield made
    made.close()


NEIGHBOUR = """
import sys
held = []
for line in sys.stdin:
    held = [bytearray(int(line))] if int(line) == 0 else [*held, bytearray(b"x") * int(line)]
    print("done", flush=True)
"""


class Neighbour:
    """Another process of the same group, which takes memory when it is told to."""

    def __init__(self, group):
        self.process = subprocess.Popen(
            ["bash", "-c", f'echo $$ > {group.folder}/cgroup.procs; exec "{sys.executable}" -c "$0"', NEIGHBOUR],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def take(self, size):
        """So much more; 0 gives everything back."""
        self.process.stdin.write(b"%d\n" % size)
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"done\n"

    def close(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()


def asked(port, model, size=200):
    """A connection on which a stream was asked for by a request of that size."""
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "x" * size}]}).encode()
    one = socket.create_connection(("127.0.0.1", port), timeout=20)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {APP_KEY}\r\n"
    one.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode())
    with contextlib.suppress(OSError):  # it may be refused before all of it was sent
        one.sendall(body)
    return one


def received(connection):
    """What has come on a connection, and whether it has ended."""
    found = b""
    connection.setblocking(False)
    try:
        while True:
            part = connection.recv(1 << 16)
            if not part:
                return found, True
            found += part
    except BlockingIOError:
        return found, False
    except OSError:
        return found, True


class Crowd:
    """A gateway in the group, behind it a provider whose streams take a minute; two hundred of them are open."""

    def __init__(self, folder, group, workers):
        self.group = group
        self.own = ProviderThread(Behaviour(tokens=600, tokens_per_second=10))
        self.house = House(folder, self.own.port, workers=workers)
        self.ordinary = []

    def __enter__(self):
        house = self.house
        house.start(
            "bash", "-c", f'echo $$ > {self.group.folder}/cgroup.procs; exec "{OSTIARY}" serve --config "{house.file}"'
        )
        self.processes = house.pids()
        self.ordinary = [asked(house.port, "chat") for _ in range(200)]
        self.streams(200)
        return self

    def streams(self, count):
        until(lambda: self.house.metric("ostiary_open_streams") == count, 20, f"{count} streams")

    def check(self):
        """Nothing was killed, and no ordinary stream has ended."""
        assert self.group.killed == 0
        assert self.house.pids() == self.processes
        assert not [one for one in self.ordinary if received(one)[1]]

    def __exit__(self, *_):
        for one in self.ordinary:
            one.close()
        try:
            if self.house.process is not None and self.house.process.poll() is None:
                self.house.kill()
        finally:
            self.own.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_fd36_large_bodies_that_come_at_once_are_refused_before_the_kernel_ends_a_process(tmp_path, group, workers):
    """Twelve bodies of 8 MiB would, with all that is made of them, be more than the whole limit."""
    with Crowd(tmp_path, group, workers) as crowd:
        dear = []
        threads = [
            threading.Thread(target=lambda: dear.append(asked(crowd.house.port, "sim/tiny", 8 * MIB)))
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        answers = [b""] * len(dear)

        def all_answered():
            for place, one in enumerate(dear):
                answers[place] += received(one)[0]
            return all(answers)

        until(all_answered, 20, "an answer to each")
        statuses = sorted(answer.split(b" ", 2)[1] for answer in answers)
        assert set(statuses) == {b"200", b"503"}, statuses
        refused = [answer for answer in answers if b" 503 " in answer[:20]]
        assert all(b"gateway.overloaded" in answer and b"retry-after" in answer for answer in refused)
        crowd.check()
        for one in dear:
            one.close()
        crowd.streams(200)
        assert crowd.house.chat("sim/sim-error-400").status == 400, "and calls are taken again"
        crowd.check()


@pytest.mark.drill
def test_fd36_short_of_memory_new_calls_are_refused_then_the_dearest_streams_end_and_ordinary_ones_never(
    tmp_path, group
):
    with Crowd(tmp_path, group, 1) as crowd:
        house = crowd.house
        dear = {}
        for count, size in enumerate((4, 12, 8), 1):
            dear[size] = asked(house.port, "sim/tiny", size * MIB)
            crowd.streams(200 + count)
        neighbour = Neighbour(group)
        told = dict.fromkeys(dear, b"")
        over = set()
        shed = 'ostiary_shed_calls_total{priority="standard",reason="memory"'
        order = []

        def look():
            for size, one in dear.items():
                if size not in over:
                    part, ended = received(one)
                    told[size] += part
                    if ended:
                        over.add(size)
                        order.append(size)

        try:
            refused = 0
            while not over:
                assert group.used < LIMIT - 4 * MIB, "nothing was given up"
                neighbour.take(2 * MIB)
                threading.Event().wait(0.15)
                refused += house.chat("sim/sim-error-400").status == 503
                assert refused == 0 or group.used > 0.8 * LIMIT, "small calls are taken until then"
                look()
            assert refused, "before anything is given up, nothing new is taken"
            crowd.check()
            assert order[0] == 12, "the one that holds most"
            assert b"gateway.overloaded" in told[12]
            assert b"[DONE]" not in told[12]
            until(lambda: house.metric(shed) >= refused, 5, "the metric")
            neighbour.take(0)
            until(lambda: house.ask("GET", "/readyz", key=None).body == b"ready\n", 10, "recovery")
            assert house.chat("sim/sim-error-400").status == 400
            crowd.check()
            (first, *_) = house.logged("calls_ended_for_memory")
            assert first["held_bytes"] >= 12 * MIB
            until(lambda: [one for one in closed(house) if one["error"] == "gateway.overloaded"], 10, "the record")
            record = next(one for one in closed(house) if one["error"] == "gateway.overloaded")
            assert record["outcome"] == "failed"
            assert record["cost"]["nano"] > 0, "what was produced is charged"
        finally:
            neighbour.close()
            for one in dear.values():
                one.close()


def closed(house):
    return [one["record"] for one in house.records("closed")]
