"""How much of the journal is not in the store yet: what would be lost with this machine's disk."""

from typing import final

from ostiary.core.error import OstiaryError
from ostiary.govern.usage.model import Batch, Place
from ostiary.govern.usage.ports import UsageView
from ostiary.projector.ports import JournalSource
from ostiary.store.journal.layout import Position


@final
class Shipped:
    """A view (port `UsageView`) that remembers how far each origin was seen to have come in it, so that what is left can
    be told while the store is away. Belongs to one projector; `unshipped` may be asked for on another thread."""

    def __init__(self, view: UsageView) -> None:
        self._view = view
        self._places: dict[str, Place] = {}

    def place(self, consumer: str, origin: str) -> Place:
        """As the view says."""
        place = self._view.place(consumer, origin)
        self._places[origin] = place
        return place

    def apply(self, consumer: str, origin: str, before: Place, after: Place, batch: Batch) -> bool:
        """As the view does."""
        done = self._view.apply(consumer, origin, before, after, batch)
        if done:
            self._places[origin] = after
        return done

    def unshipped(self, source: JournalSource) -> dict[str, int]:
        """The bytes on this machine's device that the store does not have, by origin; those that have none are left out.

        An origin of which the store was never heard counts whole, and one whose end cannot be told is left out: the
        projector names it as faulty. Reads files, not the store.
        """
        left: dict[str, int] = {}
        for origin in source.origins():
            place = self._places.get(origin, Place())
            try:
                count = source.unread(origin, Position(place.segment, place.offset, place.sequence))
            except (OstiaryError, OSError):
                continue
            if count:
                left[origin] = count
        return left
