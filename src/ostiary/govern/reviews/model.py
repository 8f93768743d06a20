"""A call on the review queue, and what is told of it to those who wait."""

import datetime as dt
from enum import StrEnum
from typing import Final

import msgspec

from ostiary.core.review import Review, Verdict

EVENT_TYPE: Final = "review.decided"
QUESTION: Final = "question"
DECISION: Final = "decision"
"""What a text is sealed as."""


class State(StrEnum):
    """Where a call stands. A decision counts, and is told, once the journal has it: until then it is `deciding`."""

    WAITING = "waiting"
    DECIDING = "deciding"
    ANSWERED = "answered"
    DECLINED = "declined"


class Queued(msgspec.Struct, frozen=True):
    """A call on the queue. `verdict` is None while nobody decided; `recorded_ns` is when the journal had the decision (0:
    not yet)."""

    review: Review
    verdict: Verdict | None = None
    decided_ns: int = 0
    decided_by: str = ""
    recorded_ns: int = 0

    @property
    def state(self) -> State:
        """Where it stands."""
        if self.verdict is None:
            return State.WAITING
        return State(self.verdict) if self.recorded_ns else State.DECIDING


class Notice(msgspec.Struct, frozen=True):
    """What a callback is told: that a ticket is decided, and where the answer is; never the answer. `attempts` counts from 1."""

    id: str
    review: Review
    verdict: Verdict
    recorded_ns: int
    attempts: int = 1

    def body(self) -> bytes:
        """As JSON: {"type", "timestamp", "data"}, the payload's form in the Standard Webhooks specification."""
        review = self.review
        return msgspec.json.encode(
            {
                "type": EVENT_TYPE,
                "timestamp": dt.datetime.fromtimestamp(self.recorded_ns // 1_000_000_000, dt.UTC)
                .isoformat()
                .replace("+00:00", "Z"),
                "data": {
                    "ticket": review.id,
                    "status": self.verdict,
                    "request_id": review.request_id,
                    "tenant": review.tenant,
                    "team": review.team,
                    "model": review.model,
                },
            }
        )
