"""Metric files that all processes of an installation share, kept from being a danger to whoever writes them.

Two things are done that the library does not do by itself. The files' space is allocated, not only their size set:
storing into a mapped page for which the disk has no room kills a process. And a file is named after the worker's
slot, not its process id, so that a successor goes on counting where its predecessor was killed, gauges of the dead
do not stay in the sums, and restarts leave no files behind.
"""

import os
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

_FIRST_BYTES: Final = 256 * 1024


class _Allocated(MmapedDict):
    """A file of metrics whose space is there before it is written to. Raises OSError where it cannot be had."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            descriptor = os.open(filename, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, max(_FIRST_BYTES, os.fstat(descriptor).st_size))
            finally:
                os.close(descriptor)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]  # the library has no annotation here

    def _init_value(self, key: str) -> None:
        needed = self._used + len(key.encode("utf-8")) + 32
        if needed > self._capacity:
            os.posix_fallocate(self._f.fileno(), 0, 2 * self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]  # as above


def share(name: str) -> None:
    """Have the metrics made from now on stand in shared files under this name, which no other process uses."""
    values.MmapedDict = _Allocated  # type: ignore[attr-defined]  # where the library looks it up
    named: Callable[[], Any] = lambda: name  # noqa: E731 - the library calls it to notice a fork
    values.ValueClass = values.MultiProcessValue(named)  # type: ignore[no-untyped-call]  # as above


def keep_to_oneself() -> None:
    """Have the metrics made from now on stand in this process's memory, where nobody else sees them."""
    values.ValueClass = values.MutexValue
