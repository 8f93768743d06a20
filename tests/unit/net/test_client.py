"""The client against real sockets on this machine."""

import asyncio

import pytest

from ostiary.core.error import Code, GatewayError, UpstreamError
from ostiary.core.http import header
from ostiary.net.client import HttpUpstream
from ostiary.simulator.hostile import End, Forever, HostilePeer, Read, Wait
from ostiary.testing import Behaviour, Fault, SimulatedProvider
from ostiary.testing.upstream import CHAT_STREAM, upstream_request

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def failure(awaitable) -> Code:
    with pytest.raises((UpstreamError, GatewayError)) as caught:
        await awaitable
    return caught.value.code


async def test_a_plain_answer_is_read_and_its_connection_used_again(client, clock):
    async with SimulatedProvider() as provider:
        for _ in range(3):
            reply = await client.send(upstream_request(clock, provider.port))
            assert reply.status == 200
            assert header(reply.headers, b"x-ostiary-simulated") == b"true"
            assert b"simulated answer" in await reply.read(100_000)
            assert await reply.chunk() == b""
        assert provider.connections == 1
        assert client.idle_count == 1


async def test_the_request_arrives_as_written(client, clock):
    async with SimulatedProvider() as provider:
        request = upstream_request(clock, provider.port)
        await (await client.send(request)).read(100_000)
        got = provider.requests[0].request
        assert (got.method, got.path, got.body) == ("POST", "/v1/chat/completions", request.body)
        assert got.headers == (
            (b"host", b"127.0.0.1:%d" % provider.port),
            (b"accept-encoding", b"identity"),
            *request.headers,
            (b"content-length", b"%d" % len(request.body)),
        )


async def test_a_stream_arrives_piece_by_piece(client, clock):
    gates = [asyncio.Event() for _ in range(2)]
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    script = [Read(), head, Wait(gates[0]), b"3\r\none\r\n", Wait(gates[1]), b"3\r\ntwo\r\n0\r\n\r\n"]
    async with HostilePeer(script) as peer:
        reply = await client.send(upstream_request(clock, peer.port))
        gates[0].set()
        assert await reply.chunk() == b"one"
        gates[1].set()
        assert await reply.chunk() == b"two"
        assert await reply.chunk() == b""
        assert client.idle_count == 1


@pytest.mark.parametrize("size", [60_000, 3_000_000])
async def test_a_large_body_arrives_whole(client, clock, size):
    body = b'{"model":"sim-gpt","messages":"' + b"x" * size + b'"}'
    async with SimulatedProvider() as provider:
        reply = await client.send(upstream_request(clock, provider.port, body=body))
        await reply.read(100_000)
        assert provider.requests[0].request.body == body
        assert client.idle_count == 1


async def test_a_kept_connection_closed_by_the_server_is_not_used(client, clock):
    async with SimulatedProvider() as provider:
        await (await client.send(upstream_request(clock, provider.port))).read(100_000)
        provider.drop_idle()
        await provider.until(lambda: provider.open_connections == 0)
        await (await client.send(upstream_request(clock, provider.port))).read(100_000)
        assert provider.connections == 2
        assert len(provider.requests) == 2


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_a_kept_connection_that_closes_as_we_send_is_replaced_once(client, clock, end):
    """The race that cannot be seen beforehand: the server reads the request and closes without a byte."""
    async with HostilePeer([Read(), OK, Read(), end], [Read(), OK]) as peer:
        await (await client.send(upstream_request(clock, peer.port))).read(10)
        reply = await client.send(upstream_request(clock, peer.port))
        assert await reply.read(10) == b"ok"
        assert peer.connections == 2


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
@pytest.mark.parametrize("turns", range(6))
async def test_a_server_that_closes_right_after_its_answer_costs_no_request(client, clock, end, turns):
    """However early the next request comes: before the end was read, as it is read, or after."""
    count = 5
    body = b"x" * 200_000 if turns % 2 else b"{}"
    async with HostilePeer(*([Read(), OK, end] for _ in range(count))) as peer:
        for _ in range(count):
            reply = await client.send(upstream_request(clock, peer.port, body=body))
            assert await reply.read(10) == b"ok"
            for _ in range(turns):
                await asyncio.sleep(0)
        assert peer.connections == count


async def test_a_new_connection_that_closes_without_an_answer_is_not_retried(client, clock):
    async with HostilePeer([Read(), End.CLOSE]) as peer:
        assert await failure(client.send(upstream_request(clock, peer.port))) == Code.UPSTREAM_CUT
        assert peer.connections == 1


async def test_the_repetition_is_not_repeated(client, clock):
    async with HostilePeer([Read(), OK, Read(), End.CLOSE], [Read(), End.CLOSE]) as peer:
        await (await client.send(upstream_request(clock, peer.port))).read(10)
        assert await failure(client.send(upstream_request(clock, peer.port))) == Code.UPSTREAM_CUT
        assert peer.connections == 2


