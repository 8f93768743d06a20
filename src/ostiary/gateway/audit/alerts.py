"""Alerts of budgets on their way to whoever is to hear of them: counted, logged and recorded."""

import contextlib
from typing import Final, final

from ostiary.core.error import GatewayError
from ostiary.core.event import BudgetAlert, Kind
from ostiary.gateway.audit import record
from ostiary.gateway.ports import Journal, Observer


@final
class Alerts:
    """Tells the observer of an alert and writes it to the journal, from which it is delivered."""

    def __init__(self, journal: Journal, observer: Observer) -> None:
        self._journal: Final = journal
        self._observer: Final = observer

    def tell(self, alert: BudgetAlert) -> None:
        """Say it. A journal that cannot be written loses the record, never the log line or the count: the call that set
        the alert off is over and must not fail for it."""
        self._observer.alerted(alert.scope, alert.share)
        with contextlib.suppress(GatewayError):
            self._journal.append(Kind.ALERT, record.encode(alert))
