"""What the projector needs of the world besides its view (`govern/usage/ports.py`, port `UsageView`)."""

from collections.abc import Iterator
from typing import Protocol

from ostiary.store.journal.layout import Position
from ostiary.store.journal.reader import Entry


class JournalSource(Protocol):
    """The journals of this installation. A record given is on the device for good."""

    def origins(self) -> list[str]: ...

    def stamp(self) -> object:
        """A value that is another whenever there may be something new to read; cheap."""
        ...

    def read(self, origin: str, start: Position) -> Iterator[Entry]:
        """What follows `start`; START is the beginning. OperatorError journal.corrupt where it cannot be read."""
        ...

    def unread(self, origin: str, start: Position) -> int:
        """How many bytes follow `start`. OperatorError journal.corrupt where that cannot be told."""
        ...
