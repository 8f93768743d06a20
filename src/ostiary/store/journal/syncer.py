"""The thread that syncs a journal, and the journal as the gateway knows it (port `Journal`).

The thread sleeps until something was appended. With durability `process` it then waits the sync interval, so that
what arrives meanwhile is one batch; with `disk` it syncs at once, and what arrives during a sync is the next batch.
"""

import asyncio
import heapq
import threading
from typing import Final, final

from ostiary.core.error import Code, GatewayError
from ostiary.core.limit import JOURNAL_STALL_SECONDS_MAX, JOURNAL_SYNC_SECONDS
from ostiary.gateway.ports import Receipt
from ostiary.store.journal.disk import Disk
from ostiary.store.journal.writer import Writer

_CLOSE_SECONDS_MAX: Final = JOURNAL_STALL_SECONDS_MAX


@final
class SyncedJournal:
    """Port `Journal`: a writer with its thread. Made by `opening.open_journal`; `close` ends it."""

    def __init__(self, writer: Writer, wake: threading.Event, lock_fd: int, disk: Disk) -> None:
        self.origin = writer.origin
        self.durability = writer.durability
        self.append = writer.append
        self.defer = writer.defer
        self.gap = writer.gap
        self.healthy = writer.healthy
        self.lag = writer.lag
        self.place = writer.place
        self._writer = writer
        self._wake = wake
        self._lock_fd = lock_fd
        self._disk = disk
        self._interval = 0.0 if writer.durability == "disk" else JOURNAL_SYNC_SECONDS
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waited = 0
        self._notified = False
        writer.on_synced = self._notify
        self._thread = threading.Thread(target=self._run, name=f"journal {writer.origin}", daemon=True)

    def start(self) -> None:
        """Begin syncing."""
        self._thread.start()
        self._wake.set()

    async def synced(self, receipt: Receipt) -> None:
        """Port `Journal.synced`; waits JOURNAL_STALL_SECONDS_MAX at most. A record reported as not on the device may
        still get there later."""
        if self._writer.synced(receipt.sequence):
            return
        self._loop = loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waited += 1
        heapq.heappush(self._waiting, (receipt.sequence, self._waited, future))
        self._release()
        try:
            async with asyncio.timeout(JOURNAL_STALL_SECONDS_MAX):
                await future
        except TimeoutError:
            raise GatewayError(
                Code.AUDIT_UNAVAILABLE, "The audit journal was not confirmed by its device in time."
            ) from None

    def close(self) -> bool:
        """Sync what there is, end the thread, let go of the origin. Blocks for JOURNAL_STALL_SECONDS_MAX at most.

        False where not everything is known to be on the device; the next open recovers what is there.
        """
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS_MAX)
            if self._thread.is_alive():
                # The device hangs. The descriptors and the lock stay with this process until it ends.
                return False
        done = self._writer.close()
        self._disk.close(self._lock_fd)
        return done

    def _run(self) -> None:
        retry: float | None = None
        while not self._stop.is_set():
            self._wake.wait(retry)
            if self._interval and retry is None:
                # Synced within ten milliseconds: the slower the device, the sooner the next sync begins.
                self._stop.wait(max(self._interval - self._writer.last_sync_seconds, self._interval / 8))
            self._wake.clear()
            if self._stop.is_set():
                return
            retry = self._writer.work()
            if retry is not None:
                # Nothing is gained by trying at every append while the disk fails.
                self._stop.wait(retry)
                retry = 0.0

    def _notify(self) -> None:
        """On the thread: have the loop look at its waiters, once however many syncs happen before it does."""
        loop = self._loop
        if loop is None or not self._waiting or self._notified:
            return
        self._notified = True
        try:
            loop.call_soon_threadsafe(self._release)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            self._loop = None

    def _release(self) -> None:
        """On the loop: wake those whose record is on the device."""
        self._notified = False
        while self._waiting and self._writer.synced(self._waiting[0][0]):
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
