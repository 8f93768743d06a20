"""Clients of a WebSocket, well-behaved (a library nobody here wrote) and hostile (bytes), against the real server."""

import asyncio
import base64
import contextlib
import socket
import ssl
import tempfile

import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ostiary.bootstrap.system import SystemClock
from ostiary.core.http import Accepted
from ostiary.core.limit import (
    LINGER_SECONDS_MAX,
    UNSENT_BYTES_MAX,
    WEBSOCKET_MESSAGE_BYTES_MAX,
    WEBSOCKET_QUEUE_BYTES_MAX,
    WRITE_BUFFER_BYTES_MAX,
)
from ostiary.net.client import HttpUpstream
from ostiary.snapshot.tables import TlsRow
from ostiary.testing.upstream import upstream_request
from ostiary.websocket import link as link_module
from ostiary.websocket.frame import Close, Opcode, Pong, Reader, Text, close_payload, frame
from ostiary.websocket.handshake import accept_value
from tests.unit.serving.harness import Echo, serving

MASK = b"\x11\x22\x33\x44"
KEY = base64.b64encode(b"0123456789abcdef")


class Talk(Echo):
    """GET /ws is upgraded; what comes is sent back, unless a test plays another part in `play`."""

    def __init__(self, play=None):
        super().__init__()
        self.play = play or self.echo
        self.channel = None
        self.over = asyncio.Event()
        self.hold = None

    def accept(self, head):
        if head.path == b"/ws" and b"upgrade" in head.headers:
            return Accepted(0, head)
        return super().accept(head)

    async def serve(self, accepted, body, sink):
        if accepted.context.path != b"/ws":
            return await super().serve(accepted, body, sink)
        try:
            self.started.set()
            if self.hold is not None:
                await self.hold.wait()
            self.channel = sink.upgrade(((b"x-own", b"1"),))
            await self.play(self.channel)
        except asyncio.CancelledError:
            self.cancelled.set()
            if self.channel is not None:
                self.channel.close(1012)
        finally:
            self.over.set()

    async def echo(self, channel):
        while (message := await channel.receive()) is not None:
            await channel.send(message)
        channel.close(1000)


