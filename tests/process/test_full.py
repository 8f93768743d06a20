"""Nowhere to write: the log's reader gone or stuck, standard descriptors closed, the disk full, the journal refused."""

import asyncio
import errno
import json
import os
import socket
import subprocess
import threading

import pytest

from ostiary.bootstrap import data
from ostiary.bootstrap.prepare import prepare
from ostiary.settings import load
from ostiary.telemetry.lines import Lines
from ostiary.testing.disk import FaultDisk, Mode
from tests.process.house import APP_KEY, OSTIARY, SIM_SECRET, House, until

# --- FD-40: the log -------------------------------------------------------------------------------------------


def test_fd40_a_log_whose_reader_is_gone_costs_no_call(house):
    """The pipe of standard error is closed at its other end: every failed call logs, none of them may notice."""
    reading, writing = os.pipe()
    with house.start(stderr=writing):
        os.close(writing)
        os.close(reading)
        reader, writer = house.worker(), house.ops
        for _ in range(50):
            assert house.chat("sim/sim-error-503").status in (502, 503)
            assert house.chat("no-such-model").status == 404
        house.write(models="models: [")  # the ops process logs a refusal
        for _ in range(20):
            assert house.chat().status == 200
        assert (house.worker(), house.ops) == (reader, writer)
        # Started again, processes log their start into the same nothing.
        os.kill(reader, 9)
        until(lambda: house.worker() not in (None, reader), 10)
        until(lambda: house.models() == 200, 10)
        assert house.process.poll() is None
        assert house.stop() == 0


def test_fd40_a_log_whose_reader_is_stuck_blocks_no_call(tmp_path, provider):
    """A pipe that nobody empties takes 64 KiB; the lines beyond are dropped and counted, not waited for."""
    house = House(tmp_path, provider.port)
    reading, writing = os.pipe()
    with house.start(stderr=writing):
        os.close(writing)
        connection = house.connect()
        for i in range(1_000):
            assert house.chat(f"no-such-model-{'x' * 100}-{i}", connection=connection).status == 404
        assert house.chat(connection=connection).status == 200
        connection.close()
        assert house.stop() == 0
    os.set_blocking(reading, False)
    stuck = os.read(reading, 1 << 20)
    os.close(reading)
    assert 4_096 <= len(stuck) <= 1 << 17


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_standard_descriptors_closed_at_the_start_are_not_taken_for_sockets_or_files(tmp_path, provider, closed):
    house = House(tmp_path, provider.port)
    port = free_port()
    house.write(port=port)
    house.spawn("bash", "-c", f'exec "{OSTIARY}" serve --config "{house.file}" {closed}')
    house.port, house.scheme = port, "http"
    try:
        serves_without(house)
    finally:
        assert house.stop() == 0


def serves_without(house):
    until(lambda: answers(house), 20, "the gateway")
    assert house.chat("no-such-model").status == 404
    assert house.chat().status == 200
    for pid in (house.process.pid, *house.pids()):
        for number in (0, 1, 2):
            target = os.readlink(f"/proc/{pid}/fd/{number}")
            assert target == "/dev/null" or target.startswith("pipe:"), (pid, number, target)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(house):
    try:
        return house.models() == 200
    except OSError:
        return False


def test_lines_that_cannot_be_written_are_counted_and_told_when_it_goes_on():
    reading, writing = os.pipe()
    lines = Lines(writing)
    for i in range(5_000):
        lines.put(f"{i:06d} " + "x" * 90)
    assert lines.dropped > 0
    told = []

    def read():
        with os.fdopen(reading, "rb") as stream:
            told.extend(stream)

    reader = threading.Thread(target=read)
    reader.start()
    lines.flush(5)
    lines.put("after")
    lines.flush(5)
    os.close(writing)
    reader.join(5)
    counts = [json.loads(line)["count"] for line in told if b"log_lines_dropped" in line]
    assert sum(counts) == lines.dropped
    assert told[-1] == b"after\n"
    assert len(told) - len(counts) + lines.dropped == 5_001
    lines.put("into a closed descriptor")
    lines.flush(5)


# --- a full disk ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m,mode=0700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting a small file system takes rights that this user does not have")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Take the last byte there is."""
    with open(folder / "filler", "wb") as file:
        for size in (1 << 20, 512):
            with pytest.raises(OSError, match="No space left"):
                while True:
                    os.write(file.fileno(), bytes(size))


def test_fd40_a_full_disk_ends_no_process_and_no_call_that_the_journal_still_has_room_for(house, small_disk):
    """Metrics stand in mapped files: storing into a page the disk has no room for would kill a worker. The journal's
    space is allocated ahead, so calls go on; rows and metrics wait."""
    with house.start():
        assert house.chat().status == 200
        until(lambda: usage_rows(house) == 1, 5)
        fill(small_disk)
        processes = (house.worker(), house.ops)
        # Outcomes, reasons and models never seen before: new series in the shared files.
        for model in ("chat", "claude", "sim/sim-error-503", "sim/sim-error-401", "sim/sim-cut", "no-such", "sim/a"):
            for stream in (False, True):
                assert house.chat(model, stream=stream).status in (200, 400, 404, 502, 503)
        connection = house.connect()
        for _ in range(200):
            assert house.chat(connection=connection).status == 200
        assert house.ask("GET", "/metrics", key=None, admin=True).status == 200
        # A worker that starts on the full disk does without shared metrics; where its journal finds no room it
        # says so by not being ready, and is there once there is room again.
        assert (house.worker(), house.ops) == processes
        (small_disk / "filler").unlink()
        until(lambda: usage_rows(house) > 200, 10, "what was not projected while the disk was full")
        assert house.chat(connection=connection).status == 200
        connection.close()
        assert house.stop() == 0
    assert [report["problems"] for report in house.verify()] == [[]]


