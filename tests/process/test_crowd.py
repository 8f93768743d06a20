"""FD-42: ten thousand connections that are only held open, and thousands that come and go each second. What is measured is
printed."""

import asyncio
import re
import resource
import shutil
import statistics
import subprocess
import time

import pytest

from tests.process.house import APP_KEY, descriptors, rss, until

IDLE = 10_000
CHURNED = 20_000
PROBES = 300
SPARE = 500
"""Descriptors of this process besides the connections."""

LIVE = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"
ONCE = b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
BODY = b'{"model":"chat","messages":[{"role":"user","content":"Say something."}]}'
CALL = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (APP_KEY.encode(), len(BODY), BODY)
)


@pytest.fixture
def many_descriptors():
    """As many as this test needs, or it is skipped."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE + SPARE:
        pytest.skip(f"this user may have {hard} descriptors, and {IDLE + SPARE} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE + SPARE), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def closed(writers):
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def opened(port, count):
    """Connections that asked once and were answered; fewer where some were turned away."""
    gate = asyncio.Semaphore(200)

    async def one():
        async with gate:
            writer = None
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(LIVE)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            except (OSError, asyncio.IncompleteReadError):
                if writer is not None:
                    await closed([writer])
                return None
            return writer

    return [writer for writer in await asyncio.gather(*(one() for _ in range(count))) if writer is not None]


async def probed(port, count=PROBES):
    """How long calls take, one after the other, in seconds; each must be answered well."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took = []
    for _ in range(count):
        at = time.perf_counter()
        writer.write(CALL)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        took.append(time.perf_counter() - at)
    await closed([writer])
    return took


async def by_wrk(port):
    """As many connections as wrk can make in five seconds; how many. Each is answered well."""
    command = ["wrk", "-t1", "-c64", "-d5s", "-H", "connection: close", f"http://127.0.0.1:{port}/livez"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert "Non-2xx" not in done.stdout
    assert "Socket errors" not in done.stdout
    return int(re.search(r"(\d+) requests in", done.stdout)[1])


async def by_hand(port):
    """The same where there is no wrk, by this process, which delays what it measures."""
    left, answered = CHURNED, 0

    async def caller():
        nonlocal left, answered
        while left > 0:
            left -= 1
            good = await once(port)
            answered += good

    await asyncio.gather(*(caller() for _ in range(64)))
    assert answered == CHURNED
    return answered


def told(took):
    cuts = statistics.quantiles(took, n=100)
    return f"p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms"


async def once(port):
    """A connection that comes, asks and goes; whether it was answered."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ONCE)
        answer = await reader.read()
        await closed([writer])
    except OSError:
        return False
    return answer.startswith(b"HTTP/1.1 200")


@pytest.mark.drill
async def test_fd42_ten_thousand_idle_connections_are_held_or_turned_away_and_calls_take_no_longer(
    house, many_descriptors
):
    with await asyncio.to_thread(house.start):
        pid = house.worker()
        alone = await probed(house.port)
        memory, before = rss(pid), descriptors(pid)
        began = time.monotonic()
        held = await opened(house.port, IDLE)
        took = time.monotonic() - began
        cap = int(open_files(pid) - 64) // 2
        assert len(held) >= min(IDLE, cap) - 10
        assert descriptors(pid) <= min(IDLE, cap) + before + 10
        await closed(held[:20])  # at the cap nobody else gets in, which is not what is measured
        await asyncio.to_thread(until, lambda: descriptors(pid) <= len(held) + before - 10, 10, "room for one more")
        with_them = await probed(house.port)
        each = (rss(pid) - memory) / len(held)
        print(
            f"\n{len(held):,} of {IDLE:,} connections held, opened in {took:.1f} s, {each / 1024:.1f} KiB each; "
            f"calls without them: {told(alone)}; beside them: {told(with_them)}"
        )
        assert each < 16 * 1024
        # Generous, since other work shares the machine: no call waits behind ten thousand others.
        assert statistics.median(with_them) < 3 * statistics.median(alone) + 0.005
        await closed(held)
        await asyncio.to_thread(until, lambda: descriptors(pid) <= before + 20, 20, "the end of all of them")
        assert house.worker() == pid
        assert await asyncio.to_thread(house.stop) == 0


@pytest.mark.drill
async def test_fd42_connections_that_come_and_go_leave_nothing_behind_and_keep_no_call_waiting(house):
    with await asyncio.to_thread(house.start):
        pid = house.worker()
        alone = await probed(house.port)
        memory, before = rss(pid), descriptors(pid)
        began = time.monotonic()
        churning = asyncio.create_task(by_wrk(house.port) if shutil.which("wrk") else by_hand(house.port))
        beside = []
        while not churning.done():
            beside += await probed(house.port, 20)
        took = time.monotonic() - began
        count = await churning
        print(
            f"\n{count:,} connections at {count / took:,.0f}/s, client and provider on the same cores; calls without "
            f"them: {told(alone)}; beside them: {told(beside)}"
        )
        assert count >= 5_000
        await asyncio.to_thread(until, lambda: descriptors(pid) <= before + 5, 20, "the end of all of them")
        assert rss(pid) - memory < 32 * 1024 * 1024
        assert max(beside) < 2.0
        assert house.worker() == pid
        assert await asyncio.to_thread(house.stop) == 0


def open_files(pid):
    """How many descriptors a process may have."""
    with open(f"/proc/{pid}/limits") as file:
        return int(next(line for line in file if line.startswith("Max open files")).split()[3])
