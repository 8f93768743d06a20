"""The record, in a journal of this machine, that another journal was declared lost.

The rows say so too; but the journal is what is proved, and what an auditor reads years later without the database.
"""

import os

from ostiary.bootstrap.offline import Offline
from ostiary.bootstrap.replica import replica_name
from ostiary.core.event import Kind, Retired
from ostiary.gateway.audit import record
from ostiary.govern.origins.service import Retired as Done
from ostiary.store.journal.disk import OsDisk
from ostiary.store.journal.opening import open_journal


def record_retirement(offline: Offline, done: Done) -> str:
    """Append the record, durably, to the first origin of this replica that no worker holds; its name.

    Raises OperatorError: store.unavailable, journal.corrupt, config.invalid. Then the rows say it and no journal does, until
    the command is run again.
    """
    retirement = done.origin.retirement
    assert retirement is not None
    replica = replica_name(offline.journal_root, os.environ.get("OSTIARY_REPLICA", "r0"), offline.ids)
    offline.claim(replica)
    opened = open_journal(offline.journal_root, replica, disk=OsDisk(), clock=offline.clock, durability="disk")
    try:
        value = Retired(
            at_ns=retirement.at_ns,
            origin=done.origin.name,
            by=retirement.by,
            reason=retirement.reason,
            records=done.origin.records,
            aborted=done.aborted,
        )
        opened.journal.append(Kind.RETIRED, record.encode(value))
    finally:
        opened.journal.close()
    return opened.origin
