"""The protocol without sockets: bytes in, a reply out. Hostile bytes over real sockets are in tests/attack."""

import asyncio
import contextlib
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core import limit
from ostiary.core.error import Code, OstiaryError, UpstreamError
from ostiary.gateway.ports import PhaseTimeouts
from ostiary.net.connection import Connection
from ostiary.transport.writes import Writes


class FakeTransport:
    def __init__(self):
        self.written = []
        self.state = "open"
        self.paused = False
        self.unsent = 0

    def write(self, data):
        self.written.append(bytes(data))

    def writelines(self, parts):
        self.written.extend(parts)

    def abort(self):
        self.state = "aborted"

    def close(self):
        self.state = "closed"

    def is_closing(self):
        return self.state != "open"

    def get_write_buffer_size(self):
        return self.unsent

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False

    def get_extra_info(self, name):
        return None


class Keeper:
    def __init__(self):
        self.kept = []
        self.gone = []

    def idle(self, connection):
        self.kept.append(connection)

    def lost(self, connection):
        self.gone.append(connection)


class Rig:
    """A connection on a fake transport, with a real socket pair for the look before reuse."""

    def __init__(self, loop):
        self.sock, self.peer = socket.socketpair()
        self.sock.setblocking(False)
        self.keeper = Keeper()
        self.transport = FakeTransport()
        self.writes = Writes(loop)
        self.connection = Connection(loop, self.keeper, self.sock, self.writes)
        self.connection.connection_made(self.transport)

    def start(self, body=b"", first_byte=5.0, idle=5.0, total=10.0, *, sent=True):
        now = asyncio.get_running_loop().time()
        reply = self.connection.start(b"HEAD", body, PhaseTimeouts(5.0, first_byte, idle, 0.0), now, now + total)
        if sent:
            self.writes.flush()
        return reply

    def close(self):
        self.connection.abort()
        self.connection.connection_lost(None)
        self.sock.close()
        self.peer.close()


@pytest.fixture
async def rig():
    rig = Rig(asyncio.get_running_loop())
    yield rig
    rig.close()


ANSWERS = {
    "length": (b"HTTP/1.1 200 OK\r\nX-A: b\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
    "chunks": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nx-t: 1\r\n\r\n",
        b"hello",
    ),
    "interim": (b"HTTP/1.1 103 E\r\nl: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
    "nothing": (b"HTTP/1.1 204 No\r\n\r\n", b""),
}


@pytest.mark.parametrize(("answer", "body"), ANSWERS.values(), ids=ANSWERS)
async def test_however_it_is_split_it_is_the_same_answer(answer, body):
    loop = asyncio.get_running_loop()
    for place in range(1, len(answer)):
        rig = Rig(loop)
        reply = rig.start()
        rig.connection.data_received(answer[:place])
        rig.connection.data_received(answer[place:])
        assert reply.complete
        assert await reply.read(100) == body
        assert rig.keeper.kept == [rig.connection]
        rig.close()


async def test_a_field_that_comes_again_counts_with_all_its_values(rig):
    reply = rig.start()
    rig.connection.data_received(
        b"HTTP/1.1 200 OK\r\nset-cookie: a\r\ncontent-encoding: identity\r\nset-cookie: b\r\ncontent-encoding:\r\n"
        b"content-encoding: Identity\r\ncontent-length: 2\r\n\r\nok"
    )
    assert await reply.read(2) == b"ok"
    assert [value for name, value in reply.headers if name == b"set-cookie"] == [b"a", b"b"]
    for codings in ((b"gzip", b"identity"), (b"identity", b"br")):
        one = Rig(asyncio.get_running_loop())
        reply = one.start()
        lines = b"".join(b"content-encoding: %b\r\n" % coding for coding in codings)
        one.connection.data_received(b"HTTP/1.1 200 OK\r\n" + lines + b"content-length: 2\r\n\r\nok")
        with pytest.raises(UpstreamError) as caught:
            await reply.read(2)
        assert caught.value.code == Code.UPSTREAM_PROTOCOL
        one.close()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text("abXYZ-_09", min_size=1, max_size=8).map(lambda name: b"x-" + name.encode()),
            st.text(" \tab\x7f:,\xe9", max_size=8).map(lambda value: value.encode("latin-1").replace(b"\x7f", b"z")),
        ),
        max_size=20,
    ),
    st.integers(min_value=1, max_value=60),
)
def test_headers_have_names_in_lower_case_and_values_without_space_around_them(fields, size):
    answer = b"HTTP/1.1 204 No\r\n" + b"".join(b"%b:%b\r\n" % field for field in fields) + b"\r\n"

    async def play():
        rig = Rig(asyncio.get_running_loop())
        reply = rig.start()
        for place in range(0, len(answer), size):
            rig.connection.data_received(answer[place : place + size])
        assert reply.complete
        assert reply.headers == tuple((name.lower(), value.strip(b" \t")) for name, value in fields)
        rig.close()

    asyncio.run(play())


