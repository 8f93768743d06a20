"""The review queue as a reviewer uses it: what waits, what was asked, an answer or a refusal.

A decision is written first and recorded in the journal then; only what the journal has is told. Whoever decides calls
`decide`, appends the record, and calls `record`; where that was interrupted, deciding alike once more goes on.
"""

import msgspec

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import REVIEW_ANSWER_CHARS_MAX
from ostiary.core.port import Clock, Ids
from ostiary.core.review import Decision, Verdict
from ostiary.govern.actor import Actor, Permission
from ostiary.govern.change import Change
from ostiary.govern.reviews.model import DECISION, QUESTION, Queued, State
from ostiary.govern.reviews.ports import ReviewStore, Seals

_encode = msgspec.msgpack.Encoder().encode
_DECISION = msgspec.msgpack.Decoder(Decision)


class ReviewService:
    """The review queue of one installation."""

    def __init__(self, store: ReviewStore, seals: Seals, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._seals = seals
        self._clock = clock
        self._ids = ids

    def list(
        self, actor: Actor, *, tenant: str | None = None, waiting: bool | None = True, count_max: int = 100
    ) -> list[Queued]:
        """The queue, the oldest first, without any content. Raises CallerError auth.forbidden, object.not_found."""
        tenant = actor.tenant if tenant is None else tenant
        actor.require(Permission.REVIEWS_READ, tenant)
        now_seconds = self._clock.now_ns() // 1_000_000_000
        return [one for one in self._store.queued(tenant, count_max, waiting=waiting) if one.review.until > now_seconds]

    def show(self, actor: Actor, word: str) -> tuple[Queued, bytes]:
        """One by its ticket or request id, with the request as its caller sent it (empty once it is decided). That it was
        read is on record before it is given. Raises CallerError auth.forbidden, object.not_found."""
        found = self._find(actor, word, Permission.REVIEWS_CONTENT)
        if found.verdict is not None:
            return found, b""
        review = found.review
        sealed = self._store.question(review, self._change(actor, found, "review.read"))
        return found, self._seals.open(review.tenant, review.id, QUESTION, sealed) if sealed else b""

    def decide(self, actor: Actor, word: str, verdict: Verdict, text: str) -> tuple[Queued, str]:
        """Answer one that waits, or decline it for a reason; gives what is decided, and the text of that: of the first time,
        where an interrupted decision goes on. Raises CallerError: object.invalid (no text, or too much),
        auth.forbidden, object.not_found, object.exists where somebody has decided otherwise, or the journal has it."""
        found = self._find(actor, word, Permission.REVIEWS_DECIDE)
        if not 0 < len(text.strip()) <= len(text) <= REVIEW_ANSWER_CHARS_MAX:
            raise CallerError(Code.OBJECT_INVALID, f"A decision has 1 to {REVIEW_ANSWER_CHARS_MAX} characters.")
        review, now = found.review, self._clock.now_ns()
        if found.verdict is None:
            decision = Decision(verdict, text, now // 1_000_000_000, review.dialect, review.model, review.request_id)
            sealed = self._seals.seal(review.tenant, review.id, DECISION, _encode(decision))
            if self._store.decide(review, verdict, sealed, self._change(actor, found, f"review.{verdict}")):
                return Queued(review, verdict, now, actor.name), text
            found = self._find(actor, word, Permission.REVIEWS_DECIDE)
        if found.state is not State.DECIDING or (found.verdict, found.decided_by) != (verdict, actor.name):
            raise CallerError(Code.OBJECT_EXISTS, f"It was {found.verdict} by {found.decided_by} already.")
        kept = self._seals.open(review.tenant, review.id, DECISION, self._store.decision(review))
        return found, _DECISION.decode(kept).text

    def record(self, actor: Actor, decided: Queued) -> None:
        """The journal has a decision: it is told from here on."""
        actor.require(Permission.REVIEWS_DECIDE, decided.review.tenant)
        self._store.record(decided.review, self._clock.now_ns())

    def _find(self, actor: Actor, word: str, permission: Permission) -> Queued:
        """One that has not ended, as far as the actor may know of it."""
        actor.require(permission, actor.tenant)
        found = self._store.find(word)
        if found is None or not actor.sees(found.review.tenant) or found.review.until <= self._clock.now_ns() // 10**9:
            raise CallerError(
                Code.OBJECT_NOT_FOUND, "There is no such ticket on the queue; `ostiary review list` shows it."
            )
        return found

    def _change(self, actor: Actor, one: Queued, action: str) -> Change:
        return Change(self._ids.new(), self._clock.now_ns(), actor.name, action, one.review.tenant, one.review.id)
