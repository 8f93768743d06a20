"""Port `ReviewStore` on PostgreSQL."""

from typing import Final

from ostiary.core.review import Review, Verdict
from ostiary.govern.change import Change
from ostiary.govern.reviews.model import Notice, Queued
from ostiary.govern.reviews.rows import notice_of, queued_of, review_of, review_values, sealed_of
from ostiary.store.postgresql.database import Database

_ADD: Final = (
    "INSERT INTO reviews (tenant_id, id, request_id, at_ns, until, callback, body, question) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)
_LIST: Final = (
    "SELECT body, verdict, decided_ns, decided_by, recorded_ns FROM reviews "
    "WHERE (%s = '' OR tenant_id = %s) AND (%s = 0 OR (verdict = '') = (%s = 1)) ORDER BY at_ns, id LIMIT %s"
)
_WAITING: Final = "SELECT count(*), coalesce(min(at_ns), 0) FROM reviews WHERE verdict = '' AND until > %s"
_FIND: Final = (
    "SELECT body, verdict, decided_ns, decided_by, recorded_ns FROM reviews WHERE id = %s OR request_id = %s LIMIT 1"
)
_QUESTION: Final = "SELECT question FROM reviews WHERE tenant_id = %s AND id = %s"
_DECISION: Final = "SELECT decision FROM reviews WHERE tenant_id = %s AND id = %s"
_DECIDE: Final = (
    "UPDATE reviews SET verdict = %s, decision = %s, decided_ns = %s, decided_by = %s, question = '' "
    "WHERE tenant_id = %s AND id = %s AND verdict = ''"
)
_RECORD: Final = (
    "UPDATE reviews SET recorded_ns = %s WHERE tenant_id = %s AND id = %s AND verdict <> '' AND recorded_ns = 0"
)
_RECORDED: Final = "SELECT body FROM reviews WHERE recorded_ns > 0 AND recorded_ns >= %s ORDER BY recorded_ns"
_DUE: Final = (
    "SELECT body, verdict, recorded_ns, attempts, tenant_id, id FROM reviews WHERE recorded_ns > 0 AND callback = %s "
    "AND notified_ns = 0 AND given_up = false AND next_ns <= %s ORDER BY recorded_ns, id LIMIT 1"
)
_ALONE: Final = " FOR UPDATE SKIP LOCKED"
_CLAIM: Final = "UPDATE reviews SET attempts = attempts + 1, next_ns = %s WHERE tenant_id = %s AND id = %s"
_NOTIFIED: Final = "UPDATE reviews SET notified_ns = %s WHERE id = %s"
_NOT_NOTIFIED: Final = "UPDATE reviews SET next_ns = %s, given_up = %s WHERE id = %s"
_FORGET: Final = "DELETE FROM reviews WHERE until <= %s"


class PostgresqlReviews:
    """See the port for what holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, review: Review, question: bytes) -> None:
        with self._database.write() as tx:
            tx.run(_ADD, review_values(review, question))

    def queued(self, tenant: str | None, count_max: int, *, waiting: bool | None = None) -> list[Queued]:
        whose = "" if tenant is None else tenant
        which = 0 if waiting is None else 1 if waiting else 2
        with self._database.read() as tx:
            return [queued_of(row) for row in tx.rows(_LIST, (whose, whose, which, which, count_max))]

    def waiting(self, now_seconds: int) -> tuple[int, int]:
        with self._database.read() as tx:
            row = tx.row(_WAITING, (now_seconds,))
        assert row is not None
        return int(row[0] or 0), int(row[1] or 0)

    def find(self, word: str) -> Queued | None:
        with self._database.read() as tx:
            row = tx.row(_FIND, (word, word))
        return None if row is None else queued_of(row)

    def question(self, review: Review, change: Change) -> bytes:
        with self._database.write() as tx:
            row = tx.row(_QUESTION, (review.tenant, review.id))
            tx.changed(change)
        return b"" if row is None else sealed_of(row[0])

    def decide(self, review: Review, verdict: Verdict, decision: bytes, change: Change) -> bool:
        with self._database.write() as tx:
            done = tx.run(_DECIDE, (verdict, decision, change.at_ns, change.actor, review.tenant, review.id))
            if done:
                tx.changed(change)
        return bool(done)

    def record(self, review: Review, at_ns: int) -> None:
        with self._database.write() as tx:
            tx.run(_RECORD, (at_ns, review.tenant, review.id))

    def recorded(self, since_ns: int) -> list[Review]:
        with self._database.read() as tx:
            return [review_of(row) for row in tx.rows(_RECORDED, (since_ns,))]

    def decision(self, review: Review) -> bytes:
        with self._database.read() as tx:
            row = tx.row(_DECISION, (review.tenant, review.id))
        return b"" if row is None else sealed_of(row[0])

    def claim(self, callback: str, now_ns: int, until_ns: int) -> Notice | None:
        with self._database.read() as tx:  # mostly there is nothing, for which nobody need wait
            if tx.row(_DUE, (callback, now_ns)) is None:
                return None
        with self._database.write() as tx:
            row = tx.row(_DUE + _ALONE, (callback, now_ns))
            if row is None:
                return None
            tx.run(_CLAIM, (until_ns, row[4], row[5]))
        return notice_of(row)

    def notified(self, ticket: str, at_ns: int) -> None:
        with self._database.write() as tx:
            tx.run(_NOTIFIED, (at_ns, ticket))

    def not_notified(self, ticket: str, next_ns: int) -> None:
        with self._database.write() as tx:
            tx.run(_NOT_NOTIFIED, (next_ns, not next_ns, ticket))

    def forget(self, now_seconds: int) -> int:
        with self._database.write() as tx:
            return tx.run(_FORGET, (now_seconds,))
