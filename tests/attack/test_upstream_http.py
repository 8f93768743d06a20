"""What a hostile or broken upstream can do to us below the level of JSON: AT-52, AT-53, AT-56, AT-57 (transport).

Each attack is played byte by byte over a socket. The promise is the same for all: a named error in bounded time and
memory, the connection closed, and never an answer that belongs to another request.
"""

import asyncio
import gc
import gzip
import resource

import pytest

from ostiary.core import limit
from ostiary.core.error import Code, UpstreamError
from ostiary.net.client import HttpUpstream
from ostiary.simulator.hostile import End, Forever, HostilePeer, Read, Wait
from ostiary.testing.clock import FakeClock
from ostiary.testing.upstream import upstream_request

H = b"HTTP/1.1 200 OK\r\n"
CHUNKED = H + b"transfer-encoding: chunked\r\n\r\n"
OK = H + b"content-length: 2\r\n\r\nok"
MIB = 1024 * 1024


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def client(clock):
    upstream = HttpUpstream(clock)
    yield upstream
    await upstream.aclose()


async def attacked(client, clock, *steps, **bounds) -> UpstreamError:
    """The error that an answer of these steps ends in; the peer must see the connection closed."""
    async with HostilePeer([Read(), *steps]) as peer:
        with pytest.raises(UpstreamError) as caught:
            reply = await client.send(upstream_request(clock, peer.port, **bounds))
            while await reply.chunk():
                pass
        await asyncio.wait_for(peer.gone.wait(), 5)
        assert client.idle_count == 0
        assert peer.connections == 1
        return caught.value


FRAMING = {
    "length and chunks": H + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunks and length": H + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "two lengths": H + b"content-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
    "two equal lengths": H + b"content-length: 2\r\ncontent-length: 2\r\n\r\nhi",
    "a list of lengths": H + b"content-length: 2, 2\r\n\r\nhi",
    "a signed length": H + b"content-length: +2\r\n\r\nhi",
    "a negative length": H + b"content-length: -2\r\n\r\nhi",
    "a hexadecimal length": H + b"content-length: 0x2\r\n\r\nhi",
    "an underscored length": H + b"content-length: 2_0\r\n\r\nhi",
    "an empty length": H + b"content-length: \r\n\r\nhi",
    "a length beyond 64 bits": H + b"content-length: 99999999999999999999999\r\n\r\nhi",
    "another transfer coding": H + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunked not last": H + b"transfer-encoding: chunked, gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "nearly chunked": H + b"transfer-encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunked twice": H + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "identity as transfer coding": H + b"transfer-encoding: identity\r\n\r\nhi",
    "chunked behind a vertical tab": H + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "space before the colon": H + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunk size 0x2": CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n",
    "chunk size +2": CHUNKED + b"+2\r\nhi\r\n0\r\n\r\n",
    "chunk size -2": CHUNKED + b"-2\r\nhi\r\n0\r\n\r\n",
    "chunk size 2_0": CHUNKED + b"2_0\r\nhi\r\n0\r\n\r\n",
    "chunk size with a space": CHUNKED + b"2 \r\nhi\r\n0\r\n\r\n",
    "an empty chunk size": CHUNKED + b"\r\nhi\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\nhi",
    "chunk lines with LF alone": CHUNKED + b"2\nhi\n0\n\n",
    "no line end after a chunk": CHUNKED + b"2\r\nhi0\r\n\r\n",
    "NUL in a chunk extension": CHUNKED + b"2;\0\r\nhi\r\n0\r\n\r\n",
    "a folded header": H + b"x-a: b\r\n c\r\ncontent-length: 2\r\n\r\nhi",
    "NUL in a value": H + b"x-a: b\0c\r\ncontent-length: 2\r\n\r\nhi",
    "NUL in a name": H + b"x-\0a: b\r\ncontent-length: 2\r\n\r\nhi",
    "CR in a value": H + b"x-a: b\rc\r\ncontent-length: 2\r\n\r\nhi",
    "LF in a value": H + b"x-a: b\nx-c: d\r\ncontent-length: 2\r\n\r\nhi",
    "a control character": H + b"x-a: b\x01\r\ncontent-length: 2\r\n\r\nhi",
    "a space in a name": H + b"x a: b\r\ncontent-length: 2\r\n\r\nhi",
    "an empty name": H + b": b\r\ncontent-length: 2\r\n\r\nhi",
    "a header without colon": H + b"nothing\r\ncontent-length: 2\r\n\r\nhi",
    "lines with LF alone": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
    "a status of two digits": b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nhi",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nhi",
    "a status below 100": b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nhi",
    "a status of zero": b"HTTP/1.1 000 OK\r\ncontent-length: 2\r\n\r\nhi",
    "a status above 599": b"HTTP/1.1 999 OK\r\ncontent-length: 2\r\n\r\nhi",
    "a signed status": b"HTTP/1.1 +20 OK\r\ncontent-length: 2\r\n\r\nhi",
    "two spaces before the status": b"HTTP/1.1  200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "version 2.0": b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "version 1.2": b"HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "version 0.9": b"HTTP/0.9 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "another protocol": b"RTSP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "a lower-case protocol": b"http/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "an empty line in front": b"\r\n" + OK,
    "CR in the reason": b"HTTP/1.1 200 O\rK\r\ncontent-length: 2\r\n\r\nhi",
    "HTTP/2 frames": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "garbage": b"\xff\xfe garbage \x00\x01\r\n\r\n",
    "an SSH banner": b"SSH-2.0-OpenSSH_9.2\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nhi",
    "204 with chunks": b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "a switch of protocols": b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nanything",
    "a bare 101": b"HTTP/1.1 101 Switching\r\n\r\n",
    "an interim answer with a body": b"HTTP/1.1 100 Continue\r\ncontent-length: 2\r\n\r\nhi" + OK,
}


