"""FD-41: clients that do not read what they asked for, through the whole gateway."""

import contextlib
import itertools
import json
import socket
import time

import msgspec
import pytest

from ostiary.simulator.behaviour import Piece
from tests.process.house import APP_KEY, House, ProviderThread, rss, until
from tests.process.test_death import counts


def ask_and_not_read(port, content):
    """A stream that is asked for by a client with the smallest window it can have, which then reads nothing."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    one.settimeout(5)
    one.connect(("127.0.0.1", port))
    body = json.dumps({"model": "chat", "stream": True, "messages": [{"role": "user", "content": content}]}).encode()
    one.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (APP_KEY.encode(), len(body), body)
    )
    return one


EVENT = b"data: %b\n\n" % msgspec.json.encode(
    {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "word " * 3_000}, "finish_reason": None}],
    }
)


def endless_provider():
    """A provider whose answer to whoever says so has no end, in large events, so that making them costs little."""
    own = ProviderThread()
    usual = own.provider.plan

    def plan(request):
        found = usual(request)
        if b"endless" in request.body:
            found = msgspec.structs.replace(found, pieces=itertools.repeat(Piece(EVENT)))
        return found

    own.provider.plan = plan
    return own


@pytest.mark.parametrize("many", [100, pytest.param(1_000, marks=pytest.mark.drill)])
def test_fd41_slow_readers_hold_little_memory_pause_their_upstream_and_disturb_nobody(tmp_path, many):
    """Each stream would be tens of megabytes; while its client does not read, the provider gets rid of a part of it
    only, and the gateway holds less than a megabyte."""
    own = endless_provider()
    house = House(tmp_path, own.port, drain=2)
    try:
        with house.start(), contextlib.ExitStack() as waiting:
            worker = house.worker()
            for _ in range(30):
                assert house.chat().status == 200
            before = rss(worker)
            slow = [waiting.enter_context(ask_and_not_read(house.port, "endless")) for _ in range(many)]
            until(lambda: house.metric("ostiary_open_streams") == many, 60, "all streams")
            until(lambda: settled(own), 60, "the pause of all upstreams")
            grown = rss(worker) - before
            queued = unsent(house.port)
            began = time.monotonic()
            for _ in range(30):
                assert house.chat(stream=True).body.endswith(b"data: [DONE]\n\n")
            each = (time.monotonic() - began) / 30
            print(
                f"{grown / many / 1024:.0f} KiB for each of {many} slow streams; others answered in {each * 1e3:.1f} ms"
            )
            print(f"{queued / many / 1024:.0f} KiB of each wait in the operating system")
            assert grown < many << 20
            assert queued < many << 19
            assert each < 0.5
            assert settled(own), "the upstreams stay paused"
            for one in slow:
                one.close()
            until(lambda: house.metric("ostiary_open_streams") == 0, 20, "the end of the streams")
            until(lambda: own.open_connections < 40, 20, "the end of their upstream calls")
            assert rss(worker) - before < many << 20
            assert house.stop() == 0
        opened, outcomes = counts(house)
        assert outcomes == {"cancelled": many, "succeeded": 60}
    finally:
        own.stop()


def unsent(port):
    """Bytes the operating system holds for the clients of a port."""
    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file.read().splitlines()[1:]]
    return sum(
        int(row[4].split(":")[0], 16) for row in rows if int(row[1].split(":")[1], 16) == port and row[3] == "01"
    )


def settled(own):
    """Whether every upstream connection that is busy waits for the gateway to read."""
    busy = [peer for peer in tuple(own.provider.open) if peer.busy]
    return bool(busy) and all(not peer._writable.is_set() for peer in busy)


@pytest.mark.drill
def test_fd41_a_client_that_reads_nothing_is_cut_after_the_stall_and_one_that_reads_slowly_is_not(tmp_path):
    own = endless_provider()
    house = House(tmp_path, own.port, drain=2)
    try:
        with house.start():
            stuck, steady = ask_and_not_read(house.port, "endless"), ask_and_not_read(house.port, "endless")
            until(lambda: house.metric("ostiary_open_streams") == 2, 10)
            began = time.monotonic()

            def one_left():
                steady.recv(4_096)
                return house.metric("ostiary_open_streams") == 1

            until(one_left, 60, "the cut")
            assert 25 < time.monotonic() - began < 45
            assert steady.recv(4_096)
            steady.close()
            stuck.close()
    finally:
        own.stop()
