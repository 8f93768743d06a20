"""Everything a call needs of its surroundings, in one value that `bootstrap` builds and every call shares."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from msgspec.structs import replace

from ostiary.core.call import DialectName
from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Header
from ostiary.core.port import Clock, Ids, Random
from ostiary.core.principal import Principal
from ostiary.gateway.admit.bounds import Options
from ostiary.gateway.admit.gate import Gates
from ostiary.gateway.admit.idempotency import IdempotencyKeys
from ostiary.gateway.admit.ticket import Tickets
from ostiary.gateway.audit.alerts import Alerts
from ostiary.gateway.audit.digest import Digests
from ostiary.gateway.cache.answers import Answers
from ostiary.gateway.cache.flight import Flights
from ostiary.gateway.cache.letters import Letters
from ostiary.gateway.cache.neighbours import Neighbours
from ostiary.gateway.counting.budgets import SharedHolds
from ostiary.gateway.counting.limits import SharedLimits
from ostiary.gateway.counting.shared import SharedCounters
from ostiary.gateway.dialect import ClientDialect, ProviderDialect
from ostiary.gateway.meter.hold import Holds
from ostiary.gateway.meter.limits import Limits
from ostiary.gateway.policy.access import Grants
from ostiary.gateway.ports import (
    AnswerCache,
    Credentials,
    Embedder,
    Journal,
    Observer,
    ReplayStore,
    Upstream,
    UpstreamRequest,
)
from ostiary.gateway.route.condition import Conditions
from ostiary.gateway.route.health import Health
from ostiary.gateway.route.hedge import Hedges
from ostiary.gateway.route.keys import Keys, each_alone, of_providers
from ostiary.gateway.route.plan import Strategy
from ostiary.gateway.tape import Detached
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import ProviderRow


class Embedders(Protocol):
    """The embeddings models of this gateway."""

    def of(self, model: str, principal: Principal, options: Options) -> Embedder:
        """What embeds in a caller's name, on its terms."""
        ...


_USER_AGENT: Final[Header] = (b"user-agent", b"ostiary")


class World:
    """The adapters, and what calls share. `grants`, and with it the snapshot's index, is replaced whole when a new
    snapshot arrives; a call holds the one it began with."""

    def __init__(
        self,
        *,
        index: Index,
        upstream: Upstream,
        journal: Journal,
        credentials: Credentials,
        observer: Observer,
        clock: Clock,
        ids: Ids,
        random: Random,
        clients: Mapping[DialectName, ClientDialect],
        providers: Callable[[ProviderRow, DialectName], ProviderDialect],
        strategies: dict[str, Strategy],
        digests: Digests,
        replays: ReplayStore,
        idempotency: IdempotencyKeys,
        health: Health | None = None,
        shared_answers: AnswerCache | None = None,
        shared: SharedCounters | None = None,
        conditions: Conditions | None = None,
        tickets: Tickets | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.grants = Grants(index)
        self.upstream = upstream
        self.journal = journal
        self.synced_first = journal.durability == "disk"
        self.credentials = credentials
        self.observer = observer
        self.alerts = Alerts(journal, observer)
        self.clock = clock
        self.ids = ids
        self.random = random
        self.clients = clients
        self._providers = providers
        self.strategies = strategies
        self.digests = digests
        self.holds: Holds | SharedHolds = Holds() if shared is None else shared.holds
        self.limits: Limits | SharedLimits = Limits() if shared is None else shared.limits
        self.health = health or Health()
        self.hedges = Hedges()
        self.keys: dict[str, Keys] = of_providers(index.snapshot.providers, {})
        self.gates = Gates(index, clock, observer.shed)
        self.conditions = conditions or Conditions()
        self.answers = Answers(index.snapshot.server.cache_bytes, shared_answers)
        self.flights = Flights()
        self.neighbours = Neighbours()
        self.letters: Embedder = Letters()
        self.embedders: Embedders | None = None
        self.replays = replays
        self.idempotency = idempotency
        self.tickets = tickets
        self.detached = Detached()
        self.sleep = sleep
        self.open_streams = 0
        self.open_calls = 0
        self.gap_from_ns = 0
        self.gap_calls = 0
        self._headers: dict[str, tuple[Header, ...]] = {}
        self._spoken: dict[tuple[str, DialectName], ProviderDialect] = {}
        self._addressed: dict[tuple[str, DialectName], tuple[ProviderDialect, tuple[Header, ...]]] = {}

    @property
    def index(self) -> Index:
        """The snapshot in use."""
        return self.grants.index

    def swap(self, index: Index, conditions: Conditions | None = None) -> None:
        """Take a new snapshot with its compiled conditions, and the credentials it refers to. What was seen of a provider whose row or secret is
        another one now is forgotten: its targets may be well again."""
        changed = {row.name for row in index.snapshot.providers if self.index.providers.get(row.name) != row}
        self.grants = Grants(index)
        self.conditions = conditions or Conditions()
        changed |= self.credentials.swap(each_alone(index.snapshot.providers))
        self.keys = of_providers(index.snapshot.providers, self.keys, changed)
        for name in changed:
            self.health.renew(name)
        self.gates.swap(index)
        self.answers.resize(index.snapshot.server.cache_bytes)
        self._headers = {}
        self._spoken = {}
        self._addressed = {}

    def provider_dialect(self, provider: ProviderRow, client: DialectName) -> ProviderDialect:
        """The dialect in which a provider is spoken to, in the form its row asks for: the client's own where the
        provider speaks it too."""
        name = client if client in provider.also else provider.dialect
        found = self._spoken.get((provider.name, name))
        if found is None:
            found = self._spoken[provider.name, name] = self._providers(provider, name)
        return found

    def address_to(self, provider: ProviderRow, client: DialectName) -> tuple[ProviderDialect, tuple[Header, ...]]:
        """`provider_dialect` and `provider_headers` in one."""
        found = self._addressed.get((provider.name, client))
        if found is None:
            found = self.provider_dialect(provider, client), self.provider_headers(provider)
            self._addressed[provider.name, client] = found
        return found

    def provider_headers(self, provider: ProviderRow) -> tuple[Header, ...]:
        """What is sent to a provider with every request, besides its credential."""
        found = self._headers.get(provider.name)
        if found is None:
            extra = tuple((name.lower().encode(), value.encode()) for name, value in provider.headers)
            found = self._headers[provider.name] = (_USER_AGENT, *extra)
        return found

    def proven_at_once(self, provider: ProviderRow, request: UpstreamRequest) -> UpstreamRequest | None:
        """A request that is complete but for its credential, with it; None where that must be `fetched` first.
        Raises UpstreamError upstream.credential."""
        credential = self.credentials.headers(provider, request)
        if not credential:
            return request if credential is not None else None
        return replace(request, headers=request.headers + credential)

    async def proven(self, provider: ProviderRow, request: UpstreamRequest) -> UpstreamRequest:
        """The same, waiting where the credential must be fetched. Raises UpstreamError upstream.credential."""
        return self.proven_at_once(provider, request) or await self.fetched(provider, request)

    async def fetched(self, provider: ProviderRow, request: UpstreamRequest) -> UpstreamRequest:
        """A request with its credential, which is fetched first. Raises UpstreamError upstream.credential."""
        await self.credentials.fetch(provider)
        found = self.proven_at_once(provider, request)
        if found is None:
            raise UpstreamError(
                Code.UPSTREAM_CREDENTIAL,
                f"Provider {provider.name}: its secret was replaced while a credential was got.",
            )
        return found
