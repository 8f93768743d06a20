"""A journal in memory. Implements ports.Journal."""

from ostiary.core.error import Code, GatewayError
from ostiary.core.event import Kind
from ostiary.gateway.audit import record
from ostiary.gateway.audit.record import Record
from ostiary.gateway.ports import Receipt


class MemoryJournal:
    """Keeps what was appended. `failing` makes appends, `stalled` makes syncs raise audit.unavailable."""

    def __init__(self, durability: str = "process", origin: str = "memory.0") -> None:
        self.durability = durability
        self.origin = origin
        self.appended: list[tuple[Kind, bytes]] = []
        self.synced_up_to = -1
        self.failing = False
        self.stalled = False

    def append(self, kind: Kind, payload: bytes, closes: int | None = None) -> Receipt:  # noqa: ARG002 - the port's
        """Keep one record."""
        if self.failing:
            raise GatewayError(Code.AUDIT_UNAVAILABLE, "The audit journal was told to fail.")
        self.appended.append((kind, payload))
        return Receipt(self.origin, len(self.appended) - 1)

    def defer(self, kind: Kind, payload: bytes) -> None:
        """Keep one record whether or not appends fail, as the real journal does once it can be written again."""
        self.appended.append((kind, payload))

    def healthy(self) -> bool:
        """Unless failing."""
        return not self.failing

    async def synced(self, receipt: Receipt) -> None:
        """At once, unless stalled."""
        if self.stalled:
            raise GatewayError(Code.AUDIT_UNAVAILABLE, "The audit journal was told not to sync.")
        self.synced_up_to = max(self.synced_up_to, receipt.sequence)

    def records(self, kind: Kind | None = None) -> list[Record]:
        """What was appended, decoded; of one kind, or all."""
        found = [record.decode(one, payload) for one, payload in self.appended if kind in (None, one)]
        return [one for one in found if one is not None]
