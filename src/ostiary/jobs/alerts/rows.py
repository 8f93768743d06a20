"""Alerts as rows of any store that keeps them in these columns, and back."""

import msgspec

from ostiary.core.event import BudgetAlert
from ostiary.core.row import Row
from ostiary.jobs.alerts.model import Pending, Standing, alert_id


def alert_values(alert: BudgetAlert) -> Row:
    """id, at_ns, body."""
    return (alert_id(alert), alert.at_ns, msgspec.json.encode(alert).decode())


def pending_of(row: Row, attempts: int) -> Pending:
    """From id, body."""
    return Pending(str(row[0]), msgspec.json.decode(str(row[1]), type=BudgetAlert), attempts)


def standing_of(row: Row) -> Standing:
    """From alert_id, channel, attempts, next_ns, done_ns, given_up, reason."""
    return Standing(
        id=str(row[0]),
        channel=str(row[1]),
        attempts=int(row[2] or 0),
        next_ns=int(row[3] or 0),
        done_ns=int(row[4] or 0),
        given_up=bool(row[5]),
        reason=str(row[6]),
    )
