"""How far each consumer has come in each origin of the journal; advanced in the transaction of what it consumed."""

from typing import Final

from ostiary.govern.usage.model import Place
from ostiary.store.postgresql.database import Tx

_GET: Final = "SELECT segment, byte, sequence FROM offsets WHERE consumer = %s AND origin = %s"
_BEGIN: Final = (
    "INSERT INTO offsets (consumer, origin, segment, byte, sequence) VALUES (%s, %s, %s, %s, %s) "
    "ON CONFLICT (consumer, origin) DO UPDATE SET "
    "segment = excluded.segment, byte = excluded.byte, sequence = excluded.sequence "
    "WHERE (offsets.segment, offsets.byte, offsets.sequence) = (%s, %s, %s)"
)
_MOVE: Final = (
    "UPDATE offsets SET segment = %s, byte = %s, sequence = %s "
    "WHERE consumer = %s AND origin = %s AND (segment, byte, sequence) = (%s, %s, %s)"
)


def place(tx: Tx, consumer: str, origin: str) -> Place:
    """Where the consumer stands; Place() where it has not begun."""
    row = tx.row(_GET, (consumer, origin))
    if row is None:
        return Place()
    segment, byte, sequence = row
    return Place(int(segment or 0), int(byte or 0), int(sequence or 0))


def advance(tx: Tx, consumer: str, origin: str, before: Place, after: Place) -> bool:
    """Move the consumer from `before` to `after`; False where it is not there, or not any more: of several that move it
    at once the first one does, and the others wait for the end of its transaction to see that."""
    start, end = (before.segment, before.offset, before.sequence), (after.segment, after.offset, after.sequence)
    if before == Place():
        return tx.run(_BEGIN, (consumer, origin, *end, *start)) == 1
    return tx.run(_MOVE, (*end, consumer, origin, *start)) == 1
