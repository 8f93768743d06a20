"""Credentials of providers: fetched, kept, renewed before they end, never shared between providers.

    good for longer than CREDENTIAL_REFRESH_SECONDS     used
    good, but ending sooner                             used, and one renewal begins in the background
    ends within CREDENTIAL_MARGIN_SECONDS, or none      `headers` says None: the caller waits for `fetch`
    a fetch failed                                      nobody is asked again for a second, then two, up to a minute

The bound on a failing endpoint is per provider; what is still good is used meanwhile. Times of credentials are those
of the wall clock, since that is what their issuers tell; pauses after failures are monotonic.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ostiary.core import limit
from ostiary.core.error import Code, OperatorError, OstiaryError, UpstreamError
from ostiary.core.http import Header, Origin
from ostiary.core.port import Clock
from ostiary.core.secret import Secret
from ostiary.gateway.ports import PhaseTimeouts, Secrets, Upstream, UpstreamRequest
from ostiary.gateway.provider.auth.header import credential_headers
from ostiary.gateway.provider.auth.sigv4 import Signer
from ostiary.gateway.provider.auth.source import is_fetched, source_of
from ostiary.gateway.provider.auth.token import Ask, Came, Grant, ReadFile
from ostiary.snapshot.tables import AuthRow, ProviderRow

_NS: Final = 1_000_000_000
_Key = tuple[str, Origin, AuthRow]


class _Kept:
    """What is known of the credential of one row, got with the secrets of one moment (`material`)."""

    __slots__ = ("error", "expires_at", "failures", "flight", "headers", "material", "retry_at", "row", "signer")

    def __init__(self, row: ProviderRow, material: tuple[str | None, ...]) -> None:
        self.row = row
        self.material = material
        self.headers: tuple[Header, ...] | None = None
        self.signer: Signer | None = None
        self.expires_at: float | None = None
        self.flight: asyncio.Task[None] | None = None
        self.error: UpstreamError | None = None
        self.failures = 0
        self.retry_at = 0.0

    def take(self, grant: Grant) -> None:
        """Use a new credential."""
        auth = self.row.auth
        if isinstance(grant.value, Secret):
            self.headers = ((b"authorization", b"Bearer " + grant.value.reveal().encode()),)
        else:
            self.signer = Signer(grant.value, auth.region, auth.service)
        self.expires_at = grant.expires_at
        self.error, self.failures, self.retry_at = None, 0, 0.0

    def good_for(self, now: float) -> float:
        """How many seconds it is good for; 0 where there is none."""
        if self.headers is None and self.signer is None:
            return 0.0
        return float("inf") if self.expires_at is None else self.expires_at - now


class ProviderCredentials:
    """Implements ports.Credentials. `metadata` is a client that reaches the machine's own metadata and nothing else:
    `upstream` never does."""

    def __init__(self, upstream: Upstream, metadata: Upstream, secrets: Secrets, clock: Clock) -> None:
        self._upstream = upstream
        self._metadata = metadata
        self._secrets = secrets
        self._clock = clock
        self._kept: dict[_Key, _Kept] = {}
        self._last: dict[str, _Kept] = {}

    def headers(self, provider: ProviderRow, request: UpstreamRequest) -> tuple[Header, ...] | None:
        """See ports.Credentials.headers."""
        kept = self._last.get(provider.name)
        if kept is None or kept.row is not provider:
            kept = self._of(provider)
        if kept.expires_at is None and kept.headers is not None:
            return kept.headers
        good_for = kept.good_for(self._clock.now_ns() / _NS)
        if good_for <= limit.CREDENTIAL_MARGIN_SECONDS:
            return None
        if good_for <= limit.CREDENTIAL_REFRESH_SECONDS and self._clock.monotonic() >= kept.retry_at:
            self._fly(kept)
        if kept.signer is not None:
            return kept.signer.headers(request, self._clock.now_ns())
        return kept.headers

    async def fetch(self, provider: ProviderRow) -> None:
        """See ports.Credentials.fetch."""
        kept = self._of(provider)
        if kept.good_for(self._clock.now_ns() / _NS) > limit.CREDENTIAL_MARGIN_SECONDS:
            return
        if kept.error is None or self._clock.monotonic() >= kept.retry_at:
            await asyncio.shield(self._fly(kept))
        if kept.error is not None:
            raise UpstreamError(kept.error.code, kept.error.message)

    def swap(self, providers: Iterable[ProviderRow]) -> frozenset[str]:
        """Take the rows of a new snapshot, or secrets read anew: what belongs to another row or secret is dropped, and
        the names of its providers returned. A fetch in flight for it ends by itself."""
        dropped: set[str] = set()
        rows = {_key(row): row for row in providers}
        self._last.clear()
        for key, kept in list(self._kept.items()):
            row = rows.get(key)
            if row is None or kept.material != self._revealed(row):
                del self._kept[key]
                dropped.add(kept.row.name)
        return frozenset(dropped)

    async def aclose(self) -> None:
        """End every fetch in flight."""
        flights = [kept.flight for kept in self._kept.values() if kept.flight is not None]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _of(self, provider: ProviderRow) -> _Kept:
        """What is kept for this very row. A credential of other settings never serves it, whatever its name."""
        key = _key(provider)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = self._begun(provider, self._revealed(provider))
        kept.row = provider
        self._last[provider.name] = kept
        return kept

    def _begun(self, provider: ProviderRow, material: tuple[str | None, ...]) -> _Kept:
        kept = _Kept(provider, material)
        auth = provider.auth
        if not is_fetched(auth.scheme):
            secret = None if auth.secret is None else self._secrets.get(auth.secret)
            try:
                kept.headers = credential_headers(auth.scheme, secret, auth.header)
            except OperatorError as error:
                raise _told(provider, error) from error
        return kept

    def _revealed(self, provider: ProviderRow) -> tuple[str | None, ...]:
        found = [self._secrets.get(ref) for ref in provider.auth.secrets()]
        return tuple(None if secret is None else secret.reveal() for secret in found)

    def _fly(self, kept: _Kept) -> "asyncio.Task[None]":
        """The fetch in flight, begun if there is none. It never raises: how it ended stands in what is kept."""
        if kept.flight is None:
            kept.flight = asyncio.get_running_loop().create_task(self._fetched(kept))
        return kept.flight

    async def _fetched(self, kept: _Kept) -> None:
        try:
            async with asyncio.timeout(limit.CREDENTIAL_FETCH_SECONDS_MAX):
                kept.take(await self._driven(kept))
        except TimeoutError:
            self._failed(kept, UpstreamError(Code.UPSTREAM_CREDENTIAL, "No credential could be had in time."))
        except OstiaryError as error:
            self._failed(kept, error)
        finally:
            kept.flight = None

    def _failed(self, kept: _Kept, error: OstiaryError) -> None:
        kept.error = _told(kept.row, error)
        pause = min(limit.CREDENTIAL_RETRY_SECONDS * 2**kept.failures, limit.CREDENTIAL_RETRY_SECONDS_MAX)
        kept.failures = min(kept.failures + 1, 16)
        kept.retry_at = self._clock.monotonic() + pause

    async def _driven(self, kept: _Kept) -> Grant:
        """Do what the source asks for, step by step, until it has its credential."""
        steps = source_of(kept.row.auth, self._secrets.get)(self._clock.now_ns() / _NS)
        try:
            step = next(steps)
            for _ in range(limit.CREDENTIAL_REQUESTS_MAX):
                step = steps.send(await self._done(step))
        except StopIteration as end:
            grant: Grant = end.value
            return grant
        raise UpstreamError(Code.UPSTREAM_CREDENTIAL, "No credential could be had: it takes too many steps.")

    async def _done(self, step: Ask | ReadFile) -> Came:
        if isinstance(step, ReadFile):
            return Came(200, await asyncio.get_running_loop().run_in_executor(None, _read, step.path))
        seconds = limit.CREDENTIAL_FETCH_SECONDS_MAX
        timeouts = PhaseTimeouts(limit.CONNECT_SECONDS, seconds, seconds, self._clock.monotonic() + seconds)
        client = self._metadata if step.metadata else self._upstream
        request = UpstreamRequest(step.origin, step.method, step.target, step.headers, step.body, timeouts)
        try:
            reply = await client.send(request)
            try:
                return Came(reply.status, await reply.read(limit.CREDENTIAL_ANSWER_BYTES_MAX))
            finally:
                reply.close()
        except UpstreamError as error:
            raise UpstreamError(
                Code.UPSTREAM_CREDENTIAL, f"No credential could be had from {step.origin.host} ({error.code})."
            ) from error


def _key(row: ProviderRow) -> _Key:
    """What a credential is bound to: whose it is, where it goes, and how it is got."""
    return row.name, row.origin, row.auth


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(limit.CREDENTIAL_ANSWER_BYTES_MAX + 1)
    except OSError as error:
        raise OperatorError(
            Code.CONFIG_INVALID, f"the file with its token or keys cannot be read: {error.strerror or 'an error'}"
        ) from error
    if len(data) > limit.CREDENTIAL_ANSWER_BYTES_MAX:
        raise OperatorError(Code.CONFIG_INVALID, "the file with its token or keys is too large")
    return data


def _told(provider: ProviderRow, error: OstiaryError) -> UpstreamError:
    """The failure as every caller is told it. What an endpoint said beyond a word of its own is not repeated."""
    reason = error.message.rstrip(".")
    return UpstreamError(Code.UPSTREAM_CREDENTIAL, f"Provider {provider.name}: {reason[:1].lower()}{reason[1:]}.")
