"""Reservations: an upper bound taken before a call, settled at what it cost or released, exactly once; pure.

Today no budget stands behind a hold; it still bounds what is open, and the exchange keeps the discipline that
budgets will rest on.
"""

import msgspec

from ostiary.core.usage import Nano


class Hold(msgspec.Struct, frozen=True):
    """An open reservation of `nano`."""

    number: int
    nano: Nano


class Holds:
    """The open reservations of one worker."""

    def __init__(self) -> None:
        self._open: dict[int, Hold] = {}
        self._next = 0
        self.reserved_nano = 0
        self.settled_nano = 0

    def reserve(self, nano: Nano) -> Hold:
        """Open a hold of `nano` >= 0."""
        hold = Hold(self._next, nano)
        self._next += 1
        self._open[hold.number] = hold
        self.reserved_nano += nano
        return hold

    def settle(self, hold: Hold, nano: Nano) -> None:
        """Close a hold at what the call cost (0: released). Raises ValueError where it is not open."""
        if self._open.pop(hold.number, None) is None:
            raise ValueError("a hold is settled once")
        self.reserved_nano -= hold.nano
        self.settled_nano += nano

    @property
    def open_count(self) -> int:
        """How many holds are open."""
        return len(self._open)
