"""All keys written anew beside those in use, while single changes go on being published.

With a million keys that takes a quarter of a minute, and a revoked key may go on working for a second. So it is
done in a thread of its own, with a connection of its own to the database.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Final, final

from ostiary.bootstrap.storage import Storage
from ostiary.control.publisher import Fresh, Publisher
from ostiary.core.port import Clock
from ostiary.snapshot.keys import KeyEntry
from ostiary.telemetry import log

_log: Final = log.Log("rewriting")


@final
class Rewriting:
    """At most one at a time. Its methods are one thread's, the publisher's."""

    def __init__(self, publisher: Publisher, open_storage: Callable[[], Storage], clock: Clock) -> None:
        self._publisher = publisher
        self._open_storage = open_storage
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._fresh: Fresh | None = None
        self._done = False

    @property
    def ended(self) -> bool:
        """Whether one has ended, well or not, that was not taken yet."""
        return self._done

    def begin(self, file_keys: dict[bytes, KeyEntry]) -> None:
        """Begin, unless one is under way."""
        if self._thread is None:
            # Nothing of it is in use before it is taken: the end of the process may cut it off.
            self._thread = threading.Thread(target=self._work, args=(file_keys,), name="rewriting", daemon=True)
            self._thread.start()

    def taken(self) -> Fresh | None:
        """What was written, once, if it is done; None also where it failed, which was logged."""
        if not self._done:
            return None
        fresh, self._fresh, self._thread, self._done = self._fresh, None, None, False
        return fresh

    def dropped(self) -> None:
        """Wait for one that is under way, and take it for nothing."""
        if self._thread is not None:
            self._thread.join()
            self.taken()

    def _work(self, file_keys: dict[bytes, KeyEntry]) -> None:
        try:
            storage = self._open_storage()
            with contextlib.closing(storage.database):
                place = storage.outbox.last()  # before the entries: what changes meanwhile is told once more
                entries = storage.keys.entries()
            self._fresh = self._publisher.prepare(entries, file_keys, place, self._clock.now_ns())
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be tried again
            _log.error("keys_not_rewritten", reason=getattr(error, "message", "") or str(error))
        finally:
            self._done = True
