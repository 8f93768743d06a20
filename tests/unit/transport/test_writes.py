"""Writes gathered to the end of a turn of the loop."""

import asyncio

import pytest

from ostiary.core.limit import GATHERED_BYTES_MAX
from ostiary.transport.writes import Writes


class Peer:
    """A transport that keeps what it is given."""

    def __init__(self, log):
        self.log = log
        self.closing = False
        self.fault = None

    def is_closing(self):
        return self.closing

    def write(self, data):
        if self.fault is not None:
            raise self.fault
        self.log.append((self, data))


@pytest.fixture
async def writes():
    return Writes(asyncio.get_running_loop())


async def turn():
    await asyncio.sleep(0)


async def test_nothing_is_written_before_the_turn_is_over_and_everything_after(writes):
    log = []
    one, other = Peer(log), Peer(log)
    writes.add(one, b"a")
    writes.add(other, b"b")
    assert log == []
    await turn()
    assert log == [(one, b"a"), (other, b"b")]


async def test_what_goes_to_one_peer_in_a_row_is_one_write_in_its_order(writes):
    log = []
    one, other = Peer(log), Peer(log)
    for data in (b"1", b"2", b"3"):
        writes.add(one, data)
    writes.add(other, b"x")
    writes.add(one, b"4")
    await turn()
    assert log == [(one, b"123"), (other, b"x"), (one, b"4")]


async def test_what_waits_for_a_closing_peer_is_dropped(writes):
    log = []
    one, other = Peer(log), Peer(log)
    writes.add(one, b"a")
    writes.add(other, b"b")
    one.closing = True
    await turn()
    assert log == [(other, b"b")]


async def test_a_write_that_fails_does_not_keep_the_others_from_theirs(writes):
    log, told = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    one, other = Peer(log), Peer(log)
    one.fault = RuntimeError("the handler is closed")
    writes.add(one, b"a")
    writes.add(other, b"b")
    await turn()
    await turn()
    assert log == [(other, b"b")]
    assert told == [one.fault]


async def test_beyond_the_bound_everything_goes_out_at_once(writes):
    log = []
    one, other = Peer(log), Peer(log)
    writes.add(one, b"a")
    writes.add(other, b"x" * GATHERED_BYTES_MAX)
    assert [peer for peer, _ in log] == [one, other]
    await turn()
    assert len(log) == 2


async def test_a_turn_is_counted_when_what_was_added_has_been_handed_over(writes):
    before = writes.turns
    writes.add(Peer([]), b"a")
    assert writes.turns == before
    writes.flush()
    assert writes.turns != before
