"""What usage needs of a store: the projector's side, which writes, and the reports' side, which reads."""

from typing import Protocol

from ostiary.govern.usage.model import Batch, Consumed, Place, UsageLine, UsageQuery


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


class UsageUpkeep(Protocol):
    """What is done for the tables from time to time."""

    def keep(self, today: str, since: str) -> None:
        """Make room for the calls of `today` and the next days, and give up single calls of days before `since` ("":
        none), both YYYY-MM-DD. Sums by day stay. May be done by several at once.

        Raises OperatorError store.unavailable.
        """
        ...


class UsageReader(Protocol):
    """Projected usage. OperatorError store.unavailable where the store cannot be used."""

    def report(self, query: UsageQuery) -> list[UsageLine]:
        """Groups in the order of their names. A percentile is that of the calls themselves (nearest rank). Calls from
        before projects, features and end users were kept count as of none."""
        ...

    def consumed(self, query: UsageQuery) -> list[Consumed]:
        """What the calls that were charged for consumed, in the order of their groups and days; `query.by` may be
        empty."""
        ...


class UsageStore(UsageView, UsageUpkeep, UsageReader, Protocol):
    """All of it."""
