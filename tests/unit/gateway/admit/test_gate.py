"""The gates of one worker: what the loop's lag does to them, and what they cost where nothing waits."""

import asyncio

from ostiary.core.limit import LAG_LOOKS_COUNT
from ostiary.gateway.admit.drain import Pressure
from ostiary.gateway.admit.gate import watch_loop
from ostiary.testing.clock import FakeClock


async def watched(lags):
    """What is known of the lag after looks that came so much too late."""
    clock, pressure, late = FakeClock(), Pressure(0.1), iter(lags)

    async def sleep(seconds):
        lag = next(late, None)
        if lag is None:
            raise asyncio.CancelledError
        clock.advance(seconds + lag)

    task = asyncio.get_running_loop().create_task(watch_loop(pressure, clock, sleep))
    await asyncio.wait([task])
    return pressure


async def test_fd38_a_loop_that_is_late_again_and_again_is_overloaded_and_one_long_step_is_not():
    assert (await watched([0.5] * LAG_LOOKS_COUNT)).high
    assert not (await watched([0.0, 2.0, 0.0])).high
    assert not (await watched([0.5] * LAG_LOOKS_COUNT + [0.0])).high
