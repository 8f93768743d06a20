"""Operators' changes on their way from the database's outbox into the audit journal, in the ops process.

A change is written there in its own transaction; whoever recorded it elsewhere at that moment could fail half way. From
the outbox one replica at a time claims the next ones, records them in its journal, durably, and marks them. Killed in
between it finds, when it comes back, that they are recorded. If it does not come back, another takes them once the claim
ends: such a change stands in two journals, under the same id.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, final

from ostiary.core.error import OstiaryError
from ostiary.core.event import Changed
from ostiary.core.limit import CHANGES_BATCH_COUNT, CHANGES_CLAIM_SECONDS
from ostiary.core.port import Clock
from ostiary.govern.change import Change
from ostiary.govern.ports import Outbox
from ostiary.store.journal.changes import ChangeJournal

LOOK_SECONDS: Final = 1.0
_NANO: Final = 1_000_000_000


@final
class Recorder:
    """Records until told to stop. `by` is the replica's name."""

    def __init__(self, outbox: Outbox, journal: ChangeJournal, by: str, clock: Clock) -> None:
        self._outbox = outbox
        self._journal = journal
        self._by = by
        self._clock = clock
        self.fault = ""

    def run_once(self) -> int:
        """Record what waits and nobody else has claimed; how many changes. Blocks on files and the store.

        Raises nothing of ours: what went wrong stands in `fault` until a later pass succeeds.
        """
        count = 0
        try:
            while self._outbox.waiting():
                # Before anything is claimed: who cannot write must not keep others from it.
                self._journal.open()
                now_ns = self._clock.now_ns()
                until_ns = now_ns + CHANGES_CLAIM_SECONDS * _NANO
                claimed = self._outbox.claim(self._by, now_ns, until_ns, CHANGES_BATCH_COUNT)
                if not claimed:
                    break
                self._record(claimed)
                count += len(claimed)
        except (OstiaryError, OSError) as error:
            self.fault = error.message if isinstance(error, OstiaryError) else str(error)
        else:
            self.fault = ""
        return count

    def _record(self, claimed: list[tuple[int, Change]]) -> None:
        try:
            self._journal.write([_changed(number, change) for number, change in claimed])
        except BaseException:
            self._journal.close()
            with contextlib.suppress(OstiaryError):
                self._outbox.release(self._by)
            raise
        self._outbox.delivered(claimed[-1][0], self._clock.now_ns())

    async def run(self, stop: asyncio.Event, fault: Callable[[str], None]) -> None:
        """Pass after pass, in a thread, until `stop`; then a last one. `fault` hears why nothing can be recorded, at each
        pass while it lasts."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
            await asyncio.to_thread(self.run_once)
            if self.fault:
                fault(self.fault)
        await asyncio.to_thread(self._journal.close)


def _changed(number: int, change: Change) -> Changed:
    return Changed(
        id=change.id,
        number=number,
        at_ns=change.at_ns,
        actor=change.actor,
        action=change.action,
        tenant=change.tenant,
        object_id=change.object_id,
        detail=change.detail,
    )
