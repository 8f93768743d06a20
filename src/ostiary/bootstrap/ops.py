"""The ops process: publishes what operators change, projects the journal into tables, serves health and metrics.

One per installation. Data workers do not need it to answer calls; without it, changes wait.
"""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from ostiary.bootstrap.job import OpsJob
from ostiary.bootstrap.notifier import Notifier
from ostiary.bootstrap.offline import Offline
from ostiary.bootstrap.publication import Publication
from ostiary.bootstrap.ready import tell_ready
from ostiary.bootstrap.recorder import Recorder
from ostiary.bootstrap.reviewing import Reviews
from ostiary.control.admin import Admin
from ostiary.control.catalogue import newest_price
from ostiary.core.error import Code, OperatorError, OstiaryError
from ostiary.core.limit import CONFIG_POLL_SECONDS, ORIGIN_SEEN_SECONDS, ROWS_POLL_SECONDS, USAGE_UPKEEP_SECONDS
from ostiary.projector.loop import Projector
from ostiary.projector.step import day_of
from ostiary.serving.server import Server
from ostiary.settings import Loaded, Settings, StorageSettings, load
from ostiary.store.journal.changes import ChangeJournal
from ostiary.store.journal.disk import OsDisk
from ostiary.store.journal.layout import origins
from ostiary.store.journal.reader import JournalFiles
from ostiary.telemetry import log
from ostiary.telemetry.metrics import configuration, render_all, reviews_waiting, unshipped

_FAULT_REPEAT_SECONDS: Final = 60.0
_REASONS_KEPT: Final = 100
_AT_START: Final = ("data_dir", "server", "admin", "storage", "counters", "cache", "journal", "log")
_DAY_NS: Final = 86_400 * 1_000_000_000
_log: Final = log.Log("ops")


