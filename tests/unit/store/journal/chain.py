"""What the journal's tests share: a small journal, driven by hand."""

from pathlib import Path

from ostiary.core.error import GatewayError
from ostiary.core.event import Closed, Kind, Opened, Outcome
from ostiary.gateway.audit import record
from ostiary.store.journal.layout import START
from ostiary.store.journal.opening import open_journal
from ostiary.store.journal.reader import read
from ostiary.testing.clock import FakeClock
from ostiary.testing.disk import FaultDisk

ORIGIN = "r1.0"
SEGMENT_BYTES = 4_096


def opened(number: int) -> bytes:
    return record.encode(
        Opened(
            request_id=f"req-{number}",
            at_ns=number,
            tenant="acme",
            team="search",
            environment="production",
            key_id="k1",
            operation="chat",
            client_dialect="openai",
            original_model="chat",
        )
    )


def closed(number: int, sequence: int) -> bytes:
    return record.encode(
        Closed(
            request_id=f"req-{number}",
            at_ns=number,
            opened=sequence,
            outcome=Outcome.SUCCEEDED,
            tenant="acme",
            team="search",
        )
    )


def start(root: Path, disk=None, clock=None, segment_bytes=SEGMENT_BYTES, **options):
    """An open journal whose thread does not run: call `writer.work()`."""
    return open_journal(
        root,
        "r1",
        disk=disk or FaultDisk(root),
        clock=clock or FakeClock(),
        slot=0,
        segment_bytes=segment_bytes,
        **options,
    )


def stop(started) -> None:
    """Let go without a word, as a killed process does: nothing is synced, nothing tidied."""
    started.journal._disk.release()


class Client:
    """Makes calls and remembers what was acknowledged: (sequence, kind, payload)."""

    def __init__(self, writer) -> None:
        self.writer = writer
        self.acknowledged: list[tuple[int, int, bytes]] = []
        self.refused: set[bytes] = set()
        self.calls = 0

    def append(self, kind: Kind, payload: bytes) -> int | None:
        self.refused.add(payload)
        try:
            receipt = self.writer.append(kind, payload)
        except GatewayError:
            return None
        self.refused.discard(payload)
        self.acknowledged.append((receipt.sequence, int(kind), payload))
        return receipt.sequence

    def call(self) -> None:
        """One call, opened and closed, as far as the journal takes it."""
        self.calls += 1
        sequence = self.append(Kind.OPENED, opened(self.calls))
        if sequence is not None:
            self.append(Kind.CLOSED, closed(self.calls, sequence))


def everything(root: Path, origin: str = ORIGIN) -> list[tuple[int, int, bytes]]:
    """Every numbered record a reader sees."""
    return [(one.sequence, one.kind, one.payload) for one in read(root / origin, START) if one.sequence >= 0]
