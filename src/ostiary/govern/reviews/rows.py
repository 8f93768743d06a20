"""Reviews as rows of any store that keeps them in these columns, and back."""

import msgspec

from ostiary.core.review import Review, Verdict
from ostiary.core.row import Row
from ostiary.govern.reviews.model import Notice, Queued

_REVIEW = msgspec.json.Decoder(Review)


def review_values(review: Review, question: bytes) -> Row:
    """tenant_id, id, request_id, at_ns, until, callback, body, question."""
    body = msgspec.json.encode(review).decode()
    return (
        review.tenant,
        review.id,
        review.request_id,
        review.at_ns,
        review.until,
        review.callback,
        body,
        question,
    )


def queued_of(row: Row) -> Queued:
    """From body, verdict, decided_ns, decided_by, recorded_ns."""
    return Queued(
        review=_REVIEW.decode(str(row[0])),
        verdict=Verdict(str(row[1])) if row[1] else None,
        decided_ns=int(row[2] or 0),
        decided_by=str(row[3]),
        recorded_ns=int(row[4] or 0),
    )


def review_of(row: Row) -> Review:
    """From body."""
    return _REVIEW.decode(str(row[0]))


def notice_of(row: Row) -> Notice:
    """From body, verdict, recorded_ns, attempts; the attempt is the next one."""
    review = _REVIEW.decode(str(row[0]))
    return Notice(f"review_{review.request_id}", review, Verdict(str(row[1])), int(row[2] or 0), int(row[3] or 0) + 1)


def sealed_of(value: object) -> bytes:
    """A column of bytes."""
    return bytes(value) if isinstance(value, bytes | memoryview) else b""
