"""Being told to stop: what can finish finishes, what cannot is told so, nothing is lost."""

import asyncio
import json
import signal
import socket
import subprocess
import time

import pytest

from ostiary.simulator.behaviour import Behaviour
from tests.process.house import APP_KEY, READY_SECONDS, House, ProviderThread, until
from tests.process.test_death import counts


async def stream(port, path, body):
    """One streamed request; (head, all that followed until the end), or the error."""
    data = json.dumps({**body, "stream": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(
            b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (path, APP_KEY.encode(), len(data), data)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        return head, await reader.read()
    except (OSError, asyncio.IncompleteReadError) as error:
        return b"", repr(error).encode()
    finally:
        writer.close()


@pytest.mark.parametrize("many", [200, pytest.param(500, marks=pytest.mark.drill)])
def test_fd35_told_to_stop_with_many_streams_open_some_finish_and_the_others_are_told(tmp_path, many):
    """Half of the streams end within the grace, half would go on for a minute; both dialects."""
    short = Behaviour(tokens=30, tokens_per_second=8.0)
    long = Behaviour(tokens=600, tokens_per_second=4.0)
    own = ProviderThread()
    own.provider._provider._choose = lambda request: long if b"long" in request.body else short
    house = House(tmp_path, own.port, drain=6, top="log: {level: info}")
    house.start()

    async def all_of_them():
        tasks = []
        for i in range(many):
            content = "long" if i % 2 else "short"
            body = {"messages": [{"role": "user", "content": content}]}
            openai = i % 4 < 2
            body.update({"model": "chat"} if openai else {"model": "claude", "max_tokens": 1000})
            path = b"/v1/chat/completions" if openai else b"/v1/messages"
            tasks.append(asyncio.create_task(stream(house.port, path, body)))
        async with asyncio.timeout(20):
            while house.metric("ostiary_open_streams") < many:
                await asyncio.sleep(0.05)
        house.send(signal.SIGTERM)
        told = time.monotonic()
        async with asyncio.timeout(5):
            while connects(house.port):
                await asyncio.sleep(0.01)
        refused = time.monotonic() - told
        return refused, await asyncio.gather(*tasks)

    try:
        refused, results = asyncio.run(all_of_them())
        assert house.process.wait(20) == 0
        house.ended()
    finally:
        own.stop()
    print(f"no new connection {refused:.3f} s after SIGTERM")
    assert refused < 1.0
    for i, (head, body) in enumerate(results):
        assert head.startswith(b"HTTP/1.1 200"), (i, head, body)
        assert body.endswith(b"0\r\n\r\n"), (i, body[-300:])
        openai = i % 4 < 2
        if i % 2 == 0:
            assert (b"data: [DONE]" if openai else b"event: message_stop") in body, (i, body[-300:])
            assert b"gateway.draining" not in body
        else:
            last = body.removesuffix(b"0\r\n\r\n").strip().splitlines()
            assert b"gateway.draining" in body, (i, body[-300:])
            assert (b"event: error" in last) is not openai, last[-4:]
            assert b"[DONE]" not in body
            assert b"message_stop" not in body
    opened, outcomes = counts(house)
    assert opened == many
    assert outcomes == {"succeeded": many // 2, "failed": many // 2}
    assert [report["problems"] for report in house.verify()] == [[]]


def connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_readiness_is_gone_at_once_and_connections_still_accepted_for_the_notice(tmp_path, provider):
    """Beyond loopback a balancer must have time to notice: for a moment new connections are served, and told."""
    house = House(tmp_path, provider.port, drain=8, server=", insecure: true, drain_notice_seconds: 1.5")
    house.file.write_text(house.file.read_text().replace("server: {host: 127.0.0.1", "server: {host: 0.0.0.0"))
    with house.start():
        assert house.ask("GET", "/readyz", key=None).status == 200
        house.send(signal.SIGTERM)
        told = time.monotonic()
        answer = until(lambda: (a := house.ask("GET", "/readyz", key=None)).status == 503 and a, 1.0, "not ready")
        print(f"not ready {time.monotonic() - told:.3f} s after SIGTERM")
        assert answer.body == b"draining\n"
        assert house.ask("GET", "/livez", key=None).status == 200
        served = house.chat()
        assert served.status == 200
        assert served.headers["connection"] == "close"
        assert house.process.wait(10) == 0


def test_a_second_signal_ends_the_grace(tmp_path, provider):
    house = House(tmp_path, provider.port, drain=60)
    with house.start():
        provider.then(Behaviour(tokens=900, tokens_per_second=10.0))

        async def interrupted():
            task = asyncio.create_task(
                stream(
                    house.port,
                    b"/v1/chat/completions",
                    {"model": "chat", "messages": [{"role": "user", "content": "x"}]},
                )
            )
            async with asyncio.timeout(10):
                while house.metric("ostiary_open_streams") < 1:
                    await asyncio.sleep(0.02)
            house.send(signal.SIGINT)
            async with asyncio.timeout(5):
                while connects(house.port):
                    await asyncio.sleep(0.01)
            assert not task.done()
            house.send(signal.SIGINT)
            return await asyncio.wait_for(task, 5)

        _, body = asyncio.run(interrupted())
        assert b"gateway.draining" in body
        assert house.process.wait(10) == 0
    assert counts(house)[1] == {"failed": 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_at_any_moment_of_the_start_leaves_nothing_behind(tmp_path, provider, number):
    """Told so early that hardly anything is there yet: whatever it had come to is ended."""
    for number_of_children in (0, 2):
        house = House(tmp_path, provider.port)
        house.spawn()
        until(lambda: len(house.pids()) >= number_of_children or house.process.poll() is not None, 20)
        house.send(number)
        if number == signal.SIGHUP:  # an end as long as nobody minds it, at most a reload from then on
            until(lambda: house.announced() or house.process.poll() is not None, READY_SECONDS)
            assert not [line for line in house.err if "ended with status" in line]
            if number_of_children:
                assert house.process.poll() is None
            if house.process.poll() is None:
                house.send(signal.SIGTERM)
        try:
            house.process.wait(15)
        except subprocess.TimeoutExpired:
            house.kill()
            raise
        house.ended()
    with House(tmp_path, provider.port).start() as house:
        assert house.chat().status == 200
