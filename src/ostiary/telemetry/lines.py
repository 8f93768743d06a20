"""Lines on standard error that never fail and never block whoever writes them.

Whatever reads the log may be slow, gone or out of space; serving requests must not depend on it. Lines wait in a
bounded queue for a thread of their own; what does not fit, or cannot be written, is counted and told as a number
once lines go through again.
"""

import atexit
import contextlib
import os
import threading
from collections import deque
from typing import Final, final

from ostiary.core.limit import LOG_LINES_WAITING_MAX

_STANDARD_ERROR: Final = 2
_FLUSH_SECONDS: Final = 1.0


@final
class Lines:
    """A queue of lines for one descriptor. Any thread may `put`."""

    def __init__(self, descriptor: int = _STANDARD_ERROR) -> None:
        self._descriptor = descriptor
        self._waiting: deque[bytes] = deque()
        self._wake = threading.Event()
        self._written = threading.Event()
        self._written.set()
        self._thread: threading.Thread | None = None
        self._untold = 0
        self.dropped = 0

    def put(self, text: str) -> None:
        """Have a line written soon. Raises nothing."""
        if len(self._waiting) >= LOG_LINES_WAITING_MAX:
            self._drop()
            return
        self._waiting.append(text.encode("utf-8", "backslashreplace") + b"\n")
        self._written.clear()
        if self._thread is None and not self._start():
            self._waiting.clear()
            self._written.set()
            self._drop()
            return
        self._wake.set()

    def flush(self, seconds: float = _FLUSH_SECONDS) -> None:
        """Wait until what was put is written, no longer than so."""
        self._written.wait(seconds)

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads are to be had, or the interpreter is ending
            return False
        self._thread = thread
        atexit.register(self.flush)
        return True

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting.popleft()
            self._written.set()
            if self._waiting:  # one came in between
                self._written.clear()

    def _write(self, data: bytes) -> None:
        untold = self._untold
        if untold:
            data = b'{"level":"warning","event":"log_lines_dropped","count":%d}\n' % untold + data
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            self._drop()
        else:
            self._untold -= untold

    def _drop(self) -> None:
        self.dropped += 1
        self._untold += 1


stderr: Final = Lines()
"""Standard error of this process."""


def hold_standard_descriptors() -> None:
    """Make sure that 0, 1 and 2 are taken. A program started with one of them closed would otherwise get a socket or
    a database under that number, and print into it."""
    with contextlib.suppress(OSError):
        while True:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor > _STANDARD_ERROR:
                os.close(descriptor)
                return
            os.set_inheritable(descriptor, True)  # for what this process becomes