async def test_nothing_is_repeated_after_a_byte_of_the_answer(client, clock):
    async with HostilePeer([Read(), OK, Read(), b"H", End.CLOSE], [Read(), OK]) as peer:
        await (await client.send(upstream_request(clock, peer.port))).read(10)
        assert await failure(client.send(upstream_request(clock, peer.port))) == Code.UPSTREAM_CUT
        assert peer.connections == 1


async def test_nothing_is_repeated_after_a_timeout(client, clock):
    async with HostilePeer([Read(), OK, Read()], [Read(), OK]) as peer:
        await (await client.send(upstream_request(clock, peer.port))).read(10)
        request = upstream_request(clock, peer.port, first_byte_seconds=0.02)
        assert await failure(client.send(request)) == Code.UPSTREAM_TIMEOUT
        assert peer.connections == 1


async def test_cancelling_before_the_head_closes_the_connection(client, clock):
    async with SimulatedProvider(Behaviour(fault=Fault.HANG)) as provider:
        task = asyncio.get_running_loop().create_task(client.send(upstream_request(clock, provider.port)))
        await provider.until(lambda: len(provider.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await provider.until(lambda: provider.requests[0].cancelled)
        assert client.idle_count == 0


async def test_cancelling_while_reading_closes_the_connection(client, clock):
    async with SimulatedProvider(Behaviour(fault=Fault.STALL)) as provider:
        reply = await client.send(upstream_request(clock, provider.port, body=CHAT_STREAM))
        task = asyncio.get_running_loop().create_task(reply.read(100_000))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await provider.until(lambda: provider.requests[0].cancelled)


async def test_closing_a_reply_before_its_end_closes_the_connection(client, clock):
    async with SimulatedProvider(Behaviour(fault=Fault.INFINITE)) as provider:
        reply = await client.send(upstream_request(clock, provider.port, body=CHAT_STREAM))
        assert await reply.chunk()
        reply.close()
        reply.close()
        await provider.until(lambda: provider.requests[0].cancelled)
        assert await failure(reply.chunk()) == Code.UPSTREAM_CUT


async def test_closing_a_reply_after_its_end_keeps_the_connection(client, clock):
    async with SimulatedProvider() as provider:
        for _ in range(2):
            reply = await client.send(upstream_request(clock, provider.port))
            await reply.read(100_000)
            reply.close()
        assert provider.connections == 1


async def test_an_old_reply_cannot_harm_the_next_one(client, clock):
    async with SimulatedProvider() as provider:
        first = await client.send(upstream_request(clock, provider.port))
        await first.read(100_000)
        second = await client.send(upstream_request(clock, provider.port, body=CHAT_STREAM))
        first.close()
        assert b"[DONE]" in await second.read(100_000)
        assert provider.connections == 1


async def test_a_redirect_is_handed_back(client, clock):
    script = [Read(), b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"]
    async with HostilePeer(script) as peer:
        reply = await client.send(upstream_request(clock, peer.port))
        assert (reply.status, header(reply.headers, b"location")) == (302, b"http://169.254.169.254/")
        assert await reply.read(10) == b""
        assert peer.connections == 1


async def test_a_body_that_ends_with_the_connection_is_whole_only_after_fin(client, clock):
    head = b"HTTP/1.1 200 OK\r\n\r\nall"
    async with HostilePeer([Read(), head, End.CLOSE], [Read(), head, End.RESET]) as peer:
        assert await (await client.send(upstream_request(clock, peer.port))).read(10) == b"all"
        assert await failure(_read(client, upstream_request(clock, peer.port))) == Code.UPSTREAM_CUT
        assert client.idle_count == 0


async def _read(client, request):
    return await (await client.send(request)).read(1_000_000)


async def test_bytes_before_a_cut_are_handed_out(client, clock):
    async with SimulatedProvider(Behaviour(fault=Fault.CUT, after=2)) as provider:
        reply = await client.send(upstream_request(clock, provider.port, body=CHAT_STREAM))
        got = b""
        with pytest.raises(UpstreamError) as caught:
            while piece := await reply.chunk():
                got += piece
        assert caught.value.code == Code.UPSTREAM_CUT
        assert got.count(b"data: ") == 2


async def test_an_answer_longer_than_asked_for_is_refused_and_dropped(client, clock):
    async with SimulatedProvider() as provider:
        assert await failure(_bounded(client, upstream_request(clock, provider.port), 10)) == Code.UPSTREAM_TOO_LARGE
    async with SimulatedProvider(Behaviour(fault=Fault.INFINITE)) as provider:
        request = upstream_request(clock, provider.port, body=CHAT_STREAM)
        assert await failure(_bounded(client, request, 100_000)) == Code.UPSTREAM_TOO_LARGE
        await provider.until(lambda: provider.requests[0].cancelled)


async def _bounded(client, request, bytes_max):
    return await (await client.send(request)).read(bytes_max)


async def test_a_slow_reader_stops_the_provider(client, clock):
    """What the provider can push is bounded by our buffer and the kernel's, however long nobody reads."""
    data = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with HostilePeer([Read(), head, Forever(data)]) as peer:
        reply = await client.send(upstream_request(clock, peer.port))
        pushed = -1
        while pushed != peer.sent:  # until it has been stuck for a while
            pushed = peer.sent
            await asyncio.sleep(0.05)
        assert reply.received < 1_000_000
        stuck = peer.sent
        while peer.sent < stuck + 10 * len(data):
            assert await reply.chunk()
        reply.close()
        await asyncio.wait_for(peer.gone.wait(), 5)


async def test_the_readers_own_slowness_is_not_the_providers(client, clock):
    """While reading is paused the idle timeout does not run."""
    data = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with HostilePeer([Read(), head, *([data] * 200), b"0\r\n\r\n"]) as peer:
        reply = await client.send(upstream_request(clock, peer.port, idle_seconds=0.05))
        while not reply.full():
            await asyncio.sleep(0)
        await asyncio.sleep(0.15)
        assert len(await reply.read(20_000_000)) == 200 * 65_536


@pytest.mark.parametrize(
    ("bounds", "fault", "body"),
    [
        ({"first_byte_seconds": 0.03}, Fault.HANG, b""),
        ({"total_seconds": 0.03}, Fault.HANG, b""),
        ({"idle_seconds": 0.03}, Fault.STALL, CHAT_STREAM),
        ({"total_seconds": 0.05}, Fault.STALL, CHAT_STREAM),
        ({"total_seconds": 0.05}, Fault.INFINITE, CHAT_STREAM),
    ],
)
async def test_every_phase_ends(client, clock, bounds, fault, body):
    async with SimulatedProvider(Behaviour(fault=fault)) as provider:
        request = upstream_request(clock, provider.port, body=body, **bounds)
        assert await failure(_forever(client, request)) == Code.UPSTREAM_TIMEOUT
        await provider.until(lambda: provider.open_connections == 0)
        assert client.open_count == 0


async def _forever(client, request):
    reply = await client.send(request)
    while await reply.chunk():
        pass


async def test_no_time_left_sends_nothing(client, clock):
    assert await failure(client.send(upstream_request(clock, 1, total_seconds=0))) == Code.UPSTREAM_TIMEOUT


async def test_a_refused_connection_is_unreachable(client, clock):
    async with HostilePeer([]) as peer:
        port = peer.port
    assert await failure(client.send(upstream_request(clock, port))) == Code.UPSTREAM_UNREACHABLE
    assert client.open_count == 0


async def test_a_header_cannot_be_injected(client, clock):
    async with SimulatedProvider() as provider:
        request = upstream_request(clock, provider.port, headers=((b"authorization", b"Bearer x\r\nx-evil: 1"),))
        assert await failure(client.send(request)) == Code.GATEWAY_INTERNAL
        assert provider.connections == 0


async def test_connections_are_bounded_and_waiting_for_one_ends(clock):
    client = HttpUpstream(clock, connections_per_destination_max=1)
    async with SimulatedProvider(script=[Behaviour(fault=Fault.STALL)]) as provider:
        held = await client.send(upstream_request(clock, provider.port, body=CHAT_STREAM))
        waiting = upstream_request(clock, provider.port, connect_seconds=0.03)
        assert await failure(client.send(waiting)) == Code.GATEWAY_OVERLOADED
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(_read(client, upstream_request(clock, provider.port))) for _ in range(5)]
        await asyncio.sleep(0)
        held.close()
        assert all(b"simulated" in body for body in await asyncio.gather(*tasks))
        assert provider.connections == 2
        assert client.open_count == 1
    await client.aclose()


async def test_many_at_once(client, clock):
    async with SimulatedProvider() as provider:
        bodies = await asyncio.gather(*(_read(client, upstream_request(clock, provider.port)) for _ in range(200)))
        assert all(b"simulated" in body for body in bodies)
        assert client.idle_count == client.open_count == provider.open_connections


async def test_closing_ends_what_is_open_and_refuses_what_comes(clock):
    client = HttpUpstream(clock)
    async with SimulatedProvider(script=[Behaviour(), Behaviour(fault=Fault.STALL)]) as provider:
        await _read(client, upstream_request(clock, provider.port))
        reply = await client.send(upstream_request(clock, provider.port, body=CHAT_STREAM))
        await client.aclose()
        assert client.open_count == 0
        await provider.until(lambda: provider.open_connections == 0)
        with pytest.raises(UpstreamError):
            await reply.read(1_000_000)
        assert await failure(client.send(upstream_request(clock, provider.port))) == Code.GATEWAY_DRAINING
    await client.aclose()


async def test_an_early_answer_to_a_half_sent_body_is_read_and_the_connection_dropped(client, clock):
    answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nmuch"
    async with HostilePeer([Read(1_000), answer, Wait(asyncio.Event())]) as peer:
        reply = await client.send(upstream_request(clock, peer.port, body=b"x" * 30_000_000))
        assert (reply.status, await reply.read(10)) == (413, b"much")
        assert client.idle_count == 0
