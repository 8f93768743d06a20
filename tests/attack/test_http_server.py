"""Hostile bytes against the public listener: AT-44 to AT-49 and FD-41 as far as they concern HTTP itself."""

import asyncio
import gzip

import pytest

from ostiary.core import limit
from ostiary.serving import connection as connection_module
from tests.unit.serving.harness import Echo, answers, request, serving, talk

HEAD = b"POST /echo HTTP/1.1\r\nHost: a\r\n"

SMUGGLING = {
    "CL then TE": HEAD
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /get HTTP/1.1\r\nHost: a\r\n\r\n",
    "TE then CL": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two CL that differ": HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two CL alike": HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "CL list": HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
    "CL plus": HEAD + b"Content-Length: +3\r\n\r\nabc",
    "CL minus": HEAD + b"Content-Length: -1\r\n\r\nabc",
    "CL hex": HEAD + b"Content-Length: 0x3\r\n\r\nabc",
    "CL underscore": HEAD + b"Content-Length: 1_0\r\n\r\nabcabcabca",
    "CL empty": HEAD + b"Content-Length: \r\n\r\nabc",
    "CL beyond 64 bits": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nabc",
    "TE comma chunked": HEAD + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "TE vertical tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "TE identity, chunked": HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "TE chunked, identity": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "TE gzip, chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "TE twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE unknown": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE in HTTP/1.0": b"POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk 0x2": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n",
    "chunk +2": HEAD + b"Transfer-Encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n",
    "chunk -2": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n",
    "chunk 2_0": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2_0\r\nab\r\n0\r\n\r\n",
    "chunk space 2": HEAD + b"Transfer-Encoding: chunked\r\n\r\n 2\r\nab\r\n0\r\n\r\n",
    "chunk empty": HEAD + b"Transfer-Encoding: chunked\r\n\r\n\r\nab\r\n0\r\n\r\n",
    "chunk beyond 64 bits": HEAD + b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\nab\r\n0\r\n\r\n",
    "chunk extension with CR": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;a\rb\r\nab\r\n0\r\n\r\n",
    "chunk extension with LF": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;a\nab\r\n0\r\n\r\n",
    "chunk size ended by LF": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n",
    "chunk longer than it says": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "bare LF": b"POST /echo HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc",
    "bare CR": b"POST /echo HTTP/1.1\rHost: a\r\r",
    "header line folded": HEAD + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": HEAD + b"X: a\x00b\r\n\r\n",
    "control in a value": HEAD + b"X: a\x01b\r\n\r\n",
    "space before the colon": HEAD + b"Content-Length : 0\r\n\r\n",
    "empty header name": HEAD + b": a\r\n\r\n",
    "header without colon": HEAD + b"nonsense\r\n\r\n",
    "non-ASCII header name": HEAD + "ü: a\r\n\r\n".encode(),
    "two hosts": HEAD + b"Host: b\r\nContent-Length: 0\r\n\r\n",
    "no host": b"POST /echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "host with a path": b"POST /echo HTTP/1.1\r\nHost: evil/path?x=\r\nContent-Length: 0\r\n\r\n",
    "host with a fragment": b"POST /echo HTTP/1.1\r\nHost: evil#\r\nContent-Length: 0\r\n\r\n",
    "host with a user": b"POST /echo HTTP/1.1\r\nHost: user@evil\r\nContent-Length: 0\r\n\r\n",
    "host with a junk port": b"POST /echo HTTP/1.1\r\nHost: a:80x\r\nContent-Length: 0\r\n\r\n",
    "host of broken IPv6": b"POST /echo HTTP/1.1\r\nHost: [::1\r\nContent-Length: 0\r\n\r\n",
    "absolute target": b"POST http://evil/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "asterisk target": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "fragment in the target": b"POST /echo#x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "control in the target": b"POST /ec\x01ho HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "raw bytes in the target": b"POST /\xff HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /get\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET /get HTTP/1.2\r\nHost: a\r\n\r\n",
    "lower-case method": b"get /get HTTP/1.1\r\nHost: a\r\n\r\n",
    "unknown method": b"FROB /get HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    "two authorizations": HEAD + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
async def test_at44_a_request_that_two_parsers_could_read_differently_gets_one_error_and_the_connection_ends(name):
    async with serving() as server:
        told = await talk(server, SMUGGLING[name] + b"GET /get?smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answers(told) == 1, told
    status = int(told.split(b" ", 2)[1])
    assert status in range(400, 506), told
    assert status != 500
    assert b"smuggled" not in told
    assert server.app.bodies == []


@pytest.mark.parametrize("at", range(1, 60, 3))
async def test_at44_a_request_cut_anywhere_in_its_bytes_is_read_the_same(at):
    data = request(body=b"hello, world")
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data[:at])
        await writer.drain()
        writer.write(data[at:])
        async with asyncio.timeout(5):
            told = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert told.endswith(b"hello, world")


async def test_at46_methods_and_path_variants_reach_nothing_they_should_not():
    async with serving() as server:
        for method in (b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"PUT", b"DELETE", b"PATCH"):
            told = await talk(server, request(method=method))
            assert told.startswith(b"HTTP/1.1 405"), (method, told)
        for extra in (b"X-HTTP-Method-Override: POST\r\n", b"X-Method-Override: POST\r\n"):
            told = await talk(server, request(method=b"GET", path=b"/echo", extra=extra))
            assert told.startswith(b"HTTP/1.1 405")
    assert server.app.bodies == []


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("100,000 headers", HEAD + b"".join(b"x%d: y\r\n" % i for i in range(100_000)) + b"\r\n", 431),
        ("a header of 8 MiB", HEAD + b"x: " + b"a" * (8 << 20) + b"\r\n\r\n", 431),
        ("a header name of 1 MiB", HEAD + b"a" * (1 << 20) + b": x\r\n\r\n", 431),
        ("a URL of 10 MiB", b"POST /" + b"a" * (10 << 20) + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        ("a million query keys", b"GET /get?" + b"a=1&" * 1_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        ("endless trailers", HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 100_000, 431),
    ],
)
async def test_at47_a_head_beyond_its_bounds_is_refused_early(name, data, status):
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(10):
            try:
                writer.write(data)
                await writer.drain()
            except ConnectionError:
                pass
            told = await reader.read(65_536)
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass
        assert told.startswith(b"HTTP/1.1 %d" % status), (name, told[:200])
        # Refused early: far less was taken in than was sent.
        assert server.bytes_in < 1_000_000


async def test_at47_an_underscore_spelling_does_not_stand_in_for_a_dashed_header():
    async with serving() as server:
        told = await talk(server, request(extra=b"content_length: 99\r\nx_api_key: stolen\r\n", body=b"hi"))
    assert told.endswith(b"hi")
    assert b"x-api-key" not in server.app.heads[0].headers


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"GZIP"])
async def test_at49_a_compressed_body_is_refused_without_reading_it(coding):
    bomb = gzip.compress(bytes(10 << 20))
    async with serving() as server:
        told = await talk(server, request(body=bomb, extra=b"content-encoding: " + coding + b"\r\n"))
    assert told.startswith(b"HTTP/1.1 415")
    assert answers(told) == 1


