"""TLS towards upstreams: one context per TlsRow, always verifying, reloaded when its files change.

There is no switch that turns verification off. Contexts are built in a thread, since reading a CA bundle takes
milliseconds. A changed file is noticed at the next dial, at most TLS_CHECK_SECONDS late; a broken new file leaves
the old context in use and is reported. Connections that are open keep the context they were made with.
"""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ostiary.core import limit
from ostiary.core.error import Code, UpstreamError
from ostiary.core.port import Clock
from ostiary.snapshot.tables import TlsRow

Stamp = tuple[tuple[int, int, int], ...]
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context(row: TlsRow) -> ssl.SSLContext:
    """A client context for `row`. Blocks on files. Raises UpstreamError upstream.tls with what is wrong."""
    minimum = _VERSIONS.get(row.minimum_version)
    if minimum is None:
        raise UpstreamError(Code.UPSTREAM_TLS, "The provider's minimum TLS version must be 1.2 or 1.3.")
    try:
        made = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=row.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise UpstreamError(Code.UPSTREAM_TLS, f"The provider's CA bundle cannot be loaded: {_why(error)}.") from error
    made.minimum_version = minimum
    made.set_alpn_protocols(["http/1.1"])
    if row.certificate_file:
        try:
            made.load_cert_chain(row.certificate_file, row.key_file or None, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            raise UpstreamError(
                Code.UPSTREAM_TLS, f"The client certificate for the provider cannot be loaded: {_why(error)}."
            ) from error
    return made


def failure(error: ssl.SSLError | ssl.CertificateError) -> UpstreamError:
    """What went wrong with TLS, in words for an operator."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpstreamError(
            Code.UPSTREAM_TLS, f"The provider's certificate could not be verified: {error.verify_message}."
        )
    return UpstreamError(Code.UPSTREAM_TLS, f"TLS with the provider failed: {_why(error)}.")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return type(error).__name__


def _no_password() -> str:
    """An encrypted key must fail, not ask on the terminal."""
    raise ssl.SSLError("the key is encrypted")


def _stamp(row: TlsRow) -> Stamp:
    """What changes when a file does. A missing file has a stamp too, so that its return is noticed."""
    stamps = []
    for name in (row.ca_file, row.certificate_file, row.key_file):
        if not name:
            continue
        try:
            stat = Path(name).stat()
        except OSError:
            stamps.append((0, 0, 0))
        else:
            stamps.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(stamps)


class _Entry:
    __slots__ = ("checked_at", "context", "lock", "stamp")

    def __init__(self) -> None:
        self.context: ssl.SSLContext | None = None
        self.stamp: Stamp = ()
        self.checked_at = 0.0
        self.lock = asyncio.Lock()


def _ignore(_: str) -> None:
    """Report to nobody."""


class TlsContexts:
    """The contexts in use. `report` is told, in one sentence, of a new file that could not be loaded."""

    __slots__ = ("_clock", "_entries", "_report")

    def __init__(self, clock: Clock, report: Callable[[str], None] = _ignore) -> None:
        self._clock = clock
        self._report = report
        self._entries: dict[TlsRow, _Entry] = {}

    async def get(self, row: TlsRow) -> ssl.SSLContext:
        """The context for `row`, shared. Raises UpstreamError upstream.tls where there never was a good one."""
        entry = self._entries.get(row)
        if entry is None:
            entry = self._entries[row] = _Entry()
        now = self._clock.monotonic()
        if entry.context is not None and (now < entry.checked_at + limit.TLS_CHECK_SECONDS or entry.lock.locked()):
            return entry.context
        async with entry.lock:  # one load at a time; the others take what it made
            if entry.context is not None and now < entry.checked_at + limit.TLS_CHECK_SECONDS:
                return entry.context
            loop = asyncio.get_running_loop()
            stamp = await loop.run_in_executor(None, _stamp, row)
            if entry.context is None or stamp != entry.stamp:
                try:
                    entry.context = await loop.run_in_executor(None, context, row)
                except UpstreamError as error:
                    if entry.context is None:
                        raise
                    self._report(f"{error.message} The one loaded before stays in use.")
            entry.stamp = stamp
            entry.checked_at = now
            return entry.context
