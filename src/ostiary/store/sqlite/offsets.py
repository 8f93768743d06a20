"""How far each consumer has come in each origin of the journal; advanced in the transaction of what it consumed."""

from typing import Final

from ostiary.govern.usage.model import Place
from ostiary.store.sqlite.database import Tx

_GET: Final = "SELECT segment, offset, sequence FROM offsets WHERE consumer = ? AND origin = ?"
_PUT: Final = (
    "INSERT INTO offsets (consumer, origin, segment, offset, sequence) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (consumer, origin) DO UPDATE SET "
    "segment = excluded.segment, offset = excluded.offset, sequence = excluded.sequence"
)


def place(tx: Tx, consumer: str, origin: str) -> Place:
    """Where the consumer stands; Place() where it has not begun."""
    row = tx.row(_GET, (consumer, origin))
    if row is None:
        return Place()
    segment, offset, sequence = row
    return Place(int(segment or 0), int(offset or 0), int(sequence or 0))


def advance(tx: Tx, consumer: str, origin: str, after: Place) -> None:
    """The consumer stands at `after`, from this transaction on."""
    tx.run(_PUT, (consumer, origin, after.segment, after.offset, after.sequence))