async def test_at49_a_declared_length_beyond_the_bound_is_refused_before_the_body():
    async with serving() as server:
        told = await talk(server, HEAD + b"Content-Length: 10000000000\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 413")


async def test_at49_an_undeclared_endless_body_is_cut_at_the_bound():
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    async with serving() as server:
        told = await talk(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 40)
    assert told.startswith(b"HTTP/1.1 413")
    assert server.body_bytes == 0


async def test_at49_a_body_in_a_million_single_bytes_is_refused():
    async with serving() as server:
        told = await talk(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 400_000)
    assert told.startswith(b"HTTP/1.1 400")
    assert server.body_bytes == 0


async def test_at49_a_body_that_ends_early_reaches_nobody():
    async with serving() as server:
        told = await talk(server, HEAD + b"Content-Length: 100\r\n\r\nshort", eof=True)
    assert told == b""
    assert server.app.bodies == []


@pytest.mark.parametrize(
    ("name", "sent"),
    [("a slow head", b"POST /echo HTTP/1.1\r\nHos"), ("a slow body", HEAD + b"Content-Length: 100\r\n\r\nab")],
)
async def test_at48_a_request_that_does_not_arrive_in_time_is_answered_408(monkeypatch, name, sent):
    monkeypatch.setattr(connection_module, "HEADER_SECONDS_MAX", 0.05)
    monkeypatch.setattr(connection_module, "BODY_IDLE_SECONDS_MAX", 0.05)
    monkeypatch.setattr(connection_module, "_TICK_SECONDS", 0.02)
    async with serving() as server:
        told = await talk(server, sent)
    assert told.startswith(b"HTTP/1.1 408"), name


