"""How much of the memory it may have the installation uses, where the operating system bounds it: a control group's limit
(https://docs.kernel.org/admin-guide/cgroup-v2.html), as containers and services have one."""

from pathlib import Path
from typing import Final

from ostiary.core.limit import MEMORY_SHARE_MAX

GROUP: Final = Path("/sys/fs/cgroup")


class Memory:
    """The memory of this process's control group. What the kernel can take back at once, pages of files that nobody used
    lately, does not count: the journal's are among them."""

    def __init__(self, folder: Path = GROUP) -> None:
        self._current = folder / "memory.current"
        self._stat = folder / "memory.stat"
        self.limit_bytes = _number(folder / "memory.max")
        """0: none."""

    def used_share(self) -> float:
        """The share of the limit that is in use; 0.0 where there is none. Reads two small files of the kernel's."""
        if not self.limit_bytes:
            return 0.0
        return max(_number(self._current) - self._reclaimable(), 0) / self.limit_bytes

    def short(self) -> bool:
        """Whether no new call should be taken: more than MEMORY_SHARE_MAX is in use."""
        return self.used_share() > MEMORY_SHARE_MAX

    def _reclaimable(self) -> int:
        try:
            lines = self._stat.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError):
            return 0
        return sum(int(words[1]) for words in map(str.split, lines) if len(words) == 2 and words[0] == "inactive_file")


def _number(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return 0
    return int(text) if text.isdecimal() else 0
