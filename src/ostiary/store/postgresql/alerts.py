"""Port `AlertQueue` on PostgreSQL."""

from typing import Final

from ostiary.core.event import BudgetAlert
from ostiary.jobs.alerts.model import Pending, Standing
from ostiary.jobs.alerts.rows import alert_values, pending_of, standing_of
from ostiary.store.postgresql.database import Database, Tx

_ADD: Final = "INSERT INTO alerts (id, at_ns, body) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_ALONE: Final = "LOCK TABLE alert_deliveries IN SHARE ROW EXCLUSIVE MODE"
_DUE: Final = (
    "SELECT a.id, a.body, coalesce(d.attempts, 0) FROM alerts a "
    "LEFT JOIN alert_deliveries d ON d.alert_id = a.id AND d.channel = %s "
    "WHERE a.at_ns >= %s AND (d.alert_id IS NULL OR (d.done_ns = 0 AND d.given_up = false AND d.next_ns <= %s)) "
    "ORDER BY a.at_ns, a.id LIMIT %s"
)
_CLAIM: Final = (
    "INSERT INTO alert_deliveries AS d (alert_id, channel, attempts, next_ns) VALUES (%s, %s, 1, %s) "
    "ON CONFLICT (alert_id, channel) DO UPDATE SET attempts = d.attempts + 1, next_ns = excluded.next_ns"
)
_DELIVERED: Final = "UPDATE alert_deliveries SET done_ns = %s, reason = '' WHERE alert_id = %s AND channel = %s"
_FAILED: Final = (
    "UPDATE alert_deliveries SET next_ns = %s, given_up = %s, reason = %s WHERE alert_id = %s AND channel = %s"
)
_LATEST: Final = "SELECT id, body FROM alerts WHERE at_ns >= %s ORDER BY at_ns DESC, id LIMIT %s"
_STANDINGS: Final = (
    "SELECT alert_id, channel, attempts, next_ns, done_ns, given_up, reason FROM alert_deliveries "
    "WHERE alert_id = %s ORDER BY channel"
)
_FORGET: Final = "DELETE FROM alerts WHERE at_ns < %s"


class PostgresqlAlerts:
    """See the port for what holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, channel: str, now_ns: int, until_ns: int, since_ns: int, count_max: int) -> list[Pending]:
        with self._database.read() as tx:  # mostly there is nothing, for which nobody need wait
            if not tx.rows(_DUE, (channel, since_ns, now_ns, 1)):
                return []
        with self._database.write() as tx:
            tx.run(_ALONE)
            rows = tx.rows(_DUE, (channel, since_ns, now_ns, count_max))
            for row in rows:
                tx.run(_CLAIM, (str(row[0]), channel, until_ns))
        return [pending_of(row, int(row[2] or 0) + 1) for row in rows]

    def delivered(self, alert_id: str, channel: str, at_ns: int) -> None:
        with self._database.write() as tx:
            tx.run(_DELIVERED, (at_ns, alert_id, channel))

    def failed(self, alert_id: str, channel: str, next_ns: int, reason: str) -> None:
        with self._database.write() as tx:
            tx.run(_FAILED, (next_ns, not next_ns, reason, alert_id, channel))

    def standings(self, since_ns: int, count_max: int) -> list[tuple[Pending, list[Standing]]]:
        with self._database.read() as tx:
            rows = tx.rows(_LATEST, (since_ns, count_max))
            return [
                (pending_of(row, 1), [standing_of(one) for one in tx.rows(_STANDINGS, (str(row[0]),))]) for row in rows
            ]

    def forget(self, before_ns: int) -> None:
        with self._database.write() as tx:
            tx.run(_FORGET, (before_ns,))


def add(tx: Tx, alerts: list[BudgetAlert]) -> None:
    """Keep alerts, as part of a transaction; those that are known are left as they are."""
    for alert in alerts:
        tx.run(_ADD, alert_values(alert))
