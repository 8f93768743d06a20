"""What the installation as a whole needs of a store, besides the stores of each noun."""

from typing import Protocol

from ostiary.govern.change import Change


class Installation(Protocol):
    """Facts that are written once and never change. OperatorError store.unavailable where the store cannot be used."""

    def recall(self, name: str) -> str | None:
        """The value of this fact, or None where none is known."""
        ...

    def remember(self, name: str, value: str) -> str:
        """The value of this fact: the one given where none was known yet, else the one known. Of any number of
        processes that do this at once, all get the same."""
        ...


class Outbox(Protocol):
    """The changes in the order in which they came to be seen: whoever has read up to a number never finds a smaller one
    later. Numbers have no gaps."""

    def since(self, number: int, count_max: int = 1_000) -> list[tuple[int, Change]]:
        """Changes after `number`, with theirs."""
        ...

    def last(self) -> int:
        """The number of the last change; 0 where there is none."""
        ...

    def waiting(self) -> bool:
        """Whether a change was not delivered yet; cheap."""
        ...

    def claim(self, by: str, now_ns: int, until_ns: int, count_max: int) -> list[tuple[int, Change]]:
        """The first changes that were not delivered, with their numbers, for `by` to deliver: until `until_ns` nobody else
        gets any. None where somebody else's claim on one of them holds, so that changes are delivered in their order.
        One's own claim is no hindrance: who died and came back goes on."""
        ...

    def release(self, by: str) -> None:
        """Give up what `by` claimed and did not deliver, for others to have."""
        ...

    def delivered(self, number: int, at_ns: int) -> None:
        """Everything up to `number` was delivered."""
        ...


class Database(Protocol):
    """The database behind the stores."""

    def revision(self) -> int:
        """A number that went up if anything the publisher reads was changed, by any process."""
        ...

    def close(self) -> None:
        """End; the stores are then useless."""
        ...
