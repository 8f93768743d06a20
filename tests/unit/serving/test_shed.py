"""What becomes of a connection whose request was refused for overload: it may be used again where that is cheap."""

import pytest

from ostiary.core.http import Answer
from ostiary.core.limit import REFUSED_BODY_BYTES_MAX
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
