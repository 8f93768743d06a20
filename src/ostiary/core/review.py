"""A call handed over to a person: what is known of it, and what a person decided. The content of both is sealed wherever it
rests."""

from enum import StrEnum
from typing import Protocol

import msgspec

from ostiary.core.call import DialectName


class Verdict(StrEnum):
    """What a reviewer decided."""

    ANSWERED = "answered"
    DECLINED = "declined"


class Review(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call that waits for a person. `id` is its ticket, which nobody can make up; `until` (seconds since 1970) ends it.
    `reason` is the failure that it stands in for, `callback` the name of who is told when it is decided (empty: nobody)."""

    id: str
    at_ns: int
    until: int
    tenant: str
    team: str
    environment: str
    key_id: str
    request_id: str
    model: str
    dialect: DialectName
    reason: str
    label: str = "internal"
    stream: bool = False
    project: str = ""
    callback: str = ""


class Decision(msgspec.Struct, frozen=True):
    """What whoever asked is told: `text` is the answer, or why there is none; `at` is in seconds since 1970. The rest says
    what it is an answer to, in which words."""

    verdict: Verdict
    text: str
    at: int
    dialect: DialectName
    model: str
    request_id: str


class ReviewDesk(Protocol):
    """Where a data worker leaves what a person is to look at, and finds what one decided."""

    async def leave(self, review: Review, question: bytes) -> bool:
        """Keep a request for a person, durably on return. False, and nothing is kept, where its tenant has
        REVIEWS_WAITING_COUNT_MAX waiting already, or nothing can be written."""
        ...

    async def decision(self, tenant: str, ticket: str) -> Decision | None:
        """What was decided; None as long as nothing is known of a decision."""
        ...
