import asyncio

import pytest

from ostiary.core import limit
from ostiary.core.error import Code, UpstreamError
from ostiary.net.reply import Reply


class Line:
    def __init__(self):
        self.resumed = self.aborted = 0

    def resume(self):
        self.resumed += 1

    def abort(self):
        self.aborted += 1


@pytest.fixture
async def line():
    return Line()


@pytest.fixture
async def reply(line):
    return Reply(asyncio.get_running_loop(), line)


CUT = UpstreamError(Code.UPSTREAM_CUT, "cut")


async def test_pieces_that_wait_are_joined(reply):
    reply.status = 200
    for piece in (b"a", b"b", b"c"):
        reply.body(piece)
    assert await reply.chunk() == b"abc"
    reply.completed()
    assert await reply.chunk() == b""


async def test_a_failure_comes_after_the_bytes_before_it_and_again(reply):
    reply.status = 200
    reply.body(b"a")
    reply.failed(CUT)
    assert await reply.chunk() == b"a"
    for _ in range(2):
        with pytest.raises(UpstreamError):
            await reply.chunk()


async def test_a_reader_who_waits_is_woken(reply):
    reply.status = 200
    for act, got in ((lambda: (reply.body(b"x"), reply.wake()), b"x"), (reply.completed, b"")):
        task = asyncio.get_running_loop().create_task(reply.chunk())
        await asyncio.sleep(0)
        act()
        assert await task == got


async def test_reading_resumes_only_after_it_was_full(reply, line):
    reply.body(b"x")
    assert not reply.full()
    await reply.chunk()
    assert line.resumed == 0
    reply.body(bytes(limit.UPSTREAM_BUFFER_BYTES_MAX))
    assert reply.full()
    await reply.chunk()
    assert line.resumed == 1
    assert not reply.full()


async def test_small_pieces_count_for_what_they_cost(reply):
    count = 0
    while not reply.full():
        reply.body(b"x")
        count += 1
    assert count < limit.UPSTREAM_BUFFER_BYTES_MAX / 32


@pytest.mark.parametrize(("length", "read"), [(b"3", b"abc"), (None, b"abc")])
async def test_read_gives_the_whole(reply, length, read):
    reply.status, reply.headers = 200, ((b"content-length", length),) if length else ()
    reply.body(b"abc")
    task = asyncio.get_running_loop().create_task(reply.read(3))
    await asyncio.sleep(0)
    reply.completed()
    assert await task == read


@pytest.mark.parametrize("length", [b"4", b"9" * 30])
async def test_an_announced_length_beyond_the_bound_is_refused_before_a_byte(reply, line, length):
    reply.status, reply.headers = 200, ((b"content-length", length),)
    with pytest.raises(UpstreamError) as caught:
        await reply.read(3)
    assert caught.value.code == Code.UPSTREAM_TOO_LARGE
    assert line.aborted == 1


async def test_a_complete_answer_beyond_the_bound_is_refused(reply):
    reply.status = 200
    reply.body(b"abcd")
    reply.completed()
    with pytest.raises(UpstreamError) as caught:
        await reply.read(3)
    assert caught.value.code == Code.UPSTREAM_TOO_LARGE


async def test_cancelling_a_read_drops_the_connection(reply, line):
    task = asyncio.get_running_loop().create_task(reply.chunk())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert line.aborted == 1
    with pytest.raises(UpstreamError):
        await reply.chunk()


async def test_closing_twice_aborts_once_and_after_the_end_never(reply, line):
    reply.completed()
    reply.close()
    assert line.aborted == 0
    other = Reply(asyncio.get_running_loop(), line)
    other.close()
    other.close()
    assert line.aborted == 1