@pytest.mark.parametrize("trailer", [False, True])
async def test_one_header_too_many_is_refused_before_the_head_ends(rig, trailer):
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
    reply = rig.start()
    rig.connection.data_received(head if trailer else b"HTTP/1.1 200 OK\r\n")
    rig.connection.data_received(b"a: b\r\n" * limit.UPSTREAM_HEADER_COUNT_MAX + b"c")
    assert rig.transport.state == "open"
    rig.connection.data_received(b": d\r\ne")
    assert rig.transport.state == "aborted"
    assert reply.failure.code == Code.UPSTREAM_PROTOCOL


async def test_what_one_answer_said_does_not_count_for_the_next(rig):
    for _ in range(2 * limit.UPSTREAM_INFORMATIONAL_MAX):
        reply = rig.start()
        rig.connection.data_received(ANSWERS["interim"][0])
        assert await reply.read(5) == b"hello"
        assert reply.headers == ((b"content-length", b"5"),)


async def test_a_long_body_behind_a_head_in_one_read_is_no_long_head(rig):
    size = 2 * limit.UPSTREAM_HEADER_BYTES_MAX
    reply = rig.start()
    rig.connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (size, bytes(size)))
    assert await reply.read(size) == bytes(size)


async def test_what_came_before_a_breach_in_one_read_is_handed_out_before_it(rig):
    reply = rig.start()
    rig.connection.data_received(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"2\r\nhi\r\n" * 1000 + b"x\r\n"
    )
    assert rig.transport.state == "aborted"
    assert await reply.chunk() == b"hi" * 1000
    with pytest.raises(UpstreamError) as caught:
        await reply.chunk()
    assert caught.value.code == Code.UPSTREAM_PROTOCOL


async def test_an_answer_beyond_the_bound_is_refused_even_where_it_ends(rig, monkeypatch):
    monkeypatch.setattr(limit, "UPSTREAM_STREAM_BYTES_MAX", 4)
    reply = rig.start()
    rig.connection.data_received(ANSWERS["length"][0])
    assert not reply.complete
    assert rig.transport.state == "aborted"
    assert await reply.chunk() == b"hello"
    with pytest.raises(UpstreamError) as caught:
        await reply.chunk()
    assert caught.value.code == Code.UPSTREAM_TOO_LARGE


async def test_a_head_alone_wakes_who_waits_for_it(rig):
    reply = rig.start()
    await asyncio.sleep(0)
    assert not reply.arrived.done()
    rig.connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
    async with asyncio.timeout(1):
        await reply.arrived
    assert reply.status == 200