@pytest.mark.parametrize("answer", FRAMING.values(), ids=FRAMING)
async def test_a_breach_of_framing_is_refused_and_the_connection_closed(client, clock, answer):
    assert (await attacked(client, clock, answer)).code == Code.UPSTREAM_PROTOCOL


@pytest.mark.parametrize("name", ["chunk size 0x2", "two lengths", "version 2.0", "another protocol", "garbage"])
async def test_a_breach_is_seen_however_it_is_split(client, clock, name):
    pieces = [FRAMING[name][place : place + 1] for place in range(len(FRAMING[name]))]
    assert (await attacked(client, clock, *pieces)).code == Code.UPSTREAM_PROTOCOL


HEADERS = {
    "one without end": [H + b"x-a: ", Forever(b"a" * 1000)],
    "a name without end": [H, Forever(b"a" * 1000)],
    "a reason without end": [b"HTTP/1.1 200 ", Forever(b"a" * 1000)],
    "many without end": [H, Forever(b"x-a: b\r\n" * 100)],
    "more than the bound in one write": [H + b"x-a: b\r\n" * (limit.UPSTREAM_HEADER_COUNT_MAX + 1) + b"\r\n"],
    "more bytes than the bound in one write": [
        H + b"x-a: " + b"a" * limit.UPSTREAM_HEADER_BYTES_MAX + b"\r\ncontent-length: 0\r\n\r\n"
    ],
    "interim answers without end": [Forever(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 10)],
    "trailers without end": [CHUNKED + b"2\r\nhi\r\n0\r\n", Forever(b"x-a: b\r\n" * 100)],
    "a trailer without end": [CHUNKED + b"2\r\nhi\r\n0\r\nx-a: ", Forever(b"a" * 1000)],
    "a chunk extension without end": [CHUNKED + b"2;a=", Forever(b"a" * 1000)],
    "zeros before a chunk size": [CHUNKED, Forever(b"0" * 1000)],
}


@pytest.mark.parametrize("steps", HEADERS.values(), ids=HEADERS)
async def test_what_is_not_body_is_bounded(client, clock, steps):
    assert (await attacked(client, clock, *steps)).code == Code.UPSTREAM_PROTOCOL


async def test_interim_answers_up_to_the_bound_are_passed_over(client, clock):
    interim = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * limit.UPSTREAM_INFORMATIONAL_MAX
    async with HostilePeer([Read(), interim + OK]) as peer:
        reply = await client.send(upstream_request(clock, peer.port))
        assert (reply.status, reply.headers) == (200, ((b"content-length", b"2"),))
        assert await reply.read(10) == b"ok"


async def test_a_dripping_head_does_not_outlive_the_first_byte_timeout(client, clock):
    """A byte now and then is no answer: the phase ends with the head, not with its first byte."""
    async with HostilePeer([Read(), b"HTTP/1.1 2", Wait(asyncio.Event())]) as peer:
        with pytest.raises(UpstreamError) as caught:
            await client.send(upstream_request(clock, peer.port, first_byte_seconds=0.05))
        assert caught.value.code == Code.UPSTREAM_TIMEOUT


# --- AT-52: endless and tiny ------------------------------------------------------------------------------


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


ENDLESS = {
    "a body in large chunks": [CHUNKED, Forever(b"10000\r\n" + b"x" * 65_536 + b"\r\n")],
    "a body in chunks of one byte": [CHUNKED, Forever(b"1\r\nx\r\n" * 10_000)],
    "a body that ends with the connection": [H + b"\r\n", Forever(b"x" * 65_536)],
    "one chunk of nearly 2^64 bytes": [CHUNKED + b"ffffffffffffffff\r\n", Forever(b"x" * 65_536)],
    "a length of nearly 2^64 bytes": [H + b"content-length: 18446744073709551614\r\n\r\n", Forever(b"x" * 65_536)],
}


