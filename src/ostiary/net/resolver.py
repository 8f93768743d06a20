"""Names to addresses, off the loop, with a cache that survives a failing name server for a while.

    fresh (DNS_TTL_SECONDS)          answered from the cache
    expired, lookup works            the new addresses
    expired, lookup fails or hangs   the last good addresses, up to DNS_STALE_SECONDS_MAX
    otherwise                        upstream.unreachable

One lookup at a time per name, whatever the number of callers. A lookup runs in a daemon thread of its own, because
getaddrinfo cannot be interrupted: a hanging one neither blocks others nor delays the end of the process, and since
there is at most one per name and names come from the configuration, the number of threads is bounded.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence

from ostiary.core import limit
from ostiary.core.error import Code, UpstreamError
from ostiary.core.port import Clock
from ostiary.net import address

Lookup = Callable[[str, int], Sequence[str]]
"""Blocking: a name and a port to addresses in order of preference. Raises OSError."""

Vet = Callable[[address.Ip], str | None]
"""Why an address is refused, or None."""


def system_lookup(host: str, port: int) -> Sequence[str]:
    """What the operating system's resolver says, without duplicates."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(row[4][0]) for row in found))


class _Entry:
    """What is known of one name."""

    __slots__ = ("addresses", "flight", "good_at", "retry_at")

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self.good_at = 0.0
        self.retry_at = 0.0
        self.flight: asyncio.Future[tuple[str, ...]] | None = None


class Resolver:
    """The cache and its lookups."""

    __slots__ = ("_clock", "_entries", "_lookup", "_vet")

    def __init__(self, clock: Clock, lookup: Lookup = system_lookup, vet: Vet = address.vet) -> None:
        self._clock = clock
        self._vet = vet
        self._lookup = lookup
        self._entries: dict[tuple[str, int], _Entry] = {}

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """Vetted addresses of `host`, never empty; a literal is vetted and returned.

        Raises UpstreamError upstream.unreachable where the name does not resolve or only to refused addresses.
        Cancelling one caller does not disturb the others. Waits at most DNS_SECONDS_MAX.
        """
        literal = address.parse(host)
        if literal is not None:
            return self._vetted((host,))
        entry = self._entries.get((host, port))
        if entry is None:
            entry = self._entries[host, port] = _Entry()
        now = self._clock.monotonic()
        if entry.addresses and now < entry.good_at + limit.DNS_TTL_SECONDS:
            return self._vetted(entry.addresses)
        usable = bool(entry.addresses) and now < entry.good_at + limit.DNS_STALE_SECONDS_MAX
        if now < entry.retry_at:
            if usable:
                return self._vetted(entry.addresses)
            raise UpstreamError(Code.UPSTREAM_UNREACHABLE, "The provider's host name could not be resolved.")
        try:
            async with asyncio.timeout(limit.DNS_SECONDS_MAX):
                return self._vetted(await asyncio.shield(self._fly(host, port, entry)))
        except (OSError, TimeoutError) as error:
            entry.retry_at = self._clock.monotonic() + limit.DNS_FAILURE_SECONDS
            if usable:
                return self._vetted(entry.addresses)
            reason = "in time" if isinstance(error, TimeoutError) else f"({_reason(error)})"
            raise UpstreamError(
                Code.UPSTREAM_UNREACHABLE, f"The provider's host name could not be resolved {reason}."
            ) from error

    def _vetted(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        return _allowed(addresses, self._vet)

    def _fly(self, host: str, port: int, entry: _Entry) -> "asyncio.Future[tuple[str, ...]]":
        """The lookup in flight, started if there is none. It fills the entry even if nobody waits any more."""
        if entry.flight is not None:
            return entry.flight
        loop = asyncio.get_running_loop()
        flight: asyncio.Future[tuple[str, ...]] = loop.create_future()
        entry.flight = flight

        def landed(found: Sequence[str], error: OSError | None) -> None:
            entry.flight = None
            if error is None and found:
                entry.addresses = tuple(found[: limit.DNS_ADDRESSES_MAX])
                entry.good_at = self._clock.monotonic()
                entry.retry_at = 0.0
                flight.set_result(entry.addresses)
            else:
                flight.set_exception(error or OSError("no address"))
                flight.exception()  # retrieved: the callers may all be gone

        def work() -> None:
            found: Sequence[str] = ()
            failure: OSError | None = None
            try:
                found = self._lookup(host, port)
            except OSError as error:
                failure = error
            except ValueError as error:  # a label that cannot be encoded
                failure = OSError(str(error))
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                loop.call_soon_threadsafe(landed, found, failure)

        threading.Thread(target=work, name="ostiary-dns", daemon=True).start()
        return flight


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _allowed(addresses: tuple[str, ...], vet: Vet) -> tuple[str, ...]:
    """The allowed ones among `addresses`; upstream.unreachable where none is."""
    allowed = []
    reason = "it is not an address"
    for text in addresses:
        ip = address.parse(text)
        refused = vet(ip) if ip is not None else reason
        if refused is None:
            allowed.append(text)
        else:
            reason = refused
    if not allowed:
        raise UpstreamError(Code.UPSTREAM_UNREACHABLE, f"The provider's address is refused: {reason}.")
    return tuple(allowed)