async def test_no_phase_outlasts_the_deadline(rig, monkeypatch):
    """A timer left over from a request with a later deadline is brought forward."""
    rig.start(total=1000.0, first_byte=900.0)
    rig.connection.data_received(ANSWERS["length"][0])
    for first_byte, head in ((900.0, b""), (900.0, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")):
        one = rig.start(first_byte=first_byte, idle=900.0, total=0.02)
        if head:
            rig.connection.data_received(head)
        with pytest.raises(UpstreamError) as caught:
            async with asyncio.timeout(1):
                await one.arrived
                assert one.status == (200 if head else 0)
                await one.read(2)
        assert caught.value.code == Code.UPSTREAM_TIMEOUT
        rig.close()
        rig = Rig(asyncio.get_running_loop())
    rig.close()


async def test_small_bodies_go_out_in_one_write_and_large_ones_uncopied(rig):
    rig.start(b"small")
    rig.connection.data_received(ANSWERS["nothing"][0])
    assert rig.transport.written == [b"HEADsmall"]
    large = b"x" * 100_000
    rig.start(large)
    assert rig.transport.written[1:] == [b"HEAD", large]
    assert rig.transport.written[2] is large


async def test_a_request_on_a_busy_connection_arms_no_timer(rig):
    handles = set()
    for _ in range(100):
        rig.start()
        handles.add(rig.connection._timer)
        rig.connection.data_received(ANSWERS["length"][0])
    assert len(handles) == 1


async def test_a_shorter_phase_arms_the_timer_anew(rig):
    reply = rig.start(first_byte=5.0, idle=0.01)
    rig.connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    with pytest.raises(UpstreamError) as caught:
        await reply.chunk()
    assert "paused" in caught.value.message


async def test_a_timer_that_fires_early_waits_for_the_rest(rig):
    reply = rig.start(first_byte=0.02)
    rig.connection.data_received(ANSWERS["length"][0])
    assert reply.complete
    rig.start(first_byte=5.0)
    await asyncio.sleep(0.04)
    assert rig.transport.state == "open"
    assert rig.connection._timer is not None


async def test_a_connection_with_unsent_bytes_is_not_kept(rig):
    reply = rig.start()
    rig.transport.unsent = 1
    rig.connection.data_received(ANSWERS["length"][0])
    assert reply.complete
    assert rig.keeper.kept == []
    assert rig.transport.state == "closed"


async def test_an_answer_that_comes_before_its_request_went_out_ends_the_connection(rig):
    reply = rig.start(sent=False)
    rig.connection.data_received(ANSWERS["length"][0])
    assert reply.complete
    assert rig.keeper.kept == []
    rig.writes.flush()
    assert rig.transport.written == []


async def test_a_byte_that_nobody_asked_for_closes_it(rig):
    rig.connection.data_received(b"H")
    assert rig.transport.state == "aborted"


async def test_it_is_usable_while_nothing_waits_in_its_socket(rig):
    assert rig.connection.usable()
    rig.peer.send(b"x")
    assert not rig.connection.usable()


async def test_it_is_not_usable_once_its_peer_has_closed(rig):
    rig.peer.close()
    assert not rig.connection.usable()


async def test_it_is_not_usable_once_it_is_closed(rig):
    rig.connection.close()
    assert not rig.connection.usable()


async def test_its_loss_is_told_once_and_without_a_reply_too(rig):
    rig.connection.connection_lost(None)
    assert rig.keeper.gone == [rig.connection]


async def test_a_loss_before_any_byte_is_stale_only_on_a_used_connection():
    for used in (False, True):
        rig = Rig(asyncio.get_running_loop())
        if used:
            rig.start()
            rig.connection.data_received(ANSWERS["length"][0])
        reply = rig.start()
        rig.connection.connection_lost(ConnectionResetError())
        assert reply.stale is used
        rig.close()


async def test_aborting_fails_the_reply(rig):
    reply = rig.start()
    rig.connection.abort()
    await reply.arrived
    assert reply.status == 0
    assert reply.failure.code == Code.UPSTREAM_CUT


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    b"HTTP/1.1 200 OK\r\n",
                    b"HTTP/1.1 100 C\r\n\r\n",
                    b"content-length: 3\r\n",
                    b"transfer-encoding: chunked\r\n",
                    b"\r\n",
                    b"3\r\nabc\r\n",
                    b"0\r\n\r\n",
                    b"x: ",
                ]
            ),
        ),
        max_size=12,
    )
)
def test_no_bytes_whatever_make_it_raise_or_hang(pieces):
    """Any bytes end in a complete reply, a named failure, or a wait for more; then an end of the connection ends it."""

    async def play():
        rig = Rig(asyncio.get_running_loop())
        reply = rig.start()
        for piece in pieces:
            if rig.transport.state != "open":
                break
            rig.connection.data_received(piece)
        rig.connection.eof_received()
        rig.connection.connection_lost(None)
        with contextlib.suppress(OstiaryError):
            await reply.arrived
            await reply.read(1_000)
        assert reply.complete or reply.failure is not None
        assert len(rig.keeper.kept) <= 1
        rig.close()

    asyncio.run(play())
