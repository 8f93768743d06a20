"""The gates of one worker: what the loop's lag does to them, and what they cost where nothing waits."""

from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.error import Code
from ostiary.core.limit import LAG_LOOKS_COUNT
from ostiary.core.principal import Priority
from ostiary.gateway.admit.drain import Pressure
from ostiary.gateway.admit.gate import Gate
from ostiary.gateway.admit.room import Room, Ticket
from ostiary.gateway.admit.watch import LoopWatch
from ostiary.snapshot.tables import GateRow
from ostiary.testing.clock import FakeClock


class LateLoop:
    """Runs its timers when asked to, later than they wanted."""

    def __init__(self):
        self.now, self.timers = 100.0, []

    def time(self):
        return self.now

    def call_later(self, delay, callback):
        self.timers.append((self.now + delay, callback))
        return self

    def cancel(self):
        self.timers.clear()

    def run(self, lag):
        (due, callback), *self.timers = self.timers
        self.now = due + lag
        callback()


def watched(lags):
    """What is known of the lag after looks that came so much too late."""
    loop, pressure = LateLoop(), Pressure(0.1)
    watch = LoopWatch(pressure, loop)
    for lag in lags:
        loop.run(lag)
    watch.stop()
    assert not loop.timers
    return pressure


def test_fd38_a_loop_that_is_late_again_and_again_is_overloaded_and_one_long_step_is_not():
    assert watched([0.5] * LAG_LOOKS_COUNT).high
    assert not watched([0.0, 2.0, 0.0]).high
    assert not watched([0.5] * LAG_LOOKS_COUNT + [0.0]).high


@given(st.lists(st.sampled_from(["take", "wait", "leave", "pass"]), max_size=40))
def test_a_place_given_back_at_a_gate_is_given_back_to_its_room(steps):
    """Where nobody waits the gate does it by itself, without asking for the time: nothing may differ."""
    clock = FakeClock()
    gate, room = Gate("g", GateRow(2, 3, 60.0), clock, lambda *_: None, Code.MODEL_BUSY), Room(2, 3)
    tickets: list[tuple[Ticket, Ticket]] = []
    for step in steps:
        now = clock.monotonic()
        if step == "take":
            assert gate.take() is room.take(now)
        elif step == "wait":
            pair = Ticket("t", 1, Priority.STANDARD, now + 60.0), Ticket("t", 1, Priority.STANDARD, now + 60.0)
            gate.room.enter(pair[0], now)
            room.enter(pair[1], now)
            tickets.append(pair)
        elif step == "leave" and room.in_flight:
            gate.leave()
            room.leave(now)
        else:
            clock.advance(0.5)
        assert (gate.room.in_flight, gate.room.waiting) == (room.in_flight, room.waiting)
        assert [(one.verdict, one.seconds) for one, _ in tickets] == [(two.verdict, two.seconds) for _, two in tickets]
