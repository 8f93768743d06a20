"""Which kept answers are not to be given again, as the control plane publishes it: one small file beside the snapshot, so
that a purge changes nothing else."""

from collections.abc import Iterable
from typing import Final

import msgspec

from ostiary.core.error import Code, OperatorError

_MAGIC: Final = b"OSTIARY-PURGES 1\n"


class Purges(msgspec.Struct, frozen=True):
    """`last` is the number of the last purge, `rows` the number of the last one by tenant (empty: every one) and tag
    (empty: every one), `floor` a number up to which everything counts as purged."""

    last: int = 0
    rows: tuple[tuple[str, str, int], ...] = ()
    floor: int = 0


class PurgeTable:
    """Purges as workers ask for them."""

    def __init__(self, purges: Purges) -> None:
        self.last = purges.last
        self._floor = purges.floor
        self._numbers = {(tenant, tag): number for tenant, tag, number in purges.rows}

    def covers(self, tenant: str, tags: Iterable[str], number: int) -> bool:
        """Whether an answer of a tenant with these tags, asked for when purge `number` was the last one known, was purged
        since. One that knows of a later purge than this table is of another history, such as that of a database before
        it was restored, or of a worker that looked a moment later: it counts as purged."""
        if number == self.last:
            return False
        if number > self.last or number < self._floor:
            return True
        numbers = self._numbers
        return any(numbers.get((whose, tag), 0) > number for tag in ("", *tags) for whose in (tenant, ""))


def encode_purges(purges: Purges) -> bytes:
    """The bytes of the file."""
    return _MAGIC + msgspec.msgpack.encode(purges)


def decode_purges(data: bytes) -> Purges:
    """What stands in the file. Raises OperatorError config.invalid."""
    if not data.startswith(_MAGIC):
        raise OperatorError(Code.CONFIG_INVALID, "this is no file of purges, or one of another version")
    try:
        return msgspec.msgpack.decode(data[len(_MAGIC) :], type=Purges)
    except msgspec.MsgspecError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"the purges cannot be read: {error}") from error
