"""Records that a command appends to the journal of this machine, beside those of its workers."""

import os
from typing import Final

from ostiary.bootstrap.offline import Offline
from ostiary.bootstrap.replica import replica_name
from ostiary.core.error import Code, OperatorError
from ostiary.core.event import Kind, Reviewed
from ostiary.gateway.audit import record
from ostiary.gateway.audit.digest import Digests
from ostiary.govern.reviews.model import Queued
from ostiary.store.journal.disk import OsDisk
from ostiary.store.journal.opening import open_journal

_SLOTS: Final = range(900, 910)
"""The journals that commands write: workers, of whom there are at most 64, never want these."""


def record_review(offline: Offline, decided: Queued, text: str) -> str:
    """Append, durably, that a person decided on a call; the name of the journal that has it.

    Raises OperatorError: store.unavailable, journal.corrupt, config.invalid. Nothing is told of the decision then, until the
    command is run again.
    """
    review, verdict = decided.review, decided.verdict
    assert verdict is not None
    digests = Digests((offline.data_dir / "digest.key").read_bytes())
    value = Reviewed(
        at_ns=decided.decided_ns,
        ticket=review.id,
        request_id=review.request_id,
        tenant=review.tenant,
        by=decided.decided_by,
        verdict=verdict,
        waited_ms=max(decided.decided_ns - review.at_ns, 0) // 1_000_000,
        decision_digest=digests.content(text.encode()),
        digest_key=digests.name,
    )
    return append(offline, Kind.REVIEWED, record.encode(value))


def append(offline: Offline, kind: Kind, payload: bytes) -> str:
    """Append one record, durably, to the first of the commands' journals that no other command holds; its name."""
    replica = replica_name(offline.journal_root, os.environ.get("OSTIARY_REPLICA", "r0"), offline.ids)
    offline.claim(replica)
    held: OperatorError | None = None
    for slot in _SLOTS:
        try:
            opened = open_journal(
                offline.journal_root, replica, disk=OsDisk(), clock=offline.clock, durability="disk", slot=slot
            )
        except OperatorError as error:
            if error.code is not Code.STORE_UNAVAILABLE:
                raise
            held = error
            continue
        try:
            opened.journal.append(kind, payload)
        finally:
            opened.journal.close()
        return opened.origin
    assert held is not None
    raise held