@pytest.mark.parametrize("steps", ENDLESS.values(), ids=ENDLESS)
async def test_an_endless_body_is_cut_off_at_the_bound_in_flat_memory(client, clock, steps, monkeypatch):
    monkeypatch.setattr(limit, "UPSTREAM_STREAM_BYTES_MAX", 8 * MIB)
    gc.collect()
    before = peak_bytes()
    assert (await attacked(client, clock, *steps)).code == Code.UPSTREAM_TOO_LARGE
    assert peak_bytes() - before < 24 * MIB


@pytest.mark.parametrize("steps", ENDLESS.values(), ids=ENDLESS)
async def test_an_endless_body_that_nobody_reads_is_not_buffered(client, clock, steps):
    async with HostilePeer([Read(), *steps]) as peer:
        gc.collect()
        before = peak_bytes()
        reply = await client.send(upstream_request(clock, peer.port))
        pushed = -1
        while pushed != peer.sent:
            pushed = peer.sent
            await asyncio.sleep(0.05)
        assert reply.received < MIB
        assert peak_bytes() - before < 24 * MIB
        reply.close()
        await asyncio.wait_for(peer.gone.wait(), 5)


async def test_an_endless_body_is_not_read_to_its_end_to_learn_that_it_is_too_large(client, clock):
    async with HostilePeer([Read(), CHUNKED, Forever(b"10000\r\n" + b"x" * 65_536 + b"\r\n")]) as peer:
        reply = await client.send(upstream_request(clock, peer.port))
        with pytest.raises(UpstreamError) as caught:
            await reply.read(MIB)
        assert caught.value.code == Code.UPSTREAM_TOO_LARGE
        assert reply.received < 3 * MIB
        await asyncio.wait_for(peer.gone.wait(), 5)


async def test_a_dripping_body_ends_with_the_total_deadline(client, clock):
    drip = [Read(), CHUNKED, *([b"1\r\nx\r\n"] * 3), Wait(asyncio.Event())]
    async with HostilePeer(drip) as peer:
        reply = await client.send(upstream_request(clock, peer.port, total_seconds=0.1))
        with pytest.raises(UpstreamError) as caught:
            await reply.read(MIB)
        assert caught.value.code == Code.UPSTREAM_TIMEOUT


async def test_bytes_without_body_do_not_prolong_the_idle_phase(client, clock):
    """Chunk extensions arriving all the while are silence too."""
    async with HostilePeer([Read(), CHUNKED + b"2\r\nhi\r\n2;a=", *([b"a"] * 20), Wait(asyncio.Event())]) as peer:
        reply = await client.send(upstream_request(clock, peer.port, idle_seconds=0.05))
        assert await reply.chunk() == b"hi"
        with pytest.raises(UpstreamError) as caught:
            await reply.chunk()
        assert caught.value.code == Code.UPSTREAM_TIMEOUT


# --- AT-53: compression -----------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd", b"deflate", b"identity, gzip", b"gzip, gzip", b"GZIP"])
@pytest.mark.parametrize("status", [200, 302, 500])
async def test_a_compressed_answer_is_refused_unread(client, clock, coding, status):
    bomb = gzip.compress(bytes(4 * MIB))
    head = b"HTTP/1.1 %d X\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (status, coding, len(bomb))
    before = peak_bytes()
    assert (await attacked(client, clock, head + bomb)).code == Code.UPSTREAM_PROTOCOL
    assert peak_bytes() - before < 4 * MIB


async def test_identity_is_no_compression(client, clock):
    async with HostilePeer([Read(), H + b"content-encoding: Identity\r\ncontent-length: 2\r\n\r\nok"]) as peer:
        assert await (await client.send(upstream_request(clock, peer.port))).read(10) == b"ok"


# --- AT-56: cuts and desynchronisation --------------------------------------------------------------------

