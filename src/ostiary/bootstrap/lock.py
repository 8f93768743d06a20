"""The data folder's lock: one supervisor at a time.

Every process of the installation holds it, so that it is free only once the last of them is gone. Workers whose
supervisor was killed finish what they are doing and end; who starts in that moment waits for them.
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ostiary.core.error import Code, OperatorError

_POLL_SECONDS: Final = 0.05


def lock(data_dir: Path, leftover_seconds: float = 0.0, told: Callable[[str], None] = lambda _: None) -> int:
    """Hold the folder's lock until the process (and those it hands the descriptor to) ends.

    Raises OperatorError store.unavailable where another supervisor holds it, or where the workers of one that is
    gone have not ended within `leftover_seconds`; that there is something to wait for is `told`.
    """
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until: float | None = None
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            now = time.monotonic()
            if until is None and not _alive(_holder(descriptor)):
                until = now + leftover_seconds
                told(f"waiting for the workers of a supervisor that is gone to leave {data_dir}")
            if until is None or now >= until:
                os.close(descriptor)
                raise OperatorError(
                    Code.STORE_UNAVAILABLE, f"another Ostiary is running on {data_dir}; stop it or use another data_dir"
                ) from None
            time.sleep(_POLL_SECONDS)  # before anything is served
        else:
            name_holder(descriptor, os.getpid())
            return descriptor


def name_holder(descriptor: int, pid: int) -> None:
    """Write down which process is the supervisor."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % pid, 0)


def _holder(descriptor: int) -> int:
    text = os.pread(descriptor, 16, 0).strip()
    return int(text) if text.isdigit() else 0


def _alive(pid: int) -> bool:
    if pid <= 0:
        return True  # not written down yet: one that is starting
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
