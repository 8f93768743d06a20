"""The delivery of alerts in the ops process: looks for what is due and sends it, channel by channel."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from functools import partial
from typing import Final, final

from ostiary.bootstrap.channels import channels_of
from ostiary.core.error import OstiaryError
from ostiary.core.limit import ALERT_KEPT_SECONDS
from ostiary.core.port import Clock
from ostiary.jobs.alerts.ports import AlertQueue
from ostiary.jobs.alerts.service import Channel, Deliveries
from ostiary.net.client import HttpUpstream
from ostiary.settings import Loaded
from ostiary.telemetry import log

LOOK_SECONDS: Final = 1.0
_FORGET_LOOKS: Final = 3_600
_NANO: Final = 1_000_000_000
_log: Final = log.Log("alerts")


@final
class Notifier:
    """Delivers until told to stop. A channel that hangs holds up no other; each sends one message at a time."""

    def __init__(self, queue: AlertQueue, clock: Clock) -> None:
        self._queue = queue
        self._clock = clock
        self._upstream = HttpUpstream(clock)
        self._channels: tuple[Channel, ...] = ()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._deliveries = Deliveries(queue, clock, spread=random.SystemRandom().random, told=_told)

    def configure(self, loaded: Loaded) -> None:
        """Take the channels of a file. Raises OperatorError config.invalid, and leaves them as they were."""
        self._channels = channels_of(loaded, self._upstream, self._clock)

    async def run(self, stop: asyncio.Event, fault: Callable[[str], None]) -> None:
        """Until `stop`; `fault` hears why nothing can be delivered, at each look while it lasts."""
        loop = asyncio.get_running_loop()
        looks = 0
        while not stop.is_set():
            for channel in self._channels:
                if channel.name not in self._busy:
                    task = loop.create_task(self._serve(channel, fault))
                    self._busy[channel.name] = task
                    task.add_done_callback(partial(self._served, channel.name))
            if looks % _FORGET_LOOKS == 0:
                with contextlib.suppress(OstiaryError):  # another time will do
                    await asyncio.to_thread(self._queue.forget, self._clock.now_ns() - ALERT_KEPT_SECONDS * _NANO)
            looks += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
        for task in self._busy.values():
            task.cancel()  # what was claimed is due again when the claim ends
        await asyncio.gather(*self._busy.values(), return_exceptions=True)
        await self._upstream.aclose()

    def _served(self, name: str, task: asyncio.Task[None]) -> None:
        del self._busy[name], task

    async def _serve(self, channel: Channel, fault: Callable[[str], None]) -> None:
        try:
            while (pending := await asyncio.to_thread(self._deliveries.due, channel)) is not None:
                await asyncio.to_thread(await self._deliveries.attempt(channel, pending))
        except OstiaryError as error:
            fault(error.message)


def _told(channel: str, alert_id: str, reason: str, last: bool) -> None:
    if not reason:
        _log.info("alert_delivered", channel=channel, alert=alert_id)
    elif last:
        _log.error("alert_given_up", channel=channel, alert=alert_id, reason=reason)
    else:
        _log.warning("alert_not_delivered", channel=channel, alert=alert_id, reason=reason)
