"""An alert as those who are to hear of it get it, and where it stands with each of them."""

import datetime as dt
import hashlib
from typing import Final

import msgspec

from ostiary.core.event import BudgetAlert
from ostiary.core.usage import NANO_PER_UNIT

EVENT_TYPE: Final = "budget.share_reached"
TEST_TYPE: Final = "ostiary.test"


def alert_id(alert: BudgetAlert) -> str:
    """The id of an alert: one for each share of a budget in a period, however many workers or journals tell of it."""
    name = f"{alert.scope}@{alert.start}:{alert.share!r}"
    return "alert_" + hashlib.sha256(name.encode()).hexdigest()[:32]


class Pending(msgspec.Struct, frozen=True):
    """An alert that a channel has not heard of; this is the attempt number `attempts`, from 1."""

    id: str
    alert: BudgetAlert
    attempts: int = 1


class Standing(msgspec.Struct, frozen=True):
    """Where an alert stands with a channel: heard of at `done_ns`, given up for a `reason`
    (empty: it is not for that channel), or to be tried again at `next_ns`."""

    id: str
    channel: str
    attempts: int
    next_ns: int = 0
    done_ns: int = 0
    given_up: bool = False
    reason: str = ""


class _Data(msgspec.Struct, frozen=True):
    scope: str
    share: float
    period_start: str
    period_end: str
    currency: str
    spent: str
    spent_tokens: int
    budget: str | None
    budget_tokens: int | None


class Message(msgspec.Struct, frozen=True):
    """What is sent. `id` is the same at every attempt."""

    id: str
    type: str
    timestamp: str
    data: _Data

    def body(self) -> bytes:
        """As JSON: {"type", "timestamp", "data"}, the payload's form in the Standard Webhooks specification."""
        return msgspec.json.encode({"type": self.type, "timestamp": self.timestamp, "data": self.data})

    def fields(self) -> dict[str, str | int | float | None]:
        """What it says of the budget, by name."""
        return msgspec.structs.asdict(self.data)

    def subject(self) -> str:
        """One line for people."""
        if self.type == TEST_TYPE:
            return "Ostiary: a test of this channel"
        return f"Ostiary: {self.data.share:.0%} of the budget of {self.data.scope} is spent"

    def text(self) -> str:
        """The same in full."""
        data = self.data
        lines = [
            f"Budget of {data.scope}, from {data.period_start} to {data.period_end}.",
            f"{data.share:.0%} of it was reached at {self.timestamp}.",
            "",
        ]
        if data.budget is not None:
            lines.append(f"Spent: {data.spent} of {data.budget} {data.currency}")
        if data.budget_tokens is not None:
            lines.append(f"Tokens: {data.spent_tokens} of {data.budget_tokens}")
        return "\n".join(lines) + "\n"


def message(pending_id: str, alert: BudgetAlert, kind: str = EVENT_TYPE) -> Message:
    """What there is to say of an alert."""
    return Message(
        pending_id,
        kind,
        _iso(alert.at_ns // 1_000_000_000),
        _Data(
            scope=alert.scope,
            share=alert.share,
            period_start=_iso(alert.start),
            period_end=_iso(alert.end),
            currency=alert.currency,
            spent=_units(alert.spent_nano),
            spent_tokens=alert.spent_tokens,
            budget=None if alert.budget_nano is None else _units(alert.budget_nano),
            budget_tokens=alert.budget_tokens,
        ),
    )


def tenant_of(scope: str) -> str:
    """Whose scope it is; empty for one that is nobody's alone, such as a model."""
    kind, _, rest = scope.partition("/")
    return "" if kind in ("model", "tier") else rest.partition("/")[0]


def _iso(seconds: int) -> str:
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "never"  # the end of a budget that has none


def _units(nano: int) -> str:
    whole, rest = divmod(nano, NANO_PER_UNIT)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
