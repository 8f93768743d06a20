"""The supervisor: starts the data workers and the ops process, starts again what dies, stops all in order.

It is small on purpose: it reads nothing, serves nothing and holds the listening sockets, so that a worker that dies
loses no connection that was waiting, and its successor takes over its slot and its journal.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType
from typing import Final

import msgspec

from ostiary.bootstrap.job import DataJob, OpsJob, SupervisorJob, encode

_POLL_SECONDS: Final = 0.1
_RESTART_SECONDS: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
_STEADY_SECONDS: Final = 30.0
_READY_SECONDS: Final = 60.0
_CANNOT_START: Final = 2


class _Child:
    """One process that should always run."""

    def __init__(self, job: DataJob | OpsJob, lifeline_fd: int, environment: dict[str, str]) -> None:
        self.job = job
        self.name = f"data-{job.slot}" if isinstance(job, DataJob) else "ops"
        self._module = "ostiary.bootstrap.data" if isinstance(job, DataJob) else "ostiary.bootstrap.ops"
        self._lifeline_fd = lifeline_fd
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_fd = -1
        self._started_at = 0.0
        self._restart_at = 0.0
        self._failures = 0
        self.was_ready = False

    def start(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        job = msgspec.structs.replace(self.job, ready_fd=writing, lifeline_fd=self._lifeline_fd)
        self._process = subprocess.Popen(  # noqa: S603 - our own modules with our own arguments
            [sys.executable, "-m", self._module, encode(job)],
            pass_fds=(self.job.socket_fd, writing, self._lifeline_fd),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(writing)
        if self._ready_fd >= 0:
            os.close(self._ready_fd)
        self._ready_fd = reading
        self._started_at = time.monotonic()

    def ready(self) -> bool:
        """Whether it has said so since it was started last."""
        if self._ready_fd >= 0:
            try:
                said = os.read(self._ready_fd, 16)
            except BlockingIOError:
                return False
            os.close(self._ready_fd)
            self._ready_fd = -1
            self.was_ready = bool(said)
        return self.was_ready

    def look(self) -> int | None:
        """Start it again if it died and its time has come; gives the exit status of one that just died."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._restart_at:
                self.start()
            return None
        status = self._process.poll()
        if status is None:
            return None
        if now - self._started_at > _STEADY_SECONDS:
            self._failures = 0
        self._restart_at = now + _RESTART_SECONDS[min(self._failures, len(_RESTART_SECONDS) - 1)]
        self._failures += 1
        self._process = None
        return status

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, until: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(max(until - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid


class Supervisor:
    """Runs a `SupervisorJob`."""

    def __init__(self, job: SupervisorJob) -> None:
        self._job = job
        self._signals: list[int] = []
        self._wake = threading.Event()
        # Children hold the reading end; it ends when this process does, however that happens.
        self._lifeline, self._held = os.pipe()
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": job.metrics_dir}
        self._children = [_Child(one, self._lifeline, environment) for one in job.data]
        if job.ops is not None:
            self._children.append(_Child(job.ops, self._lifeline, environment))

    def run(self) -> int:
        """Until told to stop; the process's exit status."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        for child in self._children:
            child.start()
        announced = False
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            # A signal's handler runs when this wait returns; so does a child's end get noticed.
            self._wake.wait(_POLL_SECONDS)
            self._wake.clear()
            while self._signals:
                received = self._signals.pop(0)
                if received == signal.SIGHUP:
                    self._forward(signal.SIGHUP)
                else:
                    return self._stop(received)
            for child in self._children:
                status = child.look()
                if status is not None:
                    self._say(f"{child.name} ended with status {status}; starting it again")
                    if not child.was_ready and (status == _CANNOT_START or time.monotonic() > deadline):
                        self._stop(signal.SIGTERM)
                        return _CANNOT_START
            if not announced and all(child.ready() for child in self._children):
                announced = True
                print(self._job.announcement, flush=True)  # noqa: T201 - what the person who started it reads

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._signals.append(number)
        self._wake.set()

    def _forward(self, number: int) -> None:
        for child in self._children:
            if isinstance(child.job, OpsJob):
                child.signal(number)

    def _stop(self, number: int) -> int:
        """Data workers first: they drain; then the ops process, which projects what they wrote."""
        until = time.monotonic() + self._job.stop_seconds
        data = [child for child in self._children if isinstance(child.job, DataJob)]
        for group in (data, [child for child in self._children if child not in data]):
            for child in group:
                child.signal(number)
            for child in group:
                child.wait(until)
        return 0

    def _say(self, text: str) -> None:
        line = msgspec.json.encode({"level": "error", "process": "supervisor", "event": text})
        sys.stderr.write(line.decode("utf-8") + "\n")
        sys.stderr.flush()


def main(argument: str) -> int:
    """Run the supervisor."""
    return Supervisor(msgspec.json.decode(argument, type=SupervisorJob)).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
