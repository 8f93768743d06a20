"""FD-38: an event loop that is really kept from running, by code on it that does not give way, and a process that is stopped as
a whole."""

import asyncio
import os
import signal
import threading
import time

import pytest

from ostiary.bootstrap import data
from ostiary.bootstrap.prepare import prepare
from ostiary.settings import load
from ostiary.simulator.behaviour import Behaviour
from tests.process.house import APP_KEY, SIM_SECRET, House, ProviderThread, until

URGENT = "a-key-of-an-interactive-team-0123456789"
BATCH = "a-key-of-a-batch-team-0123456789-abcdef"
TEAMS = """\
      - {name: urgent, models: ["*"], priority: interactive, keys: [{name: app, secret: "${env:URGENT}"}]}
      - {name: batch, models: ["*"], priority: batch, keys: [{name: app, secret: "${env:BATCH}"}]}
"""
BLOCKED_SECONDS = 0.6
"""Each time; beyond twice the bound of 0.25 seconds and below four times that."""


def keep_the_loop(seconds):
    """The fault: code that does not give way, as a slow expression or a huge document would be."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


class Callers:
    """Threads that ask again and again with their keys; what they were answered, from when on they are told to count."""

    def __init__(self, house, **keys):
        self.house, self.over, self.counting = house, threading.Event(), threading.Event()
        self.found = {name: [] for name in keys}
        self.threads = [threading.Thread(target=self.run, args=item) for item in keys.items()]

    def run(self, name, key):
        while not self.over.is_set():
            answer = self.house.chat(key=key)
            if self.counting.is_set():
                self.found[name].append(answer)

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(20)


@pytest.mark.drill
async def test_fd38_a_loop_that_is_blocked_again_and_again_sheds_by_priority_says_so_and_is_well_at_once_afterwards(
    tmp_path, provider, monkeypatch
):
    """A data worker in this process, and on its loop code that keeps it for more than half a second at a time."""
    house = House(tmp_path, provider.port, tenants=TEAMS)
    for name, value in {"SIM_SECRET": SIM_SECRET, "APP_KEY": APP_KEY, "URGENT": URGENT, "BATCH": BATCH}.items():
        monkeypatch.setenv(name, value)
    prepared = prepare(load(house.file))
    os.close(prepared.job.ops.socket_fd)
    worker = data.Worker(prepared.job.data[0])
    running = asyncio.get_running_loop().create_task(worker.run())
    house.scheme, house.port = "http", int(prepared.url.rsplit(":", 1)[1])

    async def ready():
        return await asyncio.to_thread(house.ask, "GET", "/readyz", key=None)

    async with asyncio.timeout(10):
        while worker.server is None or (await ready()).status != 200:
            await asyncio.sleep(0.01)

    callers = Callers(house, standard=APP_KEY, urgent=URGENT, batch=BATCH)
    callers.start()
    said = []
    until_seconds = time.monotonic() + 6.0
    while time.monotonic() < until_seconds:
        keep_the_loop(BLOCKED_SECONDS)
        for _ in range(20):  # a few turns: what came meanwhile is begun
            await asyncio.sleep(0)
        if worker.world.gates.pressure.high:
            callers.counting.set()
            said.append(worker.degraded())
    callers.counting.clear()
    over = time.monotonic()
    while worker.world.gates.pressure.high:
        await asyncio.sleep(0.01)
    assert time.monotonic() - over < 2.0
    after = await ready()
    await asyncio.to_thread(callers.stop)
    good = await asyncio.to_thread(house.chat, key=BATCH)
    assert after.body == b"ready\n"
    assert any("the event loop runs" in text for text in said)
    statuses = {name: {answer.status for answer in answers} for name, answers in callers.found.items()}
    assert statuses["batch"] == {503}, statuses
    assert statuses["standard"] == {503}, statuses
    assert statuses["urgent"] == {200}, statuses
    refused = callers.found["batch"] + callers.found["standard"]
    assert {answer.json["error"]["code"] for answer in refused} == {"gateway.overloaded"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert good.status == 200
    worker._stop.set()
    await asyncio.wait_for(running, 10)
    os.close(prepared.job.lock_fd)
    assert [report["problems"] for report in house.verify()] == [[]]


@pytest.mark.drill
def test_fd38_a_worker_stopped_for_two_seconds_loses_no_stream_and_its_fellow_serves_meanwhile(tmp_path):
    """What a debugger, a paused machine or a starved container does."""
    own = ProviderThread(Behaviour(tokens=60, tokens_per_second=20))
    house = House(tmp_path, own.port, workers=2)
    ended, answered = [], []

    def stream():
        ended.append(house.chat(stream=True, stream_options={"include_usage": True}))

    try:
        with house.start():
            threads = [threading.Thread(target=stream) for _ in range(16)]
            for thread in threads:
                thread.start()
            until(lambda: house.metric("ostiary_open_streams") == 16, 5, "the streams")
            pid = house.worker(0)
            os.kill(pid, signal.SIGSTOP)
            try:
                # Those that come to it wait, as its streams do; those of its fellow do not.
                asking = [threading.Thread(target=lambda: answered.append(house.models())) for _ in range(32)]
                for thread in asking:
                    thread.start()
                threading.Event().wait(2.0)  # the fault itself
                meanwhile = len(answered)
            finally:
                os.kill(pid, signal.SIGCONT)
            for thread in asking:
                thread.join(20)
            for thread in threads:
                thread.join(20)
            assert [answer.status for answer in ended] == [200] * 16
            assert all(answer.body.rstrip().endswith(b"data: [DONE]") for answer in ended)
            assert 0 < meanwhile
            assert answered == [200] * 32
            assert house.worker(0) == pid, "nobody has taken it for dead"
            until(lambda: house.ask("GET", "/readyz", key=None).body == b"ready\n", 10, "readiness")
            assert house.stop() == 0
        assert [report["problems"] for report in house.verify()] == [[], []]
    finally:
        own.stop()
