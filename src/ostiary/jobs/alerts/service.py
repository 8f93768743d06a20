"""The delivery of alerts: each channel hears of each alert that is for it, once if it says so, and again until it does.

An attempt that brings no confirmation is made again after ATTEMPT_AFTER_SECONDS, spread by a tenth, and given up after
the last of them. A receiver tells repetitions by the message's id.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, final

import msgspec

from ostiary.core.event import BudgetAlert
from ostiary.core.limit import ALERT_ATTEMPT_SECONDS_MAX, ALERT_BEGIN_SECONDS_MAX, ALERT_CLAIM_SECONDS
from ostiary.core.port import Clock
from ostiary.jobs.alerts.model import TEST_TYPE, Pending, message, tenant_of
from ostiary.jobs.alerts.ports import AlertQueue, DeliveryFailed, Sender

ATTEMPT_AFTER_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
"""The waits between attempts, as the Standard Webhooks specification advises: eight in somewhat more than a day."""

_NANO: Final = 1_000_000_000


class Channel(msgspec.Struct, frozen=True):
    """Who is to hear of alerts: of every one, or of those of some tenants."""

    name: str
    sender: Sender
    tenants: frozenset[str] = frozenset()

    def wants(self, alert: BudgetAlert) -> bool:
        """Whether an alert is for it."""
        return not self.tenants or tenant_of(alert.scope) in self.tenants


@final
class Deliveries:
    """Delivers what is due. `told` hears of each attempt: channel, alert's id, why it failed (empty: it did not), and
    whether that was the last."""

    def __init__(
        self,
        queue: AlertQueue,
        clock: Clock,
        *,
        spread: Callable[[], float],
        told: Callable[[str, str, str, bool], None],
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._spread = spread
        self._told = told

    def due(self, channel: Channel) -> Pending | None:
        """What a channel is to hear next, if there is something. It is claimed by itself: what waits behind a slow attempt
        stays free for others. Blocks on the store."""
        now_ns = self._clock.now_ns()
        found = self._queue.claim(
            channel.name,
            now_ns,
            now_ns + ALERT_CLAIM_SECONDS * _NANO,
            now_ns - ALERT_BEGIN_SECONDS_MAX * _NANO,
            1,
        )
        return found[0] if found else None

    async def attempt(self, channel: Channel, pending: Pending) -> Callable[[], None]:
        """Try one; gives what is to be done to the store, which blocks."""
        if not channel.wants(pending.alert):
            return lambda: self._queue.failed(pending.id, channel.name, 0, "")
        now_ns = self._clock.now_ns()
        try:
            async with asyncio.timeout(ALERT_ATTEMPT_SECONDS_MAX):
                await channel.sender.send(message(pending.id, pending.alert), now_ns // _NANO)
        except Exception as error:  # noqa: BLE001 - whatever a channel does, the attempt has failed and counts
            failed = error if isinstance(error, DeliveryFailed) else DeliveryFailed(f"failed: {type(error).__name__}")
            last = failed.final or pending.attempts > len(ATTEMPT_AFTER_SECONDS)
            self._told(channel.name, pending.id, failed.reason, last)
            wait = 0.0 if last else ATTEMPT_AFTER_SECONDS[pending.attempts - 1] * (0.95 + 0.1 * self._spread())
            next_ns = 0 if last else self._clock.now_ns() + int(wait * _NANO)
            return lambda: self._queue.failed(pending.id, channel.name, next_ns, failed.reason)
        self._told(channel.name, pending.id, "", True)
        at_ns = self._clock.now_ns()
        return lambda: self._queue.delivered(pending.id, channel.name, at_ns)


def find(channels: Sequence[Channel], name: str) -> Channel | None:
    """The channel of a name."""
    return next((one for one in channels if one.name == name), None)


async def send_test(channel: Channel, now_ns: int) -> None:
    """Send a message that says it is a test. Raises DeliveryFailed."""
    seconds = now_ns // _NANO
    alert = BudgetAlert(now_ns, "test", 0.0, seconds, seconds)
    await channel.sender.send(message(f"test_{now_ns}", alert, TEST_TYPE), seconds)