def usage_rows(house):
    return sum(line["requests"] for line in json.loads(house.command("usage", "--by", "model", "--json")))


def test_fd40_a_worker_killed_on_a_full_disk_comes_back_when_there_is_room(house, small_disk):
    with house.start():
        assert house.chat().status == 200
        before = house.worker()
        fill(small_disk)
        os.kill(before, 9)
        until(lambda: house.worker() not in (None, before), 10, "a successor, in vain or not")
        (small_disk / "filler").unlink()
        until(lambda: answers(house), 20, "the worker")
        assert house.chat().status == 200
        assert house.process.poll() is None
        assert house.stop() == 0
    assert [report["problems"] for report in house.verify()] == [[]]


# --- FD-30: the journal refused ---------------------------------------------------------------------------------


async def test_fd30_a_journal_that_cannot_be_written_refuses_calls_says_so_and_recovers_by_itself(
    tmp_path, provider, monkeypatch
):
    """A data worker in this process, on a disk that fails on demand; clients outside see it as they would."""
    house = House(tmp_path, provider.port)
    monkeypatch.setenv("SIM_SECRET", SIM_SECRET)
    monkeypatch.setenv("APP_KEY", APP_KEY)
    prepared = prepare(load(house.file))
    disk = FaultDisk(house.data / "journal")
    monkeypatch.setattr(data, "OsDisk", lambda: disk)
    os.close(prepared.job.ops.socket_fd)
    worker = data.Worker(prepared.job.data[0])
    running = asyncio.get_running_loop().create_task(worker.run())
    house.scheme, house.port = "http", int(prepared.url.rsplit(":", 1)[1])

    async def ask(*words, **fields):
        return await asyncio.to_thread(house.ask, *words, **fields)

    async def chat(**fields):
        return await asyncio.to_thread(house.chat, **fields)

    async def comes(holds, what):
        async with asyncio.timeout(10):
            while not await holds():
                await asyncio.sleep(0.01)

    async def up():
        return worker.server is not None and (await ask("GET", "/livez", key=None)).status == 200

    await comes(up, "the worker")
    assert (await chat()).status == 200
    before = provider.connections
    disk.error = errno.ENOSPC
    disk.plan = lambda call: Mode.REFUSED if call.method in ("pwrite", "fdatasync", "allocate", "open") else None
    refused = [await chat(stream=stream) for stream in (False, True) for _ in range(3)]
    assert {answer.status for answer in refused} == {503}
    assert {answer.json["error"]["code"] for answer in refused} == {"audit.unavailable"}
    assert all("x-request-id" in answer.headers for answer in refused)
    assert (await ask("GET", "/readyz", key=None)).status == 503
    assert (await ask("GET", "/livez", key=None)).status == 200
    assert (await ask("GET", "/v1/models")).status == 200
    assert provider.connections == before, "nothing goes out unrecorded"
    disk.plan = None

    async def ready():
        return (await ask("GET", "/readyz", key=None)).status == 200

    await comes(ready, "readiness")
    assert (await chat()).status == 200
    worker._stop.set()
    await asyncio.wait_for(running, 10)
    os.close(prepared.job.lock_fd)
    assert [report["problems"] for report in house.verify()] == [[]]
    outcomes = [one["record"]["outcome"] for one in house.records("closed")]
    assert outcomes.count("succeeded") == 2
    assert len(house.records("opened")) == len(outcomes)


# --- FD-37: few descriptors -------------------------------------------------------------------------------------


def test_fd37_with_few_descriptors_the_cap_is_below_half_and_clients_beyond_it_are_turned_away(tmp_path, provider):
    house = House(tmp_path, provider.port)
    with house.start("bash", "-c", f'ulimit -n 256; exec "{OSTIARY}" serve --config "{house.file}"'):
        held = []
        for _ in range(400):
            one = house.connect(5)
            one.connect()
            held.append(one)
        until(lambda: 60 <= house.metric("ostiary_connections") <= 128, 5, "the cap")
        # Those who got in are served.
        assert house.chat(connection=held[0]).status == 200
        spent = cpu_seconds(house.worker())
        assert house.chat(connection=held[0]).status == 200
        for one in held:
            one.close()
        until(lambda: house.metric("ostiary_connections") <= 2, 5)
        assert house.chat().status == 200
        assert cpu_seconds(house.worker()) - spent < 1.0, "no spinning"
        assert house.stop() == 0


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