class Ops:
    """The ops process, from its job to its end."""

    def __init__(self, job: OpsJob) -> None:
        self.job = job
        # Stamps come before what they stand for is read: a change in between is then seen as one.
        self._seen_file = self._looked_at = _stamp(job.config_file)
        self._said: dict[str, float] = {}
        self.loaded, refused = _loaded(job)
        settings = self.loaded.settings
        self.offline = Offline(self.loaded, Path(job.data_dir))
        self.clock = self.offline.clock
        self._seen_rows = self.offline.database.revision()
        self.publication = Publication(self.offline, frozenset({settings.server.port, settings.admin.port}), aside=True)
        if not refused:
            try:
                self.publication.take_file(self.loaded)
            except OperatorError as error:
                refused = error.message
        if refused:
            # The file was changed for the worse while this process was not there to refuse it. What was published
            # before stays in use; health, metrics and projection do not wait for the file, and neither do changes of keys:
            # those made since are published at the first look.
            self._seen_rows = -1
            _log.error("change_refused", reason=refused)
        self._file_refused, self._rows_refused = bool(refused), False
        self._rows_fault = ""
        self._running = settings if self.publication.taken else None
        self.projector = Projector(JournalFiles(self.offline.journal_root), self.offline.usage_store, self._faulted)
        self.recorder = Recorder(
            self.offline.outbox,
            ChangeJournal(self.offline.journal_root, job.replica, OsDisk(), self.clock),
            job.replica,
            self.clock,
        )
        self._lost = ""
        self.notifier = Notifier(self.offline.alerts, self.clock)
        self.reviews = Reviews(self.offline.review_files, self.offline.review_store, self.clock)
        if not refused:
            self.notifier.configure(self.loaded)
            self.reviews.configure(self.loaded)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reload = asyncio.Event()

    async def run(self) -> bool:
        """Until told to stop, and then until the store has all of the journal, for `drain_seconds` at most; whether it
        has."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        if self.job.lifeline_fd >= 0:
            loop.add_reader(self.job.lifeline_fd, self._stop.set)
        server = Server(Admin(self.ready, self._metrics, self._unshipped), self.clock, loop)
        await server.start([socket.socket(fileno=self.job.socket_fd)])
        # As in a data worker: batches of records are made and freed by reference counts.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        tell_ready(self.job.ready_fd)
        tasks = [
            loop.create_task(self.projector.run(self._stop)),
            loop.create_task(self._watch()),
            loop.create_task(self._keep()),
            loop.create_task(self.notifier.run(self._stop, self._undelivered)),
            loop.create_task(self.reviews.run(self._stop, self._held_up)),
            loop.create_task(self._be_seen()),
            loop.create_task(self.recorder.run(self._stop, self._unrecorded)),
        ]
        stopping = loop.create_task(self._stop.wait())
        # A task that ends by itself has failed in a way nobody foresaw. Going on without it would look healthy and
        # publish or project nothing, so the process ends and is started again.
        await asyncio.wait((stopping, *tasks), return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        if self.job.lifeline_fd >= 0:
            loop.remove_reader(self.job.lifeline_fd)
        failures = [one for one in await asyncio.gather(*tasks, return_exceptions=True) if one is not None]
        # Health and metrics are served meanwhile: they say how much is left.
        left = await self.projector.drain(self._hurry, self.job.drain_seconds)
        for origin, count in left.items():
            _log.error("not_projected", origin=origin, unshipped_bytes=count)
        await server.drain(1.0)
        self.offline.database.close()
        for failure in failures:
            raise failure
        return not left

    def _told_to_stop(self) -> None:
        if self._stop.is_set():
            self._hurry.set()  # told twice
        self._stop.set()

    def _metrics(self) -> bytes:
        waiting = reviews_waiting(lambda: self.reviews.waiting, self.reviews.oldest_seconds)
        taken = configuration(lambda: self._file_refused or self._rows_refused, self._price_age)
        return render_all((unshipped(self._unshipped), *waiting, *taken))

    def _price_age(self) -> int:
        now = self.clock.now_ns() // 1_000_000_000
        return now - newest_price(now)

    def _unshipped(self) -> int:
        return sum(self.projector.unshipped().values())

    def ready(self) -> str:
        """Why not, or empty. A refused configuration does not count: the one before it is in use."""
        if self._lost:
            return self._lost
        if self._stop.is_set():
            return "draining"
        if self._rows_fault:
            return f"changes are not published: {self._rows_fault}"
        if self.projector.faults:
            return "the journal is not projected: " + ", ".join(sorted(self.projector.faults))
        if self.recorder.fault:
            return f"changes are not in the journal: {self.recorder.fault}"
        return ""

    def _faulted(self, origin: str, error: OstiaryError) -> None:
        if self._worth_saying(origin):
            _log.error("projection_failed", origin=origin, reason=error.message)

    def _undelivered(self, reason: str) -> None:
        if self._worth_saying(f"alerts: {reason}"):
            _log.error("alerts_held_up", reason=reason)

    def _unrecorded(self, reason: str) -> None:
        if self._worth_saying(f"changes: {reason}"):
            _log.error("changes_held_up", reason=reason)

    def _held_up(self, reason: str) -> None:
        if self._worth_saying(f"reviews: {reason}"):
            _log.error("reviews_held_up", reason=reason)

    def _worth_saying(self, what: str) -> bool:
        """Whether this was not said within the last minute."""
        now = self.clock.monotonic()
        if now - self._said.get(what, -_FAULT_REPEAT_SECONDS) < _FAULT_REPEAT_SECONDS:
            return False
        if len(self._said) >= _REASONS_KEPT:
            self._said.clear()
        self._said[what] = now
        return True

    async def _watch(self) -> None:
        """Look for changes of the file and of the rows, and publish them."""
        next_file = self.clock.monotonic()
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROWS_POLL_SECONDS):
                    await self._stop.wait()
            now = self.clock.monotonic()
            if self._reload.is_set() or now >= next_file:
                next_file = now + CONFIG_POLL_SECONDS
                try:
                    if self._file_changed():
                        await asyncio.to_thread(self._look_at_file)
                except OperatorError as error:
                    self._file_refused = self._file_refused or error.code is not Code.STORE_UNAVAILABLE
                    if error.code is not Code.STORE_UNAVAILABLE or self._worth_saying(f"file: {error.message}"):
                        _log.error("change_refused", reason=error.message)
            try:
                # Off the loop: where the database is a server, the answer may be long in coming.
                await asyncio.to_thread(self._look_at_rows)
            except OperatorError as error:  # tried again at each look
                self._rows_fault = error.message if error.code is Code.STORE_UNAVAILABLE else ""
                self._rows_refused = not self._rows_fault
                if self._worth_saying(error.message):
                    _log.error("rows_unread" if self._rows_fault else "change_refused", reason=error.message)
            else:
                self._rows_fault, self._rows_refused = "", False

    async def _keep(self) -> None:
        """Make room for the days to come, and give up calls that are older than they are to be kept."""
        while not self._stop.is_set():
            try:
                await asyncio.to_thread(self._keep_usage)
            except OstiaryError as error:  # tried again the next time; the projector makes what it needs itself
                _log.error("upkeep_failed", reason=error.message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(USAGE_UPKEEP_SECONDS):
                    await self._stop.wait()

    async def _be_seen(self) -> None:
        """Have the database know that these journals are there, so that nobody declares them lost."""
        while not self._stop.is_set():
            with contextlib.suppress(OstiaryError):  # the projector tells of a store that is away
                self._lost = await asyncio.to_thread(self._say_seen)
            if self._lost and self._worth_saying(self._lost):
                _log.error("declared_lost", reason=self._lost)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ORIGIN_SEEN_SECONDS):
                    await self._stop.wait()

    def _say_seen(self) -> str:
        names = origins(self.offline.journal_root)
        self.offline.origin_store.seen(names, self.clock.now_ns())
        return self.offline.lost(names)

    def _keep_usage(self) -> None:
        # As at the start. Where not even that is known, because the file was unreadable then, nothing is given up.
        now_ns, days = self.clock.now_ns(), None if self._running is None else self._running.storage.call_days
        since = "" if days is None else day_of(now_ns - (days - 1) * _DAY_NS)
        self.offline.usage_store.keep(day_of(now_ns), since)

    def _file_changed(self) -> bool:
        """Whether the file is worth a longer look."""
        stamp = _stamp(self.job.config_file)
        return self._reload.is_set() or stamp != self._seen_file or stamp != self._looked_at

    def _look_at_file(self) -> None:
        asked = self._reload.is_set()
        self._reload.clear()
        seen, before = _stamp(self.job.config_file), self._looked_at
        self._looked_at = seen
        # Taken by itself only once two looks in a row find the same: a file that is still being written may be valid
        # by chance, with half of its teams.
        if not asked and (seen == self._seen_file or seen != before):
            return
        self._seen_file = seen  # a file that is refused is looked at again only when it changes again
        try:
            self.loaded = self.publication.reload(self.loaded)
        except OperatorError as error:
            if error.code is Code.STORE_UNAVAILABLE:  # nothing is wrong with the file: it is tried at each look
                self._seen_file = (0, 0, 0)
            raise
        self._file_refused = False
        self.notifier.configure(self.loaded)
        self.reviews.configure(self.loaded)
        _log.info("configuration_taken", warnings=len(self.publication.warnings))
        for text in (*self.publication.warnings, *self._at_next_start()):
            _log.warning("configuration", reason=text)

    def _at_next_start(self) -> list[str]:
        """What was changed in the file but holds only from the next start on."""
        settings = self.loaded.settings
        if self._running is None:
            self._running = settings
        return [
            f"{name}: the change takes effect when Ostiary is started again"
            for name in _AT_START
            if getattr(_at_start(settings), name) != getattr(_at_start(self._running), name)
        ]

    def _look_at_rows(self) -> None:
        revision = self.offline.database.revision()
        if revision != self._seen_rows or self.publication.due:
            self.publication.refresh_rows()
            self._seen_rows = revision


def _loaded(job: OpsJob) -> tuple[Loaded, str]:
    """The settings to work with, and why the file's are not taken, if they are not."""
    if not job.config_file:
        return load(None), ""
    file = Path(job.config_file)
    try:
        return load(file), ""
    except OperatorError as error:
        storage = StorageSettings(url=job.storage)
        return Loaded(Settings(data_dir=job.data_dir, storage=storage), file, {}, file.parent), error.message


def _at_start(settings: Settings) -> Settings:
    """The settings without what is taken at once in sections that otherwise wait for the next start."""
    return msgspec.structs.replace(
        settings,
        server=msgspec.structs.replace(settings.server, show_target=True),
        journal=msgspec.structs.replace(settings.journal, on_failure="refuse"),
        cache=msgspec.structs.replace(settings.cache, memory_bytes=0),
    )


def _stamp(file: str) -> tuple[int, int, int]:
    if not file:
        return (0, 0, 0)
    try:
        stat = Path(file).stat()
    except OSError:
        return (0, 0, 0)
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def main(argument: str) -> int:
    """Run the ops process; its exit status."""
    job = msgspec.json.decode(argument, type=OpsJob)
    log.configure(job.log_level, "ops")

    async def work() -> bool:
        return await Ops(job).run()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            done = runner.run(work())
    except OperatorError as error:
        _log.error("cannot_start", reason=error.message)
        return 2
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
