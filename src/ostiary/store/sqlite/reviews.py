"""Port `ReviewStore` on SQLite."""

from typing import Final

from ostiary.core.review import Review, Verdict
from ostiary.govern.change import Change
from ostiary.govern.reviews.model import Notice, Queued
from ostiary.govern.reviews.rows import notice_of, queued_of, review_of, review_values, sealed_of
from ostiary.store.sqlite.database import Database

_ADD: Final = (
    "INSERT INTO reviews (tenant_id, id, request_id, at_ns, until, callback, body, question) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_LIST: Final = (
    "SELECT body, verdict, decided_ns, decided_by, recorded_ns FROM reviews "
    "WHERE (? = '' OR tenant_id = ?) AND (? = 0 OR (verdict = '') = (? = 1)) ORDER BY at_ns, id LIMIT ?"
)
_WAITING: Final = "SELECT count(*), coalesce(min(at_ns), 0) FROM reviews WHERE verdict = '' AND until > ?"
_FIND: Final = (
    "SELECT body, verdict, decided_ns, decided_by, recorded_ns FROM reviews WHERE id = ? OR request_id = ? LIMIT 1"
)
_QUESTION: Final = "SELECT question FROM reviews WHERE tenant_id = ? AND id = ?"
_DECISION: Final = "SELECT decision FROM reviews WHERE tenant_id = ? AND id = ?"
_DECIDE: Final = (
    "UPDATE reviews SET verdict = ?, decision = ?, decided_ns = ?, decided_by = ?, question = x'' "
    "WHERE tenant_id = ? AND id = ? AND verdict = ''"
)
_RECORD: Final = (
    "UPDATE reviews SET recorded_ns = ? WHERE tenant_id = ? AND id = ? AND verdict <> '' AND recorded_ns = 0"
)
_RECORDED: Final = "SELECT body FROM reviews WHERE recorded_ns > 0 AND recorded_ns >= ? ORDER BY recorded_ns"
_DUE: Final = (
    "SELECT body, verdict, recorded_ns, attempts, tenant_id, id FROM reviews WHERE recorded_ns > 0 AND callback = ? "
    "AND notified_ns = 0 AND given_up = 0 AND next_ns <= ? ORDER BY recorded_ns, id LIMIT 1"
)
_CLAIM: Final = "UPDATE reviews SET attempts = attempts + 1, next_ns = ? WHERE tenant_id = ? AND id = ?"
_NOTIFIED: Final = "UPDATE reviews SET notified_ns = ? WHERE id = ?"
_NOT_NOTIFIED: Final = "UPDATE reviews SET next_ns = ?, given_up = ? WHERE id = ?"
_FORGET: Final = "DELETE FROM reviews WHERE until <= ?"


class SqliteReviews:
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
            row = tx.row(_DUE, (callback, now_ns))
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
