"""What purges need of a store."""

from typing import Protocol

from ostiary.govern.change import Change
from ostiary.govern.purges.model import Purge


class PurgeStore(Protocol):
    """The last purge of each tag. A write is durable on return, together with its change; OperatorError
    store.unavailable where the store cannot be used, and then nothing was written."""

    def purge(self, purge: Purge, change: Change, forget_before_ns: int) -> int:
        """Write a purge in place of an earlier one of its tag, and give its number, which is that of its change. What
        was purged before `forget_before_ns` is forgotten."""
        ...

    def list(self, since_ns: int, count_max: int) -> list[Purge]:
        """Those since then, the last first, at most so many."""
        ...