async def test_at48_a_body_dripping_forever_ends_at_its_total_time(monkeypatch):
    monkeypatch.setattr(connection_module, "BODY_SECONDS_MAX", 0.15)
    monkeypatch.setattr(connection_module, "_TICK_SECONDS", 0.02)
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")

        async def drip():
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.01)

        dripping = asyncio.get_running_loop().create_task(drip())
        async with asyncio.timeout(5):
            told = await reader.read()
        dripping.cancel()
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass
    assert told.startswith(b"HTTP/1.1 408")


async def test_at48_an_idle_connection_is_closed_and_an_unused_one_too(monkeypatch):
    monkeypatch.setattr(connection_module, "KEEPALIVE_IDLE_SECONDS_MAX", 0.05)
    monkeypatch.setattr(connection_module, "HEADER_SECONDS_MAX", 0.05)
    monkeypatch.setattr(connection_module, "_TICK_SECONDS", 0.02)
    async with serving() as server:
        told = await talk(server, request(body=b"x", close=False))
        assert answers(told) == 1
        assert told.endswith(b"x")
        assert await talk(server, b"") == b""


async def test_at48_fd41_a_reader_that_does_not_read_is_bounded_then_dropped(monkeypatch):
    monkeypatch.setattr(connection_module, "WRITE_STALL_SECONDS_MAX", 0.1)
    monkeypatch.setattr(connection_module, "_TICK_SECONDS", 0.02)
    app = Echo()
    app.chunks = [b"x" * 65_536] * 4_000
    async with serving(app) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(request(path=b"/stream"))
        async with asyncio.timeout(10):
            await app.cancelled.wait()
        assert server.stalled == 1
        # Kernel buffers on loopback take some megabytes; ours is bounded by the high-water mark.
        assert app.written < 64 * 1024 * 1024
        writer.transport.abort()


async def test_the_client_going_away_cancels_what_it_asked_for():
    async with serving() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(path=b"/hang", body=b"x"))
        async with asyncio.timeout(5):
            await server.app.started.wait()
            writer.transport.abort()
            await server.app.cancelled.wait()
    assert server.busy == 0


async def test_an_offer_to_upgrade_is_ignored_and_the_request_answered():
    offer = (
        b"Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
    )
    async with serving() as server:
        told = await talk(server, HEAD + offer + b"Content-Length: 2\r\n\r\nhi")
        assert told.endswith(b"hi")
        assert answers(told) == 1
        told = await talk(server, b"GET /get?q HTTP/1.1\r\nHost: a\r\n" + offer + b"\r\n")
        assert told.endswith(b"got q")


async def test_requests_sent_ahead_are_answered_in_order_and_bounded():
    async with serving() as server:
        told = await talk(server, request(body=b"first", close=False) + request(body=b"second"))
        assert told.index(b"first") < told.index(b"second")
        many = request(path=b"/hang", body=b"x", close=False) + request(body=b"y", close=False) * 50
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(many)
        async with asyncio.timeout(5):
            await server.app.started.wait()
            server.app.release.set()
            told = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answers(told) <= limit.PIPELINED_REQUESTS_MAX + 2
        assert b"HTTP/1.1 429" in told


async def test_expect_100_continue_is_answered_only_for_a_head_that_is_taken():
    async with serving() as server:
        told = await talk(server, HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        assert told.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
        told = await talk(
            server, b"POST /refused HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert told.startswith(b"HTTP/1.1 401")


async def test_a_refused_head_is_answered_though_the_client_is_still_sending_its_body():
    async with serving() as server:
        data = b"POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + b"a" * 9_000_000
        told = await talk(server, data)
    assert told.startswith(b"HTTP/1.1 401")
    assert b"no key" in told


async def test_a_drain_lets_the_busy_finish_and_closes_the_idle():
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(path=b"/hang", body=b"x", close=False))
        async with asyncio.timeout(5):
            await server.app.started.wait()
            draining = asyncio.get_running_loop().create_task(server.drain(5.0))
            assert await idle_reader.read() == b""
            server.app.release.set()
            told = await reader.read()
            await draining
        assert told.endswith(b"released")
        assert b"connection: close" in told
        for one in (writer, idle_writer):
            one.close()
            await one.wait_closed()
