"""What becomes of connections under overload: after a refusal one may be used again where that is cheap, and where memory
runs out those that hold most are ended (FD-36)."""

import asyncio
import re

import pytest

from ostiary.core.http import Answer
from ostiary.core.limit import LARGE_BODY_BYTES_MIN, REFUSED_BODY_BYTES_MAX, RESET_BYTES_MIN
from ostiary.gateway.ports import SHED
from tests.unit.serving.harness import TEXT, Echo, request, serving, talk


class Busy(Echo):
    """Refuses the first `refusals` requests for overload."""

    refusals = 1

    def accept(self, head):
        if self.refusals:
            self.refusals -= 1
            self.heads.append(head)
            return Answer(503, (TEXT, (b"retry-after", b"1")), b"later")
        return super().accept(head)


async def test_a_short_body_is_thrown_away_and_the_connection_goes_on():
    async with serving(Busy()) as server:
        told = await talk(server, request(body=b"first", close=False) + request(body=b"second"))
    assert told.count(b"HTTP/1.1 503") == 1
    assert told.endswith(b"second")
    assert server.app.bodies == [b"second"], "the refused one was never handled"
    assert server.body_bytes == 0


async def test_a_long_body_is_not_read():
    async with serving(Busy()) as server:
        told = await talk(server, request(body=b"a" * (REFUSED_BODY_BYTES_MAX + 1), close=False))
    assert told.startswith(b"HTTP/1.1 503")
    assert b"connection: close" in told


@pytest.mark.parametrize(
    "extra",
    [b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"],
    ids=["expect", "chunks"],
)
async def test_who_waits_for_a_word_before_its_body_and_who_does_not_say_its_length_is_answered_at_once(extra):
    async with serving(Busy()) as server:
        told = await talk(server, b"POST /echo HTTP/1.1\r\nHost: a\r\n" + extra + b"\r\n")
    assert told.startswith(b"HTTP/1.1 503")
    assert b"connection: close" in told
    assert b"100 Continue" not in told


async def test_an_interim_word_never_overtakes_the_answer_before_it():
    second = (
        b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    )
    async with serving(Busy()) as server:
        told = await talk(server, b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n" + second)
    assert re.findall(rb"HTTP/1.1 (\d+)", told) == [b"503", b"100", b"200"]


# --- memory -------------------------------------------------------------------------------------------------


class Holding(Echo):
    """Waits with each body until it is cancelled, then says why as its answer."""

    async def serve(self, accepted, body, sink):
        self.bodies.append(body)
        try:
            await self.release.wait()
        except asyncio.CancelledError as cancelled:
            sink.answer(503, (TEXT,), b"%d %b" % (len(body), str(cancelled).encode()))


async def hold(server, *sizes):
    """Calls under way with bodies of these sizes."""
    calls = [asyncio.create_task(talk(server, request(path=b"/hang", body=bytes(size), close=False))) for size in sizes]
    async with asyncio.timeout(5):
        while len(server.app.bodies) < len(sizes):
            await asyncio.sleep(0)
    return dict(zip(sizes, calls, strict=True))


async def test_fd36_the_call_that_holds_most_is_ended_first_told_why_and_its_connection_closed():
    async with serving(Holding()) as server:
        calls = await hold(server, 300_000, 900_000, 500_000)
        assert server.shed(1) == [900_000]
        told = await calls[900_000]
        assert told.endswith(b"900000 " + SHED.encode())
        assert b"connection: close" in told
        assert not calls[500_000].done()
        assert server.body_bytes == 800_000


async def test_fd36_as_many_are_ended_as_are_needed_and_each_once():
    async with serving(Holding()) as server:
        calls = await hold(server, 300_000, 900_000, 500_000)
        assert server.shed(900_001) == [900_000, 500_000]
        assert server.shed(1) == [300_000], "the others are ending"
        assert server.shed(1) == []
        await asyncio.gather(*calls.values())
        assert server.body_bytes == 0


async def test_fd36_calls_that_hold_little_are_never_ended():
    async with serving(Holding()) as server:
        await hold(server, RESET_BYTES_MIN - 1)
        assert server.shed(1 << 30) == []


async def test_fd36_a_client_that_does_not_read_is_dropped_at_once():
    application = Echo()
    application.chunks = [bytes(1_000_000)] * 100
    async with serving(application) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.write(request(path=b"/stream"))
        async with asyncio.timeout(5):
            while not any(peer.held_bytes >= RESET_BYTES_MIN for peer in server._connections):
                await asyncio.sleep(0)
        (held,) = server.shed(1)
        assert held >= RESET_BYTES_MIN
        async with asyncio.timeout(5):
            await application.cancelled.wait()
            while server.connections:
                await asyncio.sleep(0)
        writer.close()


async def test_fd36_where_memory_is_scarce_large_bodies_are_refused_and_small_ones_are_not():
    async with serving() as server:
        server.bodies_bytes_max = 0
        told = await talk(server, request(body=bytes(2 * LARGE_BODY_BYTES_MIN)))
        assert told.startswith(b"HTTP/1.1 503")
        assert (await talk(server, request(body=b"small"))).endswith(b"small")
        assert server.body_bytes == 0
