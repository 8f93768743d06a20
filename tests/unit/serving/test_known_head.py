"""A head that comes again is compared instead of parsed: nobody can tell, whatever they send and however it is cut."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ostiary.bootstrap.system import SystemClock
from ostiary.core.limit import KNOWN_HEAD_BYTES_MAX
from ostiary.serving import connection as module
from ostiary.serving.connection import Connection
from ostiary.serving.known import known
from ostiary.serving.server import Server
from tests.unit.serving.harness import Echo, request, serving, talk

LINES = (b"host: a", b"authorization: Bearer k", b"user-agent: some/1.0 (x)", b"Content-Type: application/json")


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self):
        super().__init__()
        self.out = b""
        self.ended = False

    def get_extra_info(self, name, default=None):
        return ("127.0.0.1", 1) if name == "peername" else default

    def set_write_buffer_limits(self, high=None, low=None):
        """Takes everything."""

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return self.ended

    def write(self, data):
        self.out += data

    def can_write_eof(self):
        return False

    def pause_reading(self):
        """What was read stays read."""

    resume_reading = pause_reading

    def close(self):
        self.ended = True

    abort = close


async def told(pieces):
    """What the application is asked, what the client is answered, and how long the connection waits after each piece,
    where the client's bytes come in `pieces`."""
    loop = asyncio.get_running_loop()
    waits = []
    echo = Echo()
    server = Server(echo, SystemClock(), loop)
    server.date_line = b"date: now"
    wire, one = Wire(), Connection(server)
    one.connection_made(wire)
    for piece in pieces:
        one.data_received(piece)
        for _ in range(8):  # turns of the loop, for as many answers as may wait
            await asyncio.sleep(0)
        waits.append(round(one._deadline - loop.time()) if one._deadline else None)
    one.connection_lost(None)
    heads = [(head.method, head.path, head.query, head.headers) for head in echo.heads]
    return heads, echo.bodies, wire.out, wire.ended, server.body_bytes, server.busy, waits


def both(pieces, monkeypatch):
    """The same with and without knowing heads again."""
    first = asyncio.run(told(pieces))
    with monkeypatch.context() as without:
        without.setattr(module, "known", lambda *_: None)
        return first, asyncio.run(told(pieces))


def one_request(length, body, *, lines=LINES, path=b"/echo?a=b"):
    lengths = b"content-length: " + length
    return b"POST %b HTTP/1.1\r\n%b\r\n%b\r\n\r\n%b" % (path, b"\r\n".join(lines), lengths, body)


bodies = st.one_of(st.binary(max_size=40), st.sampled_from([b"Upgrade: h2c\r\n\r\n", one_request(b"2", b"hi")]))
LENGTHS = (
    b"+5",
    b"05",
    b"5 ",
    b" 5",
    b"5\t",
    b"0x5",
    b"5,5",
    b"",
    b"99999999999",
    b"00000000005",
    b"5\r",
    b"5;",
    b"\xb25",
)


@st.composite
def sent(draw):
    """Some requests on one connection, most of them plain, all much alike; and cuts."""
    whole = b""
    for _ in range(draw(st.integers(2, 5))):
        body = draw(bodies)
        kind = draw(st.sampled_from(["plain", "plain", "plain", "length", "byte", "lines", "close", "feed", "chunked"]))
        length = b"%d" % len(body)
        if kind == "length":
            length = draw(st.sampled_from(LENGTHS))
        lines = LINES
        if kind == "lines":
            extra = draw(
                st.sampled_from(
                    [b"content-length: 3", b"x-a: b", b" folded", b"expect: 100-continue", b"x: \n", b"upgrade: h2c"]
                )
            )
            lines = (*LINES, extra)
        elif kind == "close":
            lines = (*LINES, b"connection: close")
        elif kind == "chunked":
            lines = (*LINES, b"transfer-encoding: chunked")
        text = one_request(length, body, lines=lines)
        if kind == "byte":
            at = draw(st.integers(0, len(text) - len(body) - 1))
            text = text[:at] + draw(st.binary(max_size=2)) + text[at + draw(st.integers(0, 2)) :]
        elif kind == "feed":
            text = draw(st.sampled_from([b"\r\n", b"\n", b"\r", b"\0"])) + text
        whole += text
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]


PLAIN = one_request(b"5", b"hello")


@given(sent())
@example([PLAIN, PLAIN])
@example([PLAIN, PLAIN.replace(b"5\r\n\r\nhello", b"0\r\n\r\n"), PLAIN])
@example([PLAIN, PLAIN[:-3], PLAIN[-3:] + PLAIN])
@example([PLAIN, PLAIN.replace(b"k\r\n", b"l\r\n")])
@example([PLAIN + PLAIN + PLAIN, PLAIN * 3])
def test_nobody_can_tell_whether_a_head_was_known(pieces):
    known_again, parsed = both(pieces, pytest.MonkeyPatch())
    assert known_again == parsed


@pytest.mark.parametrize("length", LENGTHS)
def test_a_length_that_is_not_plain_digits_is_the_parsers_to_judge(length, monkeypatch):
    first, second = both([PLAIN, one_request(length, b"hello"), PLAIN], monkeypatch)
    assert first == second


async def test_a_known_head_is_not_parsed_again(monkeypatch):
    class NoParser:
        def feed_data(self, data):
            raise AssertionError("parsed")

    server = Server(Echo(), SystemClock(), asyncio.get_running_loop())
    wire, one = Wire(), Connection(server)
    one.connection_made(wire)
    one.data_received(PLAIN)
    await asyncio.sleep(0)
    monkeypatch.setattr(one, "_parser", NoParser())
    body = b"another and longer"
    one.data_received(one_request(b"%d" % len(body), body)[:-7])
    one.data_received(body[-7:])
    await asyncio.sleep(0)
    one.connection_lost(None)
    assert server.application.bodies == [b"hello", body]
    assert server.application.heads[1].headers[b"content-length"] == b"%d" % len(body)
    assert server.application.heads[0].headers[b"content-length"] == b"5", (
        "the first request's own headers stay as they came"
    )


async def test_a_body_too_large_behind_a_known_head_is_refused_before_it_is_read():
    app = Echo()
    app.body_bytes_max = 10
    async with serving(app) as server:
        answer = await talk(server, request(body=b"short", close=False) + request(body=b"x" * 11, close=False))
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"HTTP/1.1 413" in answer
    assert app.bodies == [b"short"]


def test_only_plain_heads_on_kept_connections_are_known():
    class Told(Exception):
        pass

    def learned(text):
        kept = []

        def keep(data, read):
            found = known(data, read)
            kept.append(found)
            return found

        with pytest.MonkeyPatch().context() as patch:
            patch.setattr(module, "known", keep)
            asyncio.run(told([text]))
        return kept and kept[0] is not None

    assert learned(PLAIN)
    assert learned(PLAIN.replace(b"content-length", b"Content-Length"))
    assert not learned(one_request(b"5", b"hello", lines=(*LINES, b"connection: close")))
    assert not learned(one_request(b"5", b"hello", lines=(*LINES, b"expect: 100-continue")))
    assert not learned(one_request(b"5", b"hello", lines=(*LINES, b"x-long: " + b"a" * KNOWN_HEAD_BYTES_MAX)))
    assert not learned(b"\r\n" + PLAIN), "what stands before a head is not part of it"
    assert not learned(b"GET /get HTTP/1.1\r\nhost: a\r\n\r\n")
