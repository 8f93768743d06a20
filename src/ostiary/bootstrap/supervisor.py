"""The supervisor: starts the data workers and the ops process, starts again what dies, stops all in order.

It is small on purpose: it reads nothing, serves nothing and holds the listening sockets, so that a worker that dies
loses no connection that was waiting, and its successor takes over its slot and its journal.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Final

import msgspec

from ostiary.bootstrap.job import MINDED, DataJob, OpsJob, SupervisorJob, encode
from ostiary.bootstrap.lock import name_holder
from ostiary.bootstrap.ready import tell_ready
from ostiary.telemetry import lines

_POLL_SECONDS: Final = 0.1
_IDLE_SECONDS: Final = 1.0
_RESTART_SECONDS: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
_STEADY_SECONDS: Final = 2.0
_READY_SECONDS: Final = 60.0
_OVER_SECONDS: Final = 3.0
_CANNOT_START: Final = 2
_BELL_BYTES: Final = 1_024


class _Child:
    """One process that should always run."""

    def __init__(self, job: DataJob | OpsJob, shared: tuple[int, int], environment: dict[str, str]) -> None:
        self.job = job
        self.name = f"data-{job.slot}" if isinstance(job, DataJob) else "ops"
        self._module = "ostiary.bootstrap.data" if isinstance(job, DataJob) else "ostiary.bootstrap.ops"
        self._shared = shared
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_fd = -1
        self._ready_at = 0.0
        self._restart_at = 0.0
        self._failures = 0
        self.is_ready = False
        self.was_ready = False

    def start(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        job = msgspec.structs.replace(self.job, ready_fd=writing, lifeline_fd=self._shared[0])
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules with our own arguments
                [sys.executable, "-m", self._module, encode(job)],
                pass_fds=(self.job.socket_fd, writing, *self._shared),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        if self._ready_fd >= 0:
            os.close(self._ready_fd)
        self._ready_fd = reading
        self.is_ready = False

    def ready(self) -> bool:
        """Whether it has said so since it was started last. `was_ready` is whether it ever did."""
        if self._ready_fd >= 0:
            try:
                said = os.read(self._ready_fd, 16)
            except BlockingIOError:
                return False
            os.close(self._ready_fd)
            self._ready_fd = -1
            self.is_ready = bool(said)
            self._ready_at = time.monotonic()
            self.was_ready = self.was_ready or self.is_ready
        return self.is_ready

    def look(self) -> int | None:
        """Start it again if it died and its time has come; gives the exit status of one that just died."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._restart_at:
                try:
                    self.start()
                except OSError:  # no memory or no process to be had just now
                    self._later(now)
            return None
        status = self._process.poll()
        if status is None:
            return None
        # Waiting is for what dies at once, again and again. One that had come up and served is missed by callers.
        if self.ready() and now - self._ready_at > _STEADY_SECONDS:
            self._failures = 0
        self._later(now)
        self._process = None
        self.is_ready = False
        return status

    def _later(self, now: float) -> None:
        self._restart_at = now + _RESTART_SECONDS[min(self._failures, len(_RESTART_SECONDS) - 1)]
        self._failures += 1

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int:
        """The exit status of one that has ended; 0 where none was running."""
        return 0 if self._process is None else self._process.returncode


