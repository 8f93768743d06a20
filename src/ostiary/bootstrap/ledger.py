"""What budgets have spent, through restarts: a checkpoint beside the journal, and the journal's tail behind it.

The journal is the truth. A checkpoint only saves reading all of it: where it is missing, damaged or does not fit, the
whole journal is read. It may be ahead of the device: what a power failure then takes back stays counted, which errs on
the side of the budget.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from ostiary.core.error import OstiaryError
from ostiary.core.event import Closed, Kind
from ostiary.core.usage import Nano
from ostiary.gateway.audit import record
from ostiary.gateway.meter.hold import Holds, Spent
from ostiary.gateway.meter.increase import as_of
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import BudgetedRow, BudgetRow
from ostiary.store.journal.layout import START, Position
from ostiary.store.journal.reader import JournalFiles

FILE_NAME: Final = "ledger.json"


class _Checkpoint(msgspec.Struct, frozen=True):
    """The place in each origin up to which records are counted, and the sums up to there."""

    places: dict[str, Position]
    spent: dict[str, Spent]


class Spending(Protocol):
    """What a ledger keeps: see Holds, whose methods these are."""

    def load(self, scope: str, budget: BudgetRow, spent: Spent) -> None: ...
    def restore(self, scopes: Sequence[BudgetedRow], nano: Nano, tokens: int, at_seconds: int) -> None: ...
    def spent(self) -> dict[str, Spent]: ...


class Ledger:
    """The checkpoint of what was spent: by all origins in the folder, or by one alone, which then has a file of its own."""

    def __init__(self, data_dir: Path, holds: Spending, origin: str = "") -> None:
        self._file = data_dir / (f"ledger.{origin}.json" if origin else FILE_NAME)
        self._journal = JournalFiles(data_dir / "journal")
        self._origin = origin
        self._holds = holds
        self._places: dict[str, Position] = {}
        self._written: bytes = b""

    def restore(self, index: Index, now_seconds: int) -> int:
        """Bring the accounts to where the journal is; the number of records read. Nothing is read where the snapshot
        has no budget. Raises OperatorError journal.corrupt where the journal cannot be read: a budget that cannot be
        told must not be guessed."""
        if not index.budgets:
            return 0
        checkpoint = self._load()
        if checkpoint is not None:
            for scope, spent in checkpoint.spent.items():
                row = _row(index, scope)
                if row is not None:
                    (raised,) = as_of(now_seconds, (BudgetedRow(scope, row.budget),))
                    self._holds.load(scope, raised.budget, spent)
        count = 0
        for origin in self._journal.origins():
            if self._origin not in ("", origin):
                continue
            place = START if checkpoint is None else checkpoint.places.get(origin, START)
            for entry in self._journal.read(origin, place):
                place = entry.after
                if entry.kind == Kind.CLOSED:
                    self._count(index, entry.payload)
                count += 1
            self._places[origin] = place
        return count

    def _count(self, index: Index, payload: bytes) -> None:
        closed = record.decode(Kind.CLOSED, payload)
        if isinstance(closed, Closed) and closed.cost is not None:
            at_seconds = closed.at_ns // 1_000_000_000
            self._holds.restore(
                as_of(at_seconds, scopes_of(index, closed)),
                Nano(closed.cost.nano),
                closed.usage.total_tokens,
                at_seconds,
            )

    def snapshot(self, origin: str, place: Position) -> bytes:
        """The checkpoint as it stands: to be taken on the loop, where sums and place belong together, and written by
        `write` off it. Empty where nothing has changed."""
        spent = self._holds.spent()
        if not spent:
            return b""
        data = msgspec.json.encode(_Checkpoint({**self._places, origin: place}, spent))
        if data == self._written:
            return b""
        self._written = data
        return data

    def write(self, data: bytes) -> None:
        """Replace the file as a whole; nothing is done with empty data. Raises OSError. It need not be durable: an older
        one only costs reading."""
        if not data:
            return
        temporary = self._file.with_name(self._file.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(self._file)

    def _load(self) -> _Checkpoint | None:
        with contextlib.suppress(OSError, msgspec.MsgspecError, OstiaryError):
            return msgspec.json.decode(self._file.read_bytes(), type=_Checkpoint)
        return None


def spent_by(data_dir: Path, origin: str, index: Index) -> dict[str, Spent]:
    """What the journal of an origin that nobody writes says was spent. Raises OperatorError journal.corrupt."""
    holds = Holds()
    ledger = Ledger(data_dir, holds, origin)
    ledger.restore(index, 0)
    return holds.spent()


def scopes_of(index: Index, closed: Closed) -> tuple[BudgetedRow, ...]:
    """The budgets a recorded call was charged to."""
    names = (
        f"tenant/{closed.tenant}",
        f"team/{closed.tenant}/{closed.team}",
        f"project/{closed.tenant}/{closed.team}/{closed.project}",
        f"key/{closed.tenant}/{closed.key_id}",
        f"model/{closed.original_model}",
    )
    found = [index.budgets[name] for name in names if name in index.budgets]
    each = index.budgets.get(f"user/{closed.tenant}/{closed.team}")
    if each is not None:
        found.append(BudgetedRow(f"{each.scope}/{closed.end_user}", each.budget))
    return tuple(found)


def _row(index: Index, scope: str) -> BudgetedRow | None:
    """The budget of a scope; that of an end user is its team's for each."""
    row = index.budgets.get(scope)
    return index.budgets.get(scope.rpartition("/")[0]) if row is None and scope.startswith("user/") else row
