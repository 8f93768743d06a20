"""A WebSocket to an upstream: against a library nobody here wrote, and against answers to a handshake that are none."""

import asyncio
import contextlib

import pytest
from websockets.asyncio.server import serve

from ostiary.bootstrap.system import SystemClock
from ostiary.core.error import Code, GatewayError, UpstreamError
from ostiary.core.http import Answer
from ostiary.net.client import HttpUpstream
from ostiary.net.head import HeadEncoder
from ostiary.testing.upstream import upstream_request
from ostiary.websocket.frame import Opcode, frame
from ostiary.websocket.handshake import accept_value

CLOCK = SystemClock()
HEADERS = ((b"authorization", b"Bearer sk-test"),)


def asked(port, **fields):
    return upstream_request(
        CLOCK, port, method=b"GET", target=b"/v1/realtime?model=x", headers=HEADERS, body=b"", **fields
    )


@contextlib.asynccontextmanager
async def upstream(**options):
    client = HttpUpstream(CLOCK, vet=lambda address: None, **options)
    try:
        yield client
    finally:
        await client.aclose()


@contextlib.asynccontextmanager
async def answering(answer):
    """A peer that reads one head and answers what `answer` makes of it."""
    heads, running = [], set()

    async def handle(reader, writer):
        running.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head)
            key = next(line[19:] for line in head.split(b"\r\n") if line.startswith(b"sec-websocket-key: "))
            writer.write(answer(accept_value(key)))
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        running.discard(writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()
        async with asyncio.timeout(5):
            while running:
                await asyncio.sleep(0)


def switched(accept, *more, behind=b""):
    lines = (b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: upgrade")
    accepted = () if accept is None else (b"Sec-WebSocket-Accept: " + accept,)
    return b"\r\n".join((*lines, *accepted, *more, b"", b"")) + behind


async def test_it_talks_to_a_server_that_nobody_here_wrote():
    seen = {}

    async def handle(peer):
        seen.update(path=peer.request.path, key=peer.request.headers["authorization"])
        seen["extensions"] = peer.request.headers.get("sec-websocket-extensions")
        async for message in peer:
            await peer.send(message)
        seen["code"] = peer.close_code

    async with serve(handle, "127.0.0.1", 0) as server, upstream() as client:
        channel = await client.connect(asked(server.sockets[0].getsockname()[1]), ())
        for message in (b"", b"one", b"x" * 126, b"y" * 70_000, "ä".encode() * 200_000):
            await channel.send(message)
            assert await channel.receive() == message
        channel.close(1000)
        assert await channel.receive() is None
        async with asyncio.timeout(5):
            while "code" not in seen:
                await asyncio.sleep(0)
    assert seen == {"path": "/v1/realtime?model=x", "key": "Bearer sk-test", "extensions": None, "code": 1000}


async def test_the_servers_end_is_told_with_its_code():
    async def handle(peer):
        await peer.send("last words")
        await peer.close(4002, "enough")

    async with serve(handle, "127.0.0.1", 0) as server, upstream() as client:
        channel = await client.connect(asked(server.sockets[0].getsockname()[1]), ())
        assert await channel.receive() == b"last words"
        assert await channel.receive() is None
        assert (channel.code, channel.reason, channel.breached) == (4002, "enough", False)
        channel.close(1000)


async def test_masks_are_drawn_anew_for_each_frame_and_never_guessed():
    drawn = []

    def entropy(size):
        drawn.append(size)
        return bytes([len(drawn)] * size)

    async with answering(lambda accept: switched(accept)) as (port, _), upstream(entropy=entropy) as client:
        channel = await client.connect(asked(port), ())
        await channel.send(b"a")
        await channel.send(b"a")
        assert drawn == [16, 4, 4]


async def test_bytes_that_come_with_the_answer_are_not_lost():
    first = frame(Opcode.TEXT, b"first")
    async with answering(lambda accept: switched(accept, behind=first)) as (port, _), upstream() as client:
        channel = await client.connect(asked(port), ())
        assert await channel.receive() == b"first"


async def test_an_interim_answer_is_passed_over():
    def answer(accept):
        return b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + switched(accept)

    async with answering(answer) as (port, _), upstream() as client:
        channel = await client.connect(asked(port), ())
        assert not isinstance(channel, Answer)


@pytest.mark.parametrize(
    "answer",
    {
        "another key's": lambda accept: switched(accept_value(b"another")),
        "no accept value": lambda accept: switched(None),
        "two": lambda accept: switched(accept, b"sec-websocket-accept: " + accept),
        "an extension": lambda accept: switched(accept, b"sec-websocket-extensions: permessage-deflate"),
        "a subprotocol": lambda accept: switched(accept, b"sec-websocket-protocol: chat"),
        "another protocol": lambda accept: switched(accept).replace(b"websocket\r\n", b"h2c\r\n"),
        "no upgrade": lambda accept: switched(accept).replace(b"Upgrade: websocket\r\n", b""),
        "no connection": lambda accept: switched(accept).replace(b"Connection: upgrade", b"Connection: close"),
        "no HTTP": lambda accept: b"SSH-2.0\r\n\r\n",
        "endless headers": lambda accept: b"HTTP/1.1 101 x\r\n" + b"a: b\r\n" * 1_000,
        "an endless head": lambda accept: b"HTTP/1.1 101 x\r\na: " + b"b" * 200_000,
        "an endless error": lambda accept: b"HTTP/1.1 400 x\r\ncontent-length: 999999\r\n\r\n" + b"b" * 500_000,
    }.values(),
)
async def test_what_is_no_answer_to_our_handshake_is_refused(answer):
    async with answering(answer) as (port, _), upstream() as client:
        with pytest.raises(UpstreamError) as refused:
            await client.connect(asked(port), (b"realtime",))
        assert refused.value.code is Code.UPSTREAM_PROTOCOL
        assert client._channels._taken == 0


@pytest.mark.parametrize("framing", [b"content-length: 4\r\n\r\nnope", b"connection: close\r\n\r\nnope"])
async def test_another_status_is_the_providers_answer(framing):
    def answer(accept):
        return b"HTTP/1.1 401 Unauthorized\r\nx-a: b\r\n" + framing

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b""))
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with upstream() as client:
        found = await client.connect(asked(server.sockets[0].getsockname()[1]), ())
        assert isinstance(found, Answer)
        assert (found.status, found.body) == (401, b"nope")
        assert client._channels._taken == 0
    server.close()


