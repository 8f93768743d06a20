"""FD-39: the clock on the wall goes forward, back or stands still while calls run. What bounds a call is the clock that
only goes on; what orders records is their number."""

import pytest

from ostiary.core.event import Kind, Outcome
from ostiary.gateway.audit import record
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.store.journal.layout import START
from ostiary.store.journal.reader import read
from ostiary.store.journal.verify import verify
from ostiary.testing.clock import FakeClock
from tests.exchange.harness import House
from tests.unit.store.journal.chain import ORIGIN, Client, opened, start, stop

HOUR = 3_600.0
JUMPS = {"forward": HOUR, "back": -HOUR, "a day back": -24 * HOUR, "standing still": 0.0}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
async def test_fd39_a_jump_of_the_wall_clock_neither_ends_a_call_nor_bends_its_timings(jump, stream):
    house = House(behaviour=Behaviour(first_byte_seconds=0.5, tokens_per_second=10.0, tokens=8))

    async def on_the_way(_place):
        house.clock.set_wall(jump)

    house.upstream.pause = on_the_way
    sink = await house.chat(stream=stream)
    house.check()
    assert sink.status == 200
    closed = house.closed
    assert closed.outcome is Outcome.SUCCEEDED
    timings = closed.timings
    assert 0 <= timings.received_ms <= timings.sent_ms <= timings.first_byte_ms <= timings.first_content_ms
    assert timings.first_content_ms <= timings.total_ms < 60_000


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
async def test_fd39_a_timeout_comes_after_its_own_time_whatever_the_wall_shows(jump):
    house = House(behaviour=Behaviour(fault=Fault.STALL, after=3))

    async def on_the_way(_place):
        house.clock.set_wall(jump)

    house.upstream.pause = on_the_way
    began = house.clock.monotonic()
    await house.chat("spare", stream=True)
    house.check()
    assert house.closed.error == "upstream.timeout"
    assert house.clock.monotonic() - began == pytest.approx(15.0)


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
def test_fd39_the_journal_is_in_the_order_of_its_numbers_and_proves_whole(tmp_path, jump):
    clock = FakeClock()
    started = start(tmp_path, clock=clock, segment_bytes=1_200)
    client = Client(started.writer)
    for _ in range(8):
        started.writer.work()
        clock.set_wall(jump)
        client.call()
    sequence = client.append(Kind.OPENED, opened(99))
    stop(started)
    clock.set_wall(jump)
    again = start(tmp_path, clock=clock, segment_bytes=1_200)
    again.writer.work()
    again.journal.close()
    assert [problem for report in verify(tmp_path) for problem in report.problems] == []
    found = list(read(tmp_path / ORIGIN, START))
    numbers = [item.sequence for item in found if item.kind != Kind.SEGMENT]
    assert numbers == list(range(len(numbers)))
    ends = [record.decode(Kind.CLOSED, item.payload) for item in found if item.kind == Kind.CLOSED]
    assert [one.outcome for one in ends if one.opened == sequence] == [Outcome.ABORTED]
