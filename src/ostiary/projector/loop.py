"""The projector in the ops process: a pass over every origin, again and again."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import final

from ostiary.core.error import OstiaryError
from ostiary.core.limit import PROJECTOR_POLL_SECONDS
from ostiary.govern.usage.ports import UsageView
from ostiary.projector.ports import JournalSource
from ostiary.projector.shipping import Shipped
from ostiary.projector.step import project_origin


@final
class Projector:
    """Projects every origin. `on_fault` is told of an origin whose records cannot be read, or of a store that cannot
    be used, at each pass while it lasts; the other origins go on, and nothing is passed over."""

    def __init__(
        self, source: JournalSource, view: UsageView, on_fault: Callable[[str, OstiaryError], None] | None = None
    ) -> None:
        self._source = source
        self._view = Shipped(view)
        self._on_fault = on_fault
        self.faults: dict[str, OstiaryError] = {}

    def run_once(self) -> int:
        """One pass; the number of records consumed. Blocks on files and the store: not for an event loop.

        Raises nothing of ours: what went wrong stands in `faults` by origin until a later pass succeeds.
        """
        consumed = 0
        for origin in self._source.origins():
            try:
                consumed += project_origin(self._source, self._view, origin)
            except OstiaryError as error:
                self.faults[origin] = error
                if self._on_fault is not None:
                    self._on_fault(origin, error)
            else:
                self.faults.pop(origin, None)
        return consumed

    def unshipped(self) -> dict[str, int]:
        """The bytes of the journal that the store does not have, by origin; reads a few files, not the store."""
        return self._view.unshipped(self._source)

    async def drain(self, hurry: asyncio.Event, seconds: float) -> dict[str, int]:
        """Pass after pass until the store has everything, `seconds` are over or `hurry` is set, at least one; gives
        what is left. A pass that has begun is ended: the store's own bounds hold for it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            await asyncio.to_thread(self.run_once)
            left = await asyncio.to_thread(self.unshipped)
            if not left or hurry.is_set() or loop.time() >= until:
                return left
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(PROJECTOR_POLL_SECONDS, max(until - loop.time(), 0.0))):
                    await hurry.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Pass after pass, in a thread, until `stop` is set; then one last pass."""
        seen: object = None
        while not stop.is_set():
            stamp = self._source.stamp()
            if stamp != seen or self.faults:
                await asyncio.to_thread(self.run_once)
                seen = stamp
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROJECTOR_POLL_SECONDS):
                    await stop.wait()
        await asyncio.to_thread(self.run_once)
