"""A head that comes again. Pure.

A client that keeps its connection says nearly the same head with every request: only the content-length differs. What
such bytes were read as once, they are read as again; so they are compared, not parsed. Nothing but the digits may
differ, and a head is only known where nobody could see its lines, or its end, elsewhere than the parser did.
"""

import re
from typing import Final

import msgspec

from ostiary.core.http import Accepted
from ostiary.core.limit import KNOWN_HEAD_BYTES_MAX
from ostiary.serving.incoming import ReadHead

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE)
_DIGITS_MAX: Final = 10


class KnownHead:
    """A head as it was read last, and the bytes before and behind the digits of its content-length. `accepted` is what
    the application made of it then, for whoever reads it again to keep."""

    __slots__ = ("_after", "_after_bytes", "_at", "_before", "_digits", "accepted", "read")

    def __init__(self, before: bytes, digits: bytes, after: bytes, read: ReadHead) -> None:
        self._before = before
        self._at = len(before)
        self._digits = digits
        self._after = after
        self._after_bytes = len(after)
        self.read = read
        self.accepted: Accepted | None = None

    def find(self, data: bytes) -> int:
        """Where the body begins of the request that `data` begins with, whose head is `read` then; 0 where it begins
        otherwise or ends too soon to say."""
        if not data.startswith(self._before):
            return 0
        at = self._at
        end = data.find(b"\r", at, at + _DIGITS_MAX + 1)
        if end < 0 or not data.startswith(self._after, end):
            return 0
        digits = data[at:end]
        if digits != self._digits:
            if not digits.isdigit():
                return 0
            headers = {**self.read.headers, b"content-length": digits}
            self.read = msgspec.structs.replace(self.read, headers=headers, length=int(digits))
            self._digits = digits
        return end + self._after_bytes


def known(data: bytes, read: ReadHead) -> KnownHead | None:
    """What there is to know of the head at the beginning of `data`, which was read as `read`; None where it is not worth
    it (its connection ends, it has no content-length, it is long) or not plain enough."""
    if not read.keep_alive or read.length < 0 or read.chunked or b"expect" in read.headers:
        return None
    end = data.find(b"\r\n\r\n", 0, KNOWN_HEAD_BYTES_MAX) + 2
    lines = read.fields + 1
    if end < 2 or not data.count(b"\r\n", 0, end) == data.count(b"\n", 0, end) == data.count(b"\r", 0, end) == lines:
        return None
    found = _LENGTH.search(data, 0, end)
    if found is None or len(found[1]) > _DIGITS_MAX:
        return None
    return KnownHead(data[: found.start(1)], found[1], data[found.end(1) : end + 2], read)
