"""How much of the memory it may have the installation uses, where the operating system bounds it: a control group's limit
(https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html), as containers and services have one."""

import contextlib
import ctypes
import gc
from pathlib import Path
from typing import Final, NamedTuple

from ostiary.core.limit import (
    BODIES_BYTES_MAX,
    BODIES_BYTES_MIN,
    BODY_COPIES_COUNT,
    MEMORY_RESET_SHARE_MAX,
    MEMORY_SHARE_MAX,
)

GROUPS: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self/cgroup")
_NONE: Final = 1 << 60
"""From here on a number is the first version's word for no limit."""


class _Files(NamedTuple):
    """What the kernel calls the same things in the two versions of its interface."""

    limit: str
    current: str
    inactive: str


_V2: Final = _Files("memory.max", "memory.current", "inactive_file")
_V1: Final = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


class Memory:
    """The memory of this process's control group: of those it stands in, the one with the least limit. What the kernel can
    take back at once, pages of files that nobody used lately, does not count: the journal's are among them."""

    def __init__(self, groups: Path = GROUPS, own: Path = OWN) -> None:
        found = [
            (limit, folder, files)
            for folder, files in _standing(groups, own)
            if 0 < (limit := _number(folder / files.limit)) < _NONE
        ]
        self.limit_bytes, self._folder, self._files = min(found, key=lambda one: one[0], default=(0, groups, _V2))
        """The limit; 0: none."""

        self.used_bytes = 0
        """What was in use of it at the last look."""

    def look(self) -> None:
        """See how much is in use now. Reads two small files of the kernel's, where there is a limit."""
        if self.limit_bytes:
            self.used_bytes = max(_number(self._folder / self._files.current) - self._reclaimable(), 0)

    @property
    def short(self) -> bool:
        """Whether no new call should be taken: more than MEMORY_SHARE_MAX is in use."""
        return self.used_bytes > MEMORY_SHARE_MAX * self.limit_bytes

    @property
    def excess_bytes(self) -> int:
        """How much has to be given up so that the kernel ends no process: what is in use beyond MEMORY_RESET_SHARE_MAX."""
        return max(self.used_bytes - int(MEMORY_RESET_SHARE_MAX * self.limit_bytes), 0)

    def bodies_bytes_max(self, held_bytes: int, workers: int) -> int:
        """What the bodies in this worker, which are `held_bytes` now, may grow to: an equal part of what is free, counting
        that what a call makes of its body is some copies of it, most of which may yet have to be made."""
        if not self.limit_bytes:
            return BODIES_BYTES_MAX
        free = MEMORY_RESET_SHARE_MAX * self.limit_bytes - (self.used_bytes - held_bytes)
        return min(max(int(free / (BODY_COPIES_COUNT * workers)), BODIES_BYTES_MIN), BODIES_BYTES_MAX)

    def _reclaimable(self) -> int:
        try:
            lines = (self._folder / "memory.stat").read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError):
            return 0
        return sum(
            int(words[1]) for words in map(str.split, lines) if len(words) == 2 and words[0] == self._files.inactive
        )


def give_back() -> None:
    """Hand what this process has freed back to the kernel, as far as its C library can: else memory that was short once
    stays so. Takes milliseconds."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _standing(groups: Path, own: Path) -> list[tuple[Path, _Files]]:
    """The groups this process stands in, up to the outermost that can be seen from here. A container sees its own as the
    outermost, whatever it is called outside."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    found = [(groups, _V2), (groups / "memory", _V1)]
    for line in lines:
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if ".." in path.split("/"):
            continue  # outside of what can be seen from here
        names = [name for name in path.split("/") if name]
        for depth in range(1, len(names) + 1):
            if not kinds:
                found.append((groups.joinpath(*names[:depth]), _V2))
            elif "memory" in kinds.split(","):
                found.append((groups.joinpath("memory", *names[:depth]), _V1))
    return found


def _number(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return 0
    return int(text) if text.isdecimal() else 0
