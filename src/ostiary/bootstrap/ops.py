"""The ops process: publishes what operators change, projects the journal into tables, serves health and metrics.

One per installation. Data workers do not need it to answer calls; without it, changes wait.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec
import structlog

from ostiary.bootstrap.job import OpsJob
from ostiary.bootstrap.offline import Offline
from ostiary.bootstrap.publication import Publication
from ostiary.bootstrap.ready import tell_ready
from ostiary.control.admin import Admin
from ostiary.core.error import OperatorError, OstiaryError
from ostiary.core.limit import CONFIG_POLL_SECONDS, ROWS_POLL_SECONDS
from ostiary.projector.loop import Projector
from ostiary.serving.server import Server
from ostiary.settings import Loaded, load
from ostiary.store.journal.reader import JournalFiles
from ostiary.telemetry import log
from ostiary.telemetry.metrics import render_all

_FAULT_REPEAT_SECONDS: Final = 60.0
_log = structlog.get_logger()


class Ops:
    """The ops process, from its job to its end."""

    def __init__(self, job: OpsJob) -> None:
        self.job = job
        self.loaded: Loaded = load(Path(job.config_file) if job.config_file else None)
        settings = self.loaded.settings
        self.offline = Offline(self.loaded, Path(job.data_dir))
        self.clock = self.offline.clock
        self.publication = Publication(self.offline, frozenset({settings.server.port, settings.admin.port}))
        self.publication.take_file(self.loaded)
        self.projector = Projector(JournalFiles(self.offline.journal_root), self.offline.usage_store, self._faulted)
        self._said: dict[str, float] = {}
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._seen_file = _stamp(self.loaded.file)
        self._seen_rows = self.offline.database.revision()

    async def run(self) -> None:
        """Until told to stop; then one last pass of the projector."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        if self.job.lifeline_fd >= 0:
            loop.add_reader(self.job.lifeline_fd, self._stop.set)
        server = Server(Admin(self.ready, render_all), self.clock, loop)
        await server.start([socket.socket(fileno=self.job.socket_fd)])
        tell_ready(self.job.ready_fd)
        tasks = [loop.create_task(self.projector.run(self._stop)), loop.create_task(self._watch())]
        await self._stop.wait()
        if self.job.lifeline_fd >= 0:
            loop.remove_reader(self.job.lifeline_fd)
        await asyncio.wait(tasks)
        await server.drain(1.0)
        self.offline.database.close()

    def ready(self) -> str:
        """Why not, or empty. A refused configuration does not count: the one before it is in use."""
        if self.projector.faults:
            return "the journal is not projected: " + ", ".join(sorted(self.projector.faults))
        return ""

    def _faulted(self, origin: str, error: OstiaryError) -> None:
        now = self.clock.monotonic()
        if now - self._said.get(origin, -_FAULT_REPEAT_SECONDS) >= _FAULT_REPEAT_SECONDS:
            self._said[origin] = now
            _log.error("projection_failed", origin=origin, reason=error.message)

    async def _watch(self) -> None:
        """Look for changes of the file and of the rows, and publish them."""
        next_file = self.clock.monotonic()
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROWS_POLL_SECONDS):
                    await self._stop.wait()
            try:
                now = self.clock.monotonic()
                if self._reload.is_set() or now >= next_file:
                    next_file = now + CONFIG_POLL_SECONDS
                    await asyncio.to_thread(self._look_at_file)
                await asyncio.to_thread(self._look_at_rows)
            except OperatorError as error:
                _log.error("change_refused", reason=error.message)

    def _look_at_file(self) -> None:
        asked = self._reload.is_set()
        self._reload.clear()
        seen = _stamp(self.loaded.file)
        if seen == self._seen_file and not asked:
            return
        self._seen_file = seen  # a file that is refused is looked at again only when it changes again
        self.loaded = self.publication.reload(self.loaded)
        _log.info("configuration_taken", warnings=len(self.publication.warnings))
        for text in self.publication.warnings:
            _log.warning("configuration", reason=text)

    def _look_at_rows(self) -> None:
        revision = self.offline.database.revision()
        if revision != self._seen_rows:
            self.publication.refresh_rows()
            self._seen_rows = revision


def _stamp(file: Path | None) -> tuple[int, int, int]:
    if file is None:
        return (0, 0, 0)
    try:
        stat = file.stat()
    except OSError:
        return (0, 0, 0)
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def main(argument: str) -> int:
    """Run the ops process; its exit status."""
    job = msgspec.json.decode(argument, type=OpsJob)
    log.configure(job.log_level, "ops")

    async def work() -> None:
        await Ops(job).run()

    try:
        asyncio.run(work())
    except OperatorError as error:
        _log.error("cannot_start", reason=error.message)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
