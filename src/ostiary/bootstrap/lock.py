"""The data folder's lock: one supervisor at a time."""

import fcntl
import os
from pathlib import Path

from ostiary.core.error import Code, OperatorError


def lock(data_dir: Path) -> int:
    """Hold the folder's lock until the process (and those it hands the descriptor to) ends.

    Raises OperatorError store.unavailable where another supervisor holds it.
    """
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OperatorError(
            Code.STORE_UNAVAILABLE, f"another Ostiary is running on {data_dir}; stop it or use another data_dir"
        ) from None
    return descriptor