CUTS = {
    "before the head": b"",
    "in the status line": b"HTTP/1.1 2",
    "in the headers": H + b"content-le",
    "after the headers": H + b"content-length: 5\r\n\r\n",
    "in a body with a length": H + b"content-length: 5\r\n\r\nhal",
    "after the chunked head": CHUNKED,
    "in a chunk": CHUNKED + b"5\r\nhal",
    "between chunks": CHUNKED + b"3\r\nall\r\n",
    "in the last chunk": CHUNKED + b"3\r\nall\r\n0\r\n",
    "after an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
@pytest.mark.parametrize("answer", CUTS.values(), ids=CUTS)
async def test_a_cut_is_told_from_an_end_and_not_retried(client, clock, answer, end):
    assert (await attacked(client, clock, answer, end)).code == Code.UPSTREAM_CUT


SURPLUS = {
    "a second answer": OK + H + b"content-length: 6\r\n\r\nstolen",
    "the start of one": OK + b"HTT",
    "garbage": OK + b"\x00\xff",
    "one byte": OK + b"X",
    "after chunks": CHUNKED + b"2\r\nok\r\n0\r\n\r\n" + OK,
    "after connection: close": H + b"connection: close\r\ncontent-length: 2\r\n\r\nok" + OK,
}


@pytest.mark.parametrize("answer", SURPLUS.values(), ids=SURPLUS)
async def test_bytes_beyond_the_answer_are_never_taken_for_the_next_one(client, clock, answer):
    async with HostilePeer([Read(), answer], [Read(), H + b"content-length: 4\r\n\r\nmine"]) as peer:
        assert await (await client.send(upstream_request(clock, peer.port))).read(10) == b"ok"
        assert client.idle_count == 0
        assert await (await client.send(upstream_request(clock, peer.port))).read(10) == b"mine"
        assert peer.connections == 2


async def test_a_late_second_answer_closes_the_idle_connection(client, clock):
    late = asyncio.Event()
    script = [Read(), OK, Wait(late), H + b"content-length: 6\r\n\r\nstolen"]
    async with HostilePeer(script, [Read(), H + b"content-length: 4\r\n\r\nmine"]) as peer:
        assert await (await client.send(upstream_request(clock, peer.port))).read(10) == b"ok"
        assert client.idle_count == 1
        late.set()
        await asyncio.wait_for(peer.gone.wait(), 5)
        assert await (await client.send(upstream_request(clock, peer.port))).read(10) == b"mine"


async def test_an_answer_waiting_unread_in_the_socket_is_not_taken_for_ours(client, clock):
    """The surplus has arrived but the loop has not yet looked: the connection is not used."""
    late = asyncio.Event()
    script = [Read(), OK, Wait(late), H + b"content-length: 6\r\n\r\nstolen"]
    async with HostilePeer(script, [Read(), H + b"content-length: 4\r\n\r\nmine"]) as peer:
        assert await (await client.send(upstream_request(clock, peer.port))).read(10) == b"ok"
        pool = next(iter(client._pools.values()))
        connection = pool._idle[0]
        connection._transport.pause_reading()  # the loop does not look
        late.set()
        while connection.usable():
            await asyncio.sleep(0)
        assert await (await client.send(upstream_request(clock, peer.port))).read(10) == b"mine"
        assert peer.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        H + b"connection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
    ids=["connection: close", "HTTP/1.0"],
)
async def test_a_connection_the_server_will_close_is_not_kept(client, clock, answer):
    async with HostilePeer([Read(), answer]) as peer:
        assert await (await client.send(upstream_request(clock, peer.port))).read(10) == b"ok"
        assert client.idle_count == 0


async def test_304_announcing_a_length_has_no_body(client, clock):
    async with HostilePeer([Read(), b"HTTP/1.1 304 X\r\ncontent-length: 100\r\n\r\n", Read(), OK]) as peer:
        assert await (await client.send(upstream_request(clock, peer.port))).read(10) == b""
        assert await (await client.send(upstream_request(clock, peer.port))).read(10) == b"ok"


# --- AT-57: headers ---------------------------------------------------------------------------------------


async def test_headers_come_in_order_in_lower_case_and_trimmed(client, clock):
    answer = H + b"Set-Cookie: a=b\r\nRETRY-AFTER:  1e9 \t\r\nset-cookie: c\r\nContent-Length: 2 \r\n\r\nok"
    async with HostilePeer([Read(), answer]) as peer:
        reply = await client.send(upstream_request(clock, peer.port))
        assert reply.headers == (
            (b"set-cookie", b"a=b"),
            (b"retry-after", b"1e9"),
            (b"set-cookie", b"c"),
            (b"content-length", b"2"),
        )
        assert await reply.read(10) == b"ok"


async def test_cookies_are_not_kept(client, clock):
    cookie = H + b"set-cookie: a=b\r\ncontent-length: 2\r\n\r\nok"
    async with HostilePeer([Read(), cookie, Read(), OK]) as peer:
        for _ in range(2):
            await (await client.send(upstream_request(clock, peer.port))).read(10)
        assert b"cookie" not in peer.received[0].lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(client, clock, status):
    async with HostilePeer([]) as target:
        answer = b"HTTP/1.1 %d X\r\nlocation: http://127.0.0.1:%d/\r\ncontent-length: 0\r\n\r\n" % (status, target.port)
        async with HostilePeer([Read(), answer]) as peer:
            reply = await client.send(upstream_request(clock, peer.port))
            assert reply.status == status
            assert await reply.read(10) == b""
        assert target.connections == 0
