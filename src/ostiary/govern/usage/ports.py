"""What usage needs of a store: the projector's side, which writes, and the reports' side, which reads."""

from typing import Protocol

from ostiary.govern.usage.model import Batch, Place, UsageLine, UsageQuery


class UsageView(Protocol):
    """The tables projected into."""

    def place(self, consumer: str, origin: str) -> Place:
        """How far a consumer has come; Place() where it has not begun."""
        ...

    def apply(self, consumer: str, origin: str, before: Place, after: Place, batch: Batch) -> bool:
        """Add a batch and move the consumer from `before` to `after`, together or not at all, durably.

        False, and nothing done, where the consumer is not at `before`: someone else moved it. Raises OperatorError
        store.unavailable where the store cannot be used.
        """
        ...


class UsageReader(Protocol):
    """Projected usage. OperatorError store.unavailable where the store cannot be used."""

    def report(self, query: UsageQuery) -> list[UsageLine]:
        """Groups in the order of their names. A percentile is that of the calls themselves (nearest rank)."""
        ...
