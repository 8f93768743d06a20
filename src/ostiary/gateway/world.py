"""Everything a call needs of its surroundings, in one value that `bootstrap` builds and every call shares."""

from collections.abc import Mapping
from typing import Final

from ostiary.core.call import DialectName
from ostiary.core.error import Code, OperatorError, UpstreamError
from ostiary.core.http import JSON_TYPE, Header
from ostiary.gateway.audit.digest import Digests
from ostiary.gateway.dialect import Dialect
from ostiary.gateway.meter.hold import Holds
from ostiary.gateway.ports import Clock, Ids, Journal, Observer, Random, Secrets, Upstream
from ostiary.gateway.provider.auth.header import credential_headers
from ostiary.gateway.route.plan import Strategy
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import ProviderRow

_USER_AGENT: Final[Header] = (b"user-agent", b"ostiary")


class World:
    """The adapters, and what calls share. `index` is replaced whole when a new snapshot arrives; a call holds the one
    it began with."""

    def __init__(
        self,
        *,
        index: Index,
        upstream: Upstream,
        journal: Journal,
        secrets: Secrets,
        observer: Observer,
        clock: Clock,
        ids: Ids,
        random: Random,
        dialects: Mapping[DialectName, Dialect],
        variants: Mapping[str, Dialect],
        strategies: dict[str, Strategy],
        digests: Digests,
    ) -> None:
        self.index = index
        self.upstream = upstream
        self.journal = journal
        self.secrets = secrets
        self.observer = observer
        self.clock = clock
        self.ids = ids
        self.random = random
        self.dialects = dialects
        self.variants = variants
        self.strategies = strategies
        self.digests = digests
        self.holds = Holds()
        self.open_streams = 0
        self.open_calls = 0
        self.gap_from_ns = 0
        self.gap_calls = 0
        self._credentials: dict[str, tuple[Header, ...]] = {}

    def swap(self, index: Index) -> None:
        """Take a new snapshot, and the credentials it refers to."""
        self.index = index
        self._credentials = {}

    def provider_dialect(self, provider: ProviderRow) -> Dialect:
        """The dialect a provider speaks, in the variant of its row."""
        if provider.dialect is DialectName.OPENAI:
            return self.variants.get(provider.max_tokens_field) or self.dialects[provider.dialect]
        return self.dialects[provider.dialect]

    def provider_headers(self, provider: ProviderRow) -> tuple[Header, ...]:
        """What is sent to a provider with every request. Raises UpstreamError upstream.credential."""
        found = self._credentials.get(provider.name)
        if found is None:
            ref = provider.auth.secret
            try:
                credential = credential_headers(provider.auth.scheme, None if ref is None else self.secrets.get(ref))
            except OperatorError as error:
                raise UpstreamError(Code.UPSTREAM_CREDENTIAL, f"Provider {provider.name}: {error.message}.") from error
            extra = tuple((name.lower().encode(), value.encode()) for name, value in provider.headers)
            found = (JSON_TYPE, _USER_AGENT, *extra, *credential)
            self._credentials[provider.name] = found
        return found
