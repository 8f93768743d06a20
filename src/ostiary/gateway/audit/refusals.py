"""Refused credentials, counted: one bounded record per minute, source prefix and reason, however many there were."""

import ipaddress
from typing import Final

from ostiary.core.event import Unauthenticated
from ostiary.core.limit import REFUSAL_SOURCES_MAX

_OTHER: Final = "other"


class Refusals:
    """Counts of the current minute. Sources beyond the bound are counted together as "other"."""

    def __init__(self) -> None:
        self._minute = 0
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, minute: int, peer: str, code: str) -> list[Unauthenticated]:
        """Count one refusal; gives the records of the minute before where a new one has begun."""
        due = self.due(minute)
        source = prefix(peer)
        key = (source, code)
        if key not in self._counts and len(self._counts) >= REFUSAL_SOURCES_MAX:
            key = (_OTHER, code)
        self._counts[key] = self._counts.get(key, 0) + 1
        return due

    def due(self, minute: int) -> list[Unauthenticated]:
        """The records of a minute that is over, once; none within a minute. A clock set back also ends it."""
        if minute == self._minute or not self._counts:
            self._minute = minute
            return []
        records = self.flush()
        self._minute = minute
        return records

    def flush(self) -> list[Unauthenticated]:
        """All counts so far as records, and start anew."""
        records = [
            Unauthenticated(minute=self._minute, source=source, code=code, count=count)
            for (source, code), count in self._counts.items()
        ]
        self._counts = {}
        return records


def prefix(peer: str) -> str:
    """The network a client belongs to: /24 of an IPv4 address, /48 of an IPv6 one."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return _OTHER
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    bits = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((address, bits), strict=False))
