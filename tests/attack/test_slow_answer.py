"""Long plain answers to clients that read slowly, steadily or not at all: what the server holds, and for how long."""

import asyncio

from ostiary.serving import connection as connection_module
from tests.unit.serving.harness import Echo, request, serving

LONG = 24 * 1024 * 1024
"""More than the kernel's buffers on loopback take."""


class Long(Echo):
    """POST /long answers many megabytes at once."""

    async def serve(self, accepted, body, sink):
        if accepted.context.path == b"/long":
            self.started.set()
            sink.answer(200, (), b"x" * LONG)
        else:
            await super().serve(accepted, body, sink)


async def opened(server, **options):
    return await asyncio.open_connection("127.0.0.1", server.port, limit=16_384, **options)


async def test_at48_a_client_that_takes_a_long_answer_at_a_fair_pace_is_not_cut(monkeypatch):
    monkeypatch.setattr(connection_module, "WRITE_STALL_SECONDS_MAX", 0.15)
    monkeypatch.setattr(connection_module, "_TICK_SECONDS", 0.02)
    async with serving(Long()) as server:
        reader, writer = await opened(server)
        writer.write(request(path=b"/long"))
        got = 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(20):
            while data := await reader.read(256 * 1024):
                got += len(data)
                # As fast as one reads who needs many times the stall's bound for the whole.
                while got / LONG > (loop.time() - began) / 0.9:
                    await asyncio.sleep(0.005)
        assert got > LONG
        assert loop.time() - began > 0.5
        assert server.stalled == 0
        writer.close()
        await writer.wait_closed()


async def test_at48_a_client_that_takes_nothing_of_a_long_answer_is_cut(monkeypatch):
    monkeypatch.setattr(connection_module, "WRITE_STALL_SECONDS_MAX", 0.1)
    monkeypatch.setattr(connection_module, "_TICK_SECONDS", 0.02)
    for close in (True, False):
        async with serving(Long()) as server:
            _, writer = await opened(server)
            writer.write(request(path=b"/long", close=close))
            async with asyncio.timeout(10):
                await server.app.started.wait()
                while server.connections:
                    await asyncio.sleep(0.01)
            assert server.stalled == 1
            writer.transport.abort()


async def test_a_connection_that_had_a_long_answer_still_ends_when_it_is_idle(monkeypatch):
    """The bound on idle connections held for those only whose answers never filled the buffer."""
    monkeypatch.setattr(connection_module, "KEEPALIVE_IDLE_SECONDS_MAX", 0.2)
    monkeypatch.setattr(connection_module, "_TICK_SECONDS", 0.02)
    async with serving(Long()) as server:
        reader, writer = await opened(server)
        writer.write(request(path=b"/long", close=False))
        async with asyncio.timeout(20):
            while await reader.read(1 << 20):
                pass
            while server.connections:
                await asyncio.sleep(0.01)
        assert server.stalled == 0
        writer.close()
        await writer.wait_closed()