class _Bell:
    """Wakes the one thread when a signal comes. The interpreter itself writes to the pipe: a lock, which `Event` has
    inside, could be held by the very thread that a handler interrupts, and would then be waited for until the end."""

    def __init__(self) -> None:
        self._heard, self._rung = os.pipe()
        os.set_blocking(self._heard, False)
        os.set_blocking(self._rung, False)

    def listen(self) -> None:
        """From now on. Signals without a handler do not ring."""
        signal.set_wakeup_fd(self._rung, warn_on_full_buffer=False)

    def wait(self, seconds: float) -> None:
        """Until a signal came since the last wait, or so long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._heard, selectors.EVENT_READ)
            selector.select(seconds)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._heard, _BELL_BYTES):
                pass


class Supervisor:
    """Runs a `SupervisorJob`."""

    def __init__(self, job: SupervisorJob) -> None:
        self._job = job
        self._signals: list[int] = []
        self._bell = _Bell()
        self._reload_due = False
        # Children hold the reading end; it ends when this process does, however that happens.
        self._lifeline, self._held = os.pipe()
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": job.metrics_dir}
        # They hold the folder's lock too: as long as one of them lives, the folder is in use.
        shared = (self._lifeline, job.lock_fd)
        self._children = [_Child(one, shared, environment) for one in job.data]
        if job.ops is not None:
            self._children.append(_Child(job.ops, shared, environment))

    def run(self) -> int:
        """Until told to stop; the process's exit status."""
        for number in MINDED:
            signal.signal(number, self._signalled)
        signal.signal(signal.SIGCHLD, _heard)
        self._bell.listen()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MINDED)
        name_holder(self._job.lock_fd, os.getpid())
        for child in self._children:
            child.start()
        announced = False
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            # A signal, the end of a child among them, ends this wait. Without one there is little to look for while
            # all run: an idle installation should cost nothing.
            self._bell.wait(
                _IDLE_SECONDS if announced and all(child.is_ready for child in self._children) else _POLL_SECONDS
            )
            while self._signals:
                received = self._signals.pop(0)
                if received != signal.SIGHUP:
                    return self._stop(received)
                self._reload_due = True
            if self._orphaned():
                return self._stop(signal.SIGTERM)
            for child in self._children:
                status = child.look()
                if status is not None:
                    self._say(f"{child.name} ended with status {status}; starting it again")
                    if not child.was_ready and (status == _CANNOT_START or time.monotonic() > deadline):
                        self._stop(signal.SIGTERM)
                        return _CANNOT_START
            ready = [child.ready() for child in self._children]
            if self._reload_due:
                self._reload()
            if not announced and all(ready):
                announced = True
                self._announce()

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._signals.append(number)

    def _reload(self) -> None:
        """Pass SIGHUP on; one that is only starting has no handler for it yet and would die of it."""
        for child in self._children:
            if isinstance(child.job, OpsJob) and child.is_ready:
                child.signal(signal.SIGHUP)
                self._reload_due = False

    def _orphaned(self) -> bool:
        """Whether the process that started this one, if it gave us a lifeline, is gone."""
        if self._job.lifeline_fd < 0:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self._job.lifeline_fd, selectors.EVENT_READ)
            return bool(selector.select(0))

    def _announce(self) -> None:
        with contextlib.suppress(OSError):  # nobody reads it
            if self._job.announcement:
                print(self._job.announcement, flush=True)  # noqa: T201 - what the person who started it reads
            tell_ready(self._job.ready_fd)

    def _stop(self, number: int) -> int:
        """Data workers first: they drain; then the ops process, which projects what they wrote.

        A second signal while they drain ends the grace. Gives 0 where every process ended in order.
        """
        # While this process holds them too, the sockets would go on taking connections that nobody serves.
        for one in (*self._job.data, *((self._job.ops,) if self._job.ops else ())):
            os.close(one.socket_fd)
        until = time.monotonic() + self._job.stop_seconds
        data = [child for child in self._children if isinstance(child.job, DataJob)]
        rest = [child for child in self._children if child not in data]
        in_order = self._end(data, number, until)
        return 0 if self._end(rest, number, time.monotonic() + self._job.ship_seconds) and in_order else 1

    def _end(self, group: list[_Child], number: int, until: float) -> bool:
        for child in group:
            child.ready()
            child.signal(number)
        while any(child.alive for child in group) and time.monotonic() < until:
            self._bell.wait(_POLL_SECONDS / 2)
            if any(received != signal.SIGHUP for received in self._signals):
                self._signals.clear()
                for child in group:
                    child.signal(number)
                until = min(until, time.monotonic() + _OVER_SECONDS)
        for child in group:
            if child.alive:
                self._say(f"{child.name} did not end in time and is killed")
                child.kill()
        # One that had not come up yet has no handler for the signal: ending by it is in order, too.
        return all(child.status == 0 or (not child.was_ready and child.status == -number) for child in group)

    def _say(self, text: str) -> None:
        line = msgspec.json.encode({"level": "error", "process": "supervisor", "event": text})
        lines.stderr.put(line.decode("utf-8"))


def _heard(number: int, frame: FrameType | None) -> None:
    """A handler for a signal that only has to ring."""
    del number, frame


def main(argument: str) -> int:
    """Run the supervisor."""
    return Supervisor(msgspec.json.decode(argument, type=SupervisorJob)).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
