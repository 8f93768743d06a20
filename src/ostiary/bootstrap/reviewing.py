"""Calls handed over to a person, in the ops process: from workers' files to the queue, decisions back to where workers find
them, and word of them to the callbacks of the file."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from functools import partial
from typing import Final, final

from ostiary.bootstrap.channels import Hook, callbacks_of
from ostiary.core.error import OstiaryError
from ostiary.core.limit import ALERT_ATTEMPT_SECONDS_MAX, ALERT_CLAIM_SECONDS
from ostiary.core.port import Clock
from ostiary.govern.reviews.model import Notice
from ostiary.govern.reviews.ports import ReviewStore
from ostiary.jobs.alerts.ports import DeliveryFailed
from ostiary.jobs.alerts.service import ATTEMPT_AFTER_SECONDS
from ostiary.net.client import HttpUpstream
from ostiary.net.webhook import Webhook
from ostiary.settings import Loaded
from ostiary.store.reviews.files import ReviewFiles
from ostiary.telemetry import log

LOOK_SECONDS: Final = 0.5
_COUNT_LOOKS: Final = 6
_SWEEP_LOOKS: Final = 120
_WHOLE_LOOKS: Final = 1_200
_OVERLAP_NS: Final = 600 * 1_000_000_000
"""Decisions that other machines recorded so long before a look are looked for again: clocks differ."""
_NANO: Final = 1_000_000_000
_log: Final = log.Log("reviews")


def take_up(files: ReviewFiles, store: ReviewStore) -> int:
    """Put what workers left on the queue; how many. Blocks. Raises OperatorError store.unavailable, OSError."""
    count = 0
    for review, question in files.left():
        store.add(review, question)
        files.queued(review)
        count += 1
    return count


@final
class Reviews:
    """Works until told to stop. What it has not done then is done at the next start."""

    def __init__(self, files: ReviewFiles, store: ReviewStore, clock: Clock) -> None:
        self._files = files
        self._store = store
        self._clock = clock
        self._upstream = HttpUpstream(clock)
        self._hooks: tuple[Hook, ...] = ()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._since_ns = 0
        self.waiting = 0
        """How many calls wait for somebody, of all there are in the store, as of a few seconds ago."""

        self._oldest_ns = 0
        self._spread = random.SystemRandom().random

    def configure(self, loaded: Loaded) -> None:
        """Take the callbacks of a file. Raises OperatorError config.invalid, and leaves them as they were."""
        self._hooks = tuple(callbacks_of(loaded))

    def oldest_seconds(self) -> float:
        """How long the one that waits longest has waited; 0 where none does."""
        return max((self._clock.now_ns() - self._oldest_ns) / _NANO, 0.0) if self.waiting else 0.0

    async def run(self, stop: asyncio.Event, fault: Callable[[str], None]) -> None:
        """Until `stop`; `fault` hears why nothing can be done, at each look while it lasts."""
        looks = 0
        while not stop.is_set():
            try:
                await asyncio.to_thread(self._look, looks)
            except OstiaryError as error:
                fault(error.message)
            except OSError as error:
                fault(str(error.strerror or error))
            for hook in self._hooks:
                if hook.name not in self._busy:
                    task = asyncio.get_running_loop().create_task(self._serve(hook, fault))
                    self._busy[hook.name] = task
                    task.add_done_callback(partial(self._served, hook.name))
            looks += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
        for task in self._busy.values():
            task.cancel()  # what was claimed is due again when the claim ends
        await asyncio.gather(*self._busy.values(), return_exceptions=True)
        await self._upstream.aclose()

    def _look(self, looks: int) -> None:
        count = take_up(self._files, self._store)
        if count:
            _log.info("reviews_queued", count=count)
        now_ns = self._clock.now_ns()
        since_ns = 0 if looks % _WHOLE_LOOKS == 0 else max(self._since_ns - _OVERLAP_NS, 0)
        for review in self._store.recorded(since_ns):
            if review.until > now_ns // _NANO and not self._files.told(review.tenant, review.id):
                self._files.tell(review.tenant, review.id, self._store.decision(review))
        self._since_ns = now_ns
        if count or looks % _COUNT_LOOKS == 0:
            self.waiting, self._oldest_ns = self._store.waiting(now_ns // _NANO)
        if looks % _SWEEP_LOOKS == 0:
            self._files.sweep(now_ns // _NANO)
            ended = self._store.forget(now_ns // _NANO)
            if ended:
                _log.info("reviews_ended", count=ended)

    def _served(self, name: str, task: asyncio.Task[None]) -> None:
        del self._busy[name], task

    async def _serve(self, hook: Hook, fault: Callable[[str], None]) -> None:
        """Tell one callback of what is due, one at a time."""
        try:
            while True:
                now_ns = self._clock.now_ns()
                notice = await asyncio.to_thread(
                    self._store.claim, hook.name, now_ns, now_ns + ALERT_CLAIM_SECONDS * _NANO
                )
                if notice is None:
                    return
                await asyncio.to_thread(await self._attempt(hook, notice))
        except OstiaryError as error:
            fault(error.message)

    async def _attempt(self, hook: Hook, notice: Notice) -> Callable[[], None]:
        """Try once; gives what is to be done to the store, which blocks."""
        ticket, store = notice.review.id, self._store
        if hook.tenants and notice.review.tenant not in hook.tenants:
            return lambda: store.not_notified(ticket, 0)
        webhook = Webhook(self._upstream, self._clock, hook.origin, hook.target, hook.secret)
        try:
            async with asyncio.timeout(ALERT_ATTEMPT_SECONDS_MAX):
                await webhook.send(notice, self._clock.now_ns() // _NANO)
        except Exception as error:  # noqa: BLE001 - whatever a callback does, the attempt has failed and counts
            failed = error if isinstance(error, DeliveryFailed) else DeliveryFailed(f"failed: {type(error).__name__}")
            last = failed.final or notice.attempts > len(ATTEMPT_AFTER_SECONDS)
            say = _log.error if last else _log.warning
            say("review_not_told", callback=hook.name, request=notice.review.request_id, reason=failed.reason)
            wait = 0.0 if last else ATTEMPT_AFTER_SECONDS[notice.attempts - 1] * (0.95 + 0.1 * self._spread())
            next_ns = 0 if last else self._clock.now_ns() + int(wait * _NANO)
            return lambda: store.not_notified(ticket, next_ns)
        at_ns = self._clock.now_ns()
        return lambda: store.notified(ticket, at_ns)
