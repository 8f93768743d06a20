"""What reviews need of the world."""

from typing import Protocol

from ostiary.core.review import Review, Verdict
from ostiary.govern.change import Change
from ostiary.govern.reviews.model import Notice, Queued


class ReviewStore(Protocol):
    """The review queue. Every write is durable on return, together with its change; OperatorError store.unavailable where
    the store cannot be used, and then nothing was written."""

    def add(self, review: Review, question: bytes) -> None:
        """Put a call on the queue with its sealed request; one that is there stays as it is."""
        ...

    def queued(self, tenant: str | None, count_max: int, *, waiting: bool | None = None) -> list[Queued]:
        """Those of a tenant, or all, the oldest first: only those that wait, only the others, or both."""
        ...

    def waiting(self, now_seconds: int) -> tuple[int, int]:
        """How many of all tenants wait for somebody, and since when the oldest of them does (`at_ns`; 0 where none)."""
        ...

    def find(self, word: str) -> Queued | None:
        """The one with this ticket or request id."""
        ...

    def question(self, review: Review, change: Change) -> bytes:
        """Its sealed request, with the change that says who read it; empty once it is decided."""
        ...

    def decide(self, review: Review, verdict: Verdict, decision: bytes, change: Change) -> bool:
        """Decide one that waits: its request is given up, its sealed decision kept. False, and nothing is written, where it
        is decided already."""
        ...

    def record(self, review: Review, at_ns: int) -> None:
        """The journal has its decision: from here on it is told."""
        ...

    def recorded(self, since_ns: int) -> list[Review]:
        """Those whose decision was recorded since then."""
        ...

    def decision(self, review: Review) -> bytes:
        """Its sealed decision; empty where there is none."""
        ...

    def claim(self, callback: str, now_ns: int, until_ns: int) -> Notice | None:
        """One that is due to be told of at a callback; nobody else gets it before `until_ns`. Counts as an attempt."""
        ...

    def notified(self, ticket: str, at_ns: int) -> None:
        """The callback has heard of it."""
        ...

    def not_notified(self, ticket: str, next_ns: int) -> None:
        """It has not, and will be told again at `next_ns`; 0: not again."""
        ...

    def forget(self, now_seconds: int) -> int:
        """Give up what has ended, decided or not; how many."""
        ...


class Seals(Protocol):
    """How content is sealed where it rests."""

    def seal(self, tenant: str, ticket: str, purpose: str, data: bytes) -> bytes:
        """The data, sealed."""
        ...

    def open(self, tenant: str, ticket: str, purpose: str, sealed: bytes) -> bytes:
        """What was sealed. Raises OperatorError store.unavailable where this is not it."""
        ...