async def test_no_answer_ends_in_time_and_leaves_nothing_open():
    async with answering(lambda accept: b"") as (port, _), upstream() as client:
        with pytest.raises(UpstreamError) as refused:
            await client.connect(asked(port, first_byte_seconds=0.05), ())
        assert refused.value.code is Code.UPSTREAM_TIMEOUT
        assert client._channels._taken == 0


async def test_a_connection_that_ends_without_an_answer():
    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with upstream() as client:
        with pytest.raises(UpstreamError) as refused:
            await client.connect(asked(server.sockets[0].getsockname()[1]), ())
        assert refused.value.code is Code.UPSTREAM_CUT
    server.close()


async def test_a_cancelled_handshake_leaves_nothing_open():
    async with answering(lambda accept: b"") as (port, heads), upstream() as client:
        task = asyncio.get_running_loop().create_task(client.connect(asked(port), ()))
        async with asyncio.timeout(5):
            while not heads:
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client._channels._taken == 0


async def test_as_many_as_may_be_are_open_and_closing_the_client_drops_them():
    async with answering(lambda accept: switched(accept)) as (port, _):
        async with upstream(connections_per_destination_max=1) as client:
            channel = await client.connect(asked(port), ())
            with pytest.raises(GatewayError) as refused:
                await client.connect(asked(port), ())
            assert refused.value.code is Code.GATEWAY_OVERLOADED
            await client.aclose()
            assert await channel.receive() is None
            with pytest.raises(GatewayError) as refused:
                await client.connect(asked(port), ())
            assert refused.value.code is Code.GATEWAY_DRAINING


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\0"])
def test_a_handshake_cannot_be_split_by_a_header(value):
    encoder = HeadEncoder(asked(1).origin)
    with pytest.raises(GatewayError):
        encoder.handshake(b"/v1/realtime", ((b"openai-beta", value),), b"key", ())
    with pytest.raises(GatewayError):
        encoder.handshake(b"/v1/realtime", ((b"upgrade", b"x"),), b"key", ())


@pytest.mark.parametrize(
    "data", [frame(Opcode.TEXT, b"a", b"mask"), frame(Opcode.BINARY, b"a"), frame(Opcode.TEXT, b"\xff")]
)
async def test_a_provider_that_breaks_the_rules_ends_the_channel(data):
    async with answering(lambda accept: switched(accept, behind=data)) as (port, _), upstream() as client:
        channel = await client.connect(asked(port), ())
        assert await channel.receive() is None
        assert channel.breached
