"""What the delivery of alerts needs of the world."""

from typing import Protocol

from ostiary.jobs.alerts.model import Message, Pending, Standing


class DeliveryFailed(Exception):  # noqa: N818 - what happened, not what is wrong with us
    """A channel did not take a message. With `final` it never will: the address is gone, or refuses for good."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


class AlertQueue(Protocol):
    """The alerts of the last days and where they stand. OperatorError store.unavailable where the store cannot be used."""

    def claim(self, channel: str, now_ns: int, until_ns: int, since_ns: int, count_max: int) -> list[Pending]:
        """Alerts since `since_ns` that are due for a channel, the oldest first; nobody else gets them before `until_ns`.
        Each counts as an attempt."""
        ...

    def delivered(self, alert_id: str, channel: str, at_ns: int) -> None:
        """The channel has heard of it."""
        ...

    def failed(self, alert_id: str, channel: str, next_ns: int, reason: str) -> None:
        """It has not, and will be tried again at `next_ns`; 0: not again."""
        ...

    def standings(self, since_ns: int, count_max: int) -> list[tuple[Pending, list[Standing]]]:
        """The latest alerts, the newest first, each with where it stands."""
        ...

    def forget(self, before_ns: int) -> None:
        """Give up alerts from before `before_ns`."""
        ...


class Sender(Protocol):
    """The way to a channel."""

    async def send(self, message: Message, now_seconds: int) -> None:
        """Give the message over. Raises DeliveryFailed."""
        ...
