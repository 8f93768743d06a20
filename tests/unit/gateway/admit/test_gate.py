"""The gates of one worker: what the loop's lag does to them, and what they cost where nothing waits."""

from ostiary.core.limit import LAG_LOOKS_COUNT
from ostiary.gateway.admit.drain import Pressure
from ostiary.gateway.admit.watch import LoopWatch


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