def handshake(*, method=b"GET", path=b"/ws", version=b"HTTP/1.1", **headers):
    lines = {
        "host": b"a",
        "upgrade": b"websocket",
        "connection": b"Upgrade",
        "sec-websocket-version": b"13",
        "sec-websocket-key": KEY,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = [b"%b %b %b" % (method, path, version)]
    head += [b"%b: %b" % (name.encode(), value) for name, value in lines.items() if value is not None]
    return b"\r\n".join((*head, b"", b""))


class Raw:
    """A client in bytes, its handshake done."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.frames = Reader(masked=False)
        self.events = []

    def send(self, *parts):
        self.writer.write(b"".join(parts))

    async def next(self):
        """The next event of the server's; None at the end."""
        async with asyncio.timeout(5):
            while not self.events:
                data = await self.reader.read(65_536)
                if not data:
                    return None
                self.events += self.frames.feed(data)
        return self.events.pop(0)


@contextlib.asynccontextmanager
async def raw(server, *behind):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(handshake())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"sec-websocket-accept: " + accept_value(KEY) in head
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def text(data, mask=MASK):
    return frame(Opcode.TEXT, data, mask)


async def until_gone(server):
    async with asyncio.timeout(5):
        while server.connections or server.busy:
            await asyncio.sleep(0)
    assert server.body_bytes == 0


# --- a library ----------------------------------------------------------------------------------------------


async def test_a_client_that_nobody_here_wrote_talks_and_leaves():
    async with serving(Talk()) as server:
        async with connect(f"ws://127.0.0.1:{server.port}/ws", proxy=None) as client:
            assert client.response.headers["x-own"] == "1"
            assert "Sec-WebSocket-Extensions" not in client.response.headers, "compression is not agreed to"
            for message in ("", "ä", "x" * 200, "y" * 70_000, "z" * 300_000):
                await client.send(message)
                assert await client.recv() == message
            await client.send(["in ", "pieces ", ""])
            assert await client.recv() == "in pieces "
            await (await client.ping())
        assert client.close_code == 1000
        await until_gone(server)


async def test_under_tls_both_ends_talk_as_in_clear():
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(theirs)
    talk = Talk()
    async with serving(talk, ours) as server:
        async with connect(f"wss://127.0.0.1:{server.port}/ws", proxy=None, ssl=theirs) as client:
            for message in ("one", "y" * 300_000):
                await client.send(message)
                assert await client.recv() == message
        await until_gone(server)
        with tempfile.NamedTemporaryFile() as bundle:
            authority.cert_pem.write_to_path(bundle.name)
            clock = SystemClock()
            upstream = HttpUpstream(clock)
            request = upstream_request(
                clock,
                server.port,
                method=b"GET",
                target=b"/ws",
                body=b"",
                scheme="https",
                tls=TlsRow(ca_file=bundle.name),
            )
            channel = await upstream.connect(request, ())
            for message in (b"one", b"y" * 300_000):
                await channel.send(message)
                assert await channel.receive() == message
            channel.close(1000)
            assert await channel.receive() is None
            await until_gone(server)
            await upstream.aclose()


async def test_the_servers_close_reaches_the_client_with_code_and_reason():
    async def play(channel):
        channel.close(4001, "because")

    async with serving(Talk(play)) as server:
        async with connect(f"ws://127.0.0.1:{server.port}/ws", proxy=None) as client:
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert (client.close_code, client.close_reason) == (4001, "because")
        await until_gone(server)


async def test_what_is_refused_before_the_upgrade_is_an_ordinary_answer():
    async with serving(Talk()) as server:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{server.port}/refused", proxy=None)
        assert refused.value.response.status_code == 401
        assert refused.value.response.body == b"no key"
        await until_gone(server)


async def test_a_drain_cancels_what_is_open_and_the_client_is_told_to_come_again():
    talk = Talk()
    async with serving(talk) as server:
        client = await connect(f"ws://127.0.0.1:{server.port}/ws", proxy=None)
        await client.send("one")
        await client.recv()
        draining = asyncio.get_running_loop().create_task(server.drain(0.0))
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1012
        await draining
        assert talk.cancelled.is_set()
        assert talk.channel.draining


# --- handshakes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "status"),
    {
        "another version": (handshake(sec_websocket_version=b"8"), 426),
        "no version": (handshake(sec_websocket_version=None), 426),
        "no key": (handshake(sec_websocket_key=None), 400),
        "a short key": (handshake(sec_websocket_key=b"AAAA"), 400),
        "a key that is none": (handshake(sec_websocket_key=b"\x01" * 24), 400),
        "no connection": (handshake(connection=b"keep-alive", content_length=b"0"), 400),
        "a body": (handshake(content_length=b"5") + b"hello", 400),
        "chunks": (handshake(transfer_encoding=b"chunked") + b"0\r\n\r\n", 400),
        "HTTP/1.0": (handshake(version=b"HTTP/1.0"), 400),
        "expectation": (handshake(expect=b"100-continue"), 400),
        "two keys": (handshake().replace(b"\r\n\r\n", b"\r\nsec-websocket-key: " + KEY + b"\r\n\r\n"), 400),
        "two upgrades": (handshake().replace(b"\r\n\r\n", b"\r\nupgrade: websocket\r\n\r\n"), 400),
    }.values(),
)
async def test_a_handshake_that_is_none_is_refused_and_the_connection_ends(head, status):
    async with serving(Talk()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"connection: close" in answer
        assert server.app.channel is None


async def test_a_handshake_in_single_bytes_is_taken():
    async with serving(Talk()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for byte in handshake(connection=b"keep-alive, Upgrade", upgrade=b"WebSocket"):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 101")
        writer.close()
        await until_gone(server)


@pytest.mark.parametrize("behind", [text(b"early"), b"GET /get HTTP/1.1\r\nhost: a\r\n\r\n", b"\0"])
async def test_bytes_behind_an_offer_drop_the_connection(behind):
    """An intermediary that does not know of the upgrade would take them for the next request."""
    talk = Talk()
    talk.hold = asyncio.Event()
    async with serving(talk) as server:
        for together in (True, False):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            if together:
                writer.write(handshake() + behind)
            else:
                writer.write(handshake())
                await talk.started.wait()
                writer.write(behind)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            await until_gone(server)
            assert talk.channel is None
            assert all(head.path == b"/ws" for head in talk.heads)


async def test_an_offer_that_the_application_does_not_take_ends_the_connection():
    async with serving(Talk()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(handshake(path=b"/get?a=1"))
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"got a=1")
        assert b"connection: close" in answer


async def test_an_offer_behind_other_requests_waits_for_its_turn():
    async with serving(Talk()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /get HTTP/1.1\r\nhost: a\r\n\r\n")
        writer.write(handshake())
        first = await asyncio.wait_for(reader.readuntil(b"got "), 5)
        assert first.startswith(b"HTTP/1.1 200")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert b"HTTP/1.1 101" in head
        writer.close()
        await until_gone(server)


# --- hostile frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    {
        "not masked": (text(b"a", b""), 1002),
        "too large": (b"\x81\xff" + (WEBSOCKET_MESSAGE_BYTES_MAX + 1).to_bytes(8, "big") + MASK, 1009),
        "not UTF-8": (text(b"\xff\xfe"), 1007),
        "binary": (frame(Opcode.BINARY, b"a", MASK), 1003),
        "fragmented control": (b"\x09\x80" + MASK, 1002),
        "long control": (frame(Opcode.PING, b"x" * 126, MASK), 1002),
        "compressed": (b"\xc1\x81" + MASK + b"a", 1002),
        "many fragments": (b"\x01\x80" + MASK + (b"\x00\x80" + MASK) * 2_000, 1009),
    }.values(),
)
async def test_a_frame_against_the_rules_ends_the_session_with_its_code(data, code):
    talk = Talk()
    async with serving(talk) as server, raw(server) as client:
        client.send(text(b"before"))
        assert await client.next() == Text(b"before")
        client.send(data, text(b"after"))
        event = await client.next()
        assert isinstance(event, Close)
        assert event.code == code
        await talk.over.wait()
        assert (talk.channel.code, talk.channel.breached) == (code, True)
        client.send(frame(Opcode.CLOSE, close_payload(1000, ""), MASK))
        assert await client.next() is None
        await until_gone(server)


async def test_half_a_connection_is_none():
    talk = Talk()
    async with serving(talk) as server, raw(server) as client:
        client.writer.write_eof()
        await asyncio.wait_for(talk.over.wait(), 5)
        assert talk.channel.code == 1006
        await until_gone(server)


async def test_a_client_that_is_lost_ends_the_session():
    talk = Talk()
    async with serving(talk) as server:
        async with raw(server) as client:
            client.writer.transport.abort()
            await asyncio.wait_for(talk.over.wait(), 5)
        assert talk.channel.gone
        assert talk.channel.code == 1006
        await until_gone(server)


async def test_a_client_that_never_answers_a_close_is_dropped():
    async def play(channel):
        channel.close(1000)

    async with serving(Talk(play)) as server, raw(server) as client:
        assert (await client.next()).code == 1000
        async with asyncio.timeout(LINGER_SECONDS_MAX + 5):
            while server.connections:
                await asyncio.sleep(0.01)


async def test_what_a_client_sends_unread_is_bounded():
    """The application takes nothing: the server stops reading, whatever the client wants to send."""
    taken = asyncio.Event()

    async def play(channel):
        await taken.wait()
        while await channel.receive() is not None:
            pass
        channel.close(1000)

    talk = Talk(play)
    async with serving(talk) as server, raw(server) as client:
        message, count = text(b"x" * 10_000), 0
        client.writer.transport.set_write_buffer_limits(high=0)
        while client.writer.transport.get_write_buffer_size() < 1_000_000:
            client.send(message)
            count += 1
            await asyncio.sleep(0)
        assert server.body_bytes <= WEBSOCKET_QUEUE_BYTES_MAX + 256 * 1024 + len(message)
        assert server.bytes_in < count * len(message)
        taken.set()
        client.send(frame(Opcode.CLOSE, close_payload(1000, ""), MASK))
        assert isinstance(await client.next(), Close)
        await until_gone(server)
        assert server.bytes_in >= count * len(message), "and nothing was lost"


async def test_what_a_client_does_not_read_is_bounded_and_it_is_dropped(monkeypatch):
    monkeypatch.setattr(link_module, "WRITE_STALL_SECONDS_MAX", 1.0)
    sent = 0

    async def play(channel):
        nonlocal sent
        while not channel.gone:
            await channel.send(b"x" * 10_000)
            sent += 10_000

    talk = Talk(play)
    async with serving(talk) as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", server.port))
        await loop.sock_sendall(sock, handshake())
        await asyncio.wait_for(talk.over.wait(), 10)
        assert talk.channel.stalled
        assert server.stalled == 1
        assert sent < WRITE_BUFFER_BYTES_MAX + UNSENT_BYTES_MAX + 4 * 1024 * 1024
        sock.close()
        await until_gone(server)


async def test_a_flood_of_pings_from_a_client_that_does_not_read_costs_no_memory():
    wait = asyncio.Event()

    async def play(channel):
        while channel._resume is None:  # until the client's window is full
            channel._write(Opcode.TEXT, b"y" * 10_000)
            await asyncio.sleep(0)
        await wait.wait()
        channel.close(1000)

    talk = Talk(play)
    async with serving(talk) as server, raw(server) as client:
        client.writer.transport.pause_reading()
        async with asyncio.timeout(5):
            while talk.channel is None or talk.channel._resume is None:
                await asyncio.sleep(0)
        before = talk.channel._transport.get_write_buffer_size()
        client.send(*(frame(Opcode.PING, b"%d" % n, MASK) for n in range(5_000)))
        async with asyncio.timeout(5):
            while talk.channel._pong != b"4999":
                await asyncio.sleep(0)
        assert talk.channel._transport.get_write_buffer_size() <= before
        assert talk.channel._pong == b"4999"
        client.writer.transport.resume_reading()
        while not isinstance(event := await client.next(), Pong):
            assert isinstance(event, Text)
        assert event == Pong(b"4999"), "the last ping is answered"
        wait.set()


async def test_silence_is_asked_about_and_then_ends(monkeypatch):
    monkeypatch.setattr(link_module, "WEBSOCKET_PING_SECONDS", 0.5)
    monkeypatch.setattr(link_module, "WEBSOCKET_PONG_SECONDS_MAX", 0.5)
    monkeypatch.setattr(link_module, "_TICK_SECONDS", 0.05)
    talk = Talk()
    async with serving(talk) as server:
        async with connect(f"ws://127.0.0.1:{server.port}/ws", proxy=None, ping_interval=None):
            loop = asyncio.get_running_loop()
            link, pings = talk.channel, 0
            heard = link._heard_at
            async with asyncio.timeout(10):
                while pings < 3:  # it answers by itself
                    await asyncio.sleep(0)
                    if link._heard_at != heard:
                        heard, pings = link._heard_at, pings + 1
            assert loop.time() - heard < 5
        async with raw(server) as silent:
            event = await silent.next()
            assert event.__class__.__name__ == "Ping"
            assert await silent.next() is None
        await until_gone(server)


async def test_too_much_under_way_for_the_whole_process_ends_the_session():
    async with serving(Talk()) as server, raw(server) as client:
        server.bodies_bytes_max = 100_000
        client.send(b"\x81\xff" + (200_000).to_bytes(8, "big") + MASK + bytes(150_000))
        event = await client.next()
        assert event.code == 1013
        client.writer.close()
        await until_gone(server)


async def test_plain_requests_are_served_as_ever_beside_it():
    async with serving(Talk()) as server, raw(server) as client:
        client.send(text(b"a"))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"hi")
        writer.close()
        assert await client.next() == Text(b"a")
        assert server.connections >= 1
