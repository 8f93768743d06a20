"""How late the event loop runs, measured for ever."""

import asyncio

from ostiary.core.limit import LAG_LOOK_SECONDS
from ostiary.gateway.admit.drain import Pressure


class LoopWatch:
    """Tells `pressure` every LAG_LOOK_SECONDS how late the loop is, from now until `stop`: often enough to shed calls for
    it. A timer and no task, which would wake the loop twice for each look, and an idle worker does little else."""

    __slots__ = ("_expected", "_loop", "_pressure", "_timer")

    def __init__(self, pressure: Pressure, loop: asyncio.AbstractEventLoop) -> None:
        self._pressure = pressure
        self._loop = loop
        self._arm()

    def _arm(self) -> None:
        self._expected = self._loop.time() + LAG_LOOK_SECONDS
        self._timer = self._loop.call_later(LAG_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._pressure.look(self._loop.time() - self._expected)
        self._arm()

    def stop(self) -> None:
        """The last look was the last."""
        self._timer.cancel()
