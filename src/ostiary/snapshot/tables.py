"""The tables of a snapshot. The control plane compiles them; the data plane reads nothing else.

A snapshot holds references to secrets (`SecretRef`), never secrets, and no keys: those stand in a digest file
beside it (`snapshot/keys.py`). Money is in nano-units.
"""

from enum import StrEnum
from typing import Final, Literal

import msgspec

from ostiary.core.call import DialectName, Operation
from ostiary.core.capability import Capability
from ostiary.core.error import Code
from ostiary.core.http import Origin
from ostiary.core.limit import (
    CACHE_MEMORY_BYTES,
    CALLS_REQUESTS_MAX,
    LAG_SECONDS,
    WAIT_SECONDS,
    WAITING_REQUESTS_MAX,
)
from ostiary.core.principal import Priority


class SecretRef(msgspec.Struct, frozen=True):
    """Where a secret stands: `kind` env or file and the variable's or file's name."""

    kind: str
    name: str


class KeyRow(msgspec.Struct, frozen=True):
    """One of several secrets of a provider: a name to tell it by, where it stands, and its share of the calls."""

    name: str
    secret: SecretRef
    weight: int = 1


class AuthRow(msgspec.Struct, frozen=True):
    """How the gateway authenticates to a provider: the scheme, where its secret stands, and what else the scheme needs.

    `header` is the name for the scheme of that name. For AWS: `region` and `service` of the signature, `key_id` and
    `session_token` of fixed keys, `profile` in `file`, `role_arn` to assume, `token_file`, `endpoint` of a container's
    credentials. For Google and Azure `scopes`; for Azure `tenant`, `client_id` and `token_file`. `keys` are several
    secrets in place of one.
    """

    scheme: str = "none"
    secret: SecretRef | None = None
    header: str = ""
    region: str = ""
    service: str = ""
    key_id: str = ""
    session_token: SecretRef | None = None
    profile: str = ""
    file: str = ""
    role_arn: str = ""
    token_file: str = ""
    endpoint: str = ""
    scopes: tuple[str, ...] = ()
    tenant: str = ""
    client_id: str = ""
    keys: tuple[KeyRow, ...] = ()

    def secrets(self) -> tuple[SecretRef, ...]:
        """Every secret the scheme needs."""
        own = (self.secret, self.session_token, *(key.secret for key in self.keys))
        return tuple(ref for ref in own if ref is not None)


class Residency(StrEnum):
    """Who runs the model: an outside provider or the company itself."""

    HOSTED = "hosted"
    PRIVATE = "private"


class TlsRow(msgspec.Struct, frozen=True, cache_hash=True):
    """TLS towards one provider: a CA bundle in place of the system's, a client certificate with its key (paths).

    `minimum_version` is 1.3 unless an operator makes the exception 1.2 for this provider.
    """

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    minimum_version: str = "1.3"


class ProfileRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a server differs from the one its dialect is named after: most of it of servers that call themselves
    OpenAI-compatible, in chat completions.

    `max_tokens_field` is the name under which it knows a bound on output, `seed_field` that of a seed.
    `stream_usage` false: it refuses the option that makes a stream report its usage. `developer_role` false: it knows
    no such role, and is told `system`. `tool_choice_required` is its word for calls that must use a tool. `omit` are
    fields it refuses, or would ignore though they decide what comes back. `reasoning_field` is where thinking of
    earlier turns goes back to it. `json_schema` false: it knows no structured output by schema.
    `vertex_embeddings`: it is Google's Vertex AI, which has vectors of models that are not Gemini's by its prediction
    service.
    """

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    stream_usage: bool = True
    developer_role: bool = True
    tool_choice_required: Literal["required", "any"] = "required"
    seed_field: Literal["seed", "random_seed"] = "seed"
    omit: tuple[str, ...] = ()
    reasoning_field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    json_schema: bool = True
    vertex_embeddings: bool = False


class GateRow(msgspec.Struct, frozen=True):
    """A bound of one worker on calls in flight, how many may wait for a place, and for how long."""

    concurrent_requests: int
    waiting_requests: int
    wait_seconds: float


class OverloadRow(msgspec.Struct, frozen=True):
    """When a worker sheds calls: beyond its gate, and where its event loop runs later than `lag_seconds` for a while."""

    gate: GateRow = GateRow(CALLS_REQUESTS_MAX, WAITING_REQUESTS_MAX, WAIT_SECONDS)
    lag_seconds: float = LAG_SECONDS


class ProviderRow(msgspec.Struct, frozen=True):
    """One upstream. `path` is the prefix of the base URL (e.g. /v1), in which `{model}` stands for the model's name;
    `query` goes with every request (e.g. api-version=2024-10-21); `proxy` is an HTTP CONNECT proxy or None.

    `dialect` is what it is spoken to in; `also` are others it speaks under the same base URL, used where a client
    speaks one of them. `profile` is how it differs from OpenAI, or from the Gemini API, where it speaks that dialect. `operations` are those it
    has endpoints for; empty: those of its dialect.
    `region` is where it runs, in small letters (empty: not known). `gate` bounds the calls in flight there.
    `price_provider` names the price list its models are looked up in. `headers` are sent with each request.
    `embedding_inputs_max` is how many texts it takes at once for vectors (None: as many as its dialect says).
    """

    name: str
    dialect: DialectName
    origin: Origin
    path: str
    auth: AuthRow = AuthRow()
    residency: Residency = Residency.HOSTED
    tls: TlsRow = TlsRow()
    proxy: Origin | None = None
    headers: tuple[tuple[str, str], ...] = ()
    price_provider: str = ""
    also: tuple[DialectName, ...] = ()
    count_tokens: bool = False
    profile: ProfileRow = ProfileRow()
    query: str = ""
    operations: tuple[Operation, ...] = ()
    region: str = ""
    gate: GateRow | None = None
    embedding_inputs_max: int | None = None


class TraitsRow(msgspec.Struct, frozen=True):
    """What is known of a model: what it can do, what it certainly cannot, and its limits in tokens. What is in neither
    list, and a limit that is None, is unknown."""

    can: tuple[Capability, ...] = ()
    cannot: tuple[Capability, ...] = ()
    context_window: int | None = None
    max_output_tokens: int | None = None

    def over(self, other: "TraitsRow") -> "TraitsRow":
        """Both together; where both speak of one thing, this one counts."""
        said = {*self.can, *self.cannot}
        return TraitsRow(
            can=self.can + tuple(one for one in other.can if one not in said),
            cannot=self.cannot + tuple(one for one in other.cannot if one not in said),
            context_window=other.context_window if self.context_window is None else self.context_window,
            max_output_tokens=other.max_output_tokens if self.max_output_tokens is None else self.max_output_tokens,
        )

    def known(self) -> bool:
        """Whether anything here could keep a call away."""
        return bool(self.cannot) or self.context_window is not None or self.max_output_tokens is not None


class TargetRow(msgspec.Struct, frozen=True):
    """One place a model is served: a provider's name, the model's name there, its share, and what is known of it
    (None: nothing). For a target `*`, `traits` are what the operator says of all models behind it. `when` is a condition
    in CEL (`gateway/route/condition.py`) for the calls it takes; empty: all. `gate` is a bound of its own on calls in
    flight, in place of its provider's."""

    provider: str
    model: str
    weight: int = 1
    traits: TraitsRow | None = None
    when: str = ""
    gate: GateRow | None = None


class TimeoutsRow(msgspec.Struct, frozen=True):
    """Seconds per phase: connecting, until the first byte of the answer, between chunks, in all."""

    connect_seconds: float
    first_token_seconds: float
    idle_seconds: float
    total_seconds: float


class FallbackRow(msgspec.Struct, frozen=True):
    """Another model for calls that failed here, and the reason codes after which it is tried."""

    model: str
    on: tuple[Code, ...]


class CacheScope(StrEnum):
    """Who shares the kept answers of a model."""

    TENANT = "tenant"
    TEAM = "team"
    KEY = "key"


BUILTIN: Final = "builtin"
"""The embedder that needs no model."""


class SemanticRow(msgspec.Struct, frozen=True):
    """Whether an answer may be given to another question that says nearly the same: `serves`, or only measures how well
    that would go. `floor` is the least similarity; `embedder` is `builtin` or an embeddings model of this gateway."""

    serves: bool
    floor: float
    embedder: str = BUILTIN


class CacheRow(msgspec.Struct, frozen=True):
    """How answers of a model are kept: for how long they are fresh, for how much longer they may stand in for a
    failure, who shares them, whether calls that ask for the same wait for one another, what a purge may name them by, and
    whether they are given to questions that say nearly the same."""

    ttl_seconds: int
    stale_if_error_seconds: int = 0
    scope: CacheScope = CacheScope.TENANT
    single_flight: bool = True
    tags: tuple[str, ...] = ()
    semantic: SemanticRow | None = None


class Subject(StrEnum):
    """What keeps a caller at one target: its key, the person or the session that its call names."""

    KEY = "key"
    END_USER = "end_user"
    SESSION = "session"


class ShadowRow(msgspec.Struct, frozen=True):
    """Another model that gets to see a share of the calls, and what it says is shown to nobody."""

    model: str
    share: float


class WebhookRow(msgspec.Struct, frozen=True):
    """A path of a provider's that is asked for an answer, and for how long."""

    provider: str
    path: str
    timeout_seconds: float


class HandoverRow(msgspec.Struct, frozen=True):
    """A call left to a person for so long, and the name of who is told when it is decided (empty: nobody)."""

    ttl_seconds: int
    callback: str = ""


class DegradedAnswerRow(msgspec.Struct, frozen=True):
    """A text given instead of a failure, or what `webhook` says then, or the ticket of a `handover`: where the condition `when` holds (empty: always), and to `questions` like these
    alone (empty: to any)."""

    text: str = ""
    when: str = ""
    questions: tuple[str, ...] = ()
    webhook: WebhookRow | None = None
    handover: HandoverRow | None = None


class DegradedRow(msgspec.Struct, frozen=True):
    """What a model says instead of the failures in `on`: the first of its answers that fits."""

    on: tuple[str, ...]
    answers: tuple[DegradedAnswerRow, ...]


class PoorSign(StrEnum):
    """What may be poor in an answer: nothing is said in it, the model refused, it was cut off at its bound of tokens, or
    for its content."""

    EMPTY = "empty"
    REFUSAL = "refusal"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"


class QualityRow(msgspec.Struct, frozen=True):
    """Which answers are poor: those with one of the signs, with fewer characters of text, or for which the condition
    `poor_when` holds (empty: none)."""

    signs: tuple[PoorSign, ...]
    min_characters: int = 0
    poor_when: str = ""


class ChecksRow(msgspec.Struct, frozen=True):
    """What answers are checked for, because a fallback or a ready answer stands for it: the structure that was asked for,
    and their quality (None: not)."""

    schema: bool = False
    quality: QualityRow | None = None


class HedgeRow(msgspec.Struct, frozen=True):
    """When a call is put to a second target as well: after so long (None: as long as 95 of 100 calls take), for at most
    this share of calls, where the second attempt can cost no more than `nano` (None: no bound of its own)."""

    after_seconds: float | None = None
    share: float = 0.05
    nano: int | None = None


class ModelRow(msgspec.Struct, frozen=True):
    """What applications ask for by name. `environments` empty means every one; `attempts` is how many there may be for
    one call in all (None: one at each target); `regions` are those its calls may go to, its fallbacks' too (empty: all);
    `subject` is what `sticky` and `split` go by; `prompt_cache` is how long what is written to a provider's prompt cache is
    to live there (empty: nothing is asked of it)."""

    name: str
    targets: tuple[TargetRow, ...]
    timeouts: TimeoutsRow
    strategy: str = "weighted"
    fallbacks: tuple[FallbackRow, ...] = ()
    default_max_tokens: int | None = None
    max_tokens: int | None = None
    drop_unsupported: bool = False
    environments: tuple[str, ...] = ()
    created: int = 0
    attempts: int | None = None
    cache: CacheRow | None = None
    regions: tuple[str, ...] = ()
    subject: Subject = Subject.KEY
    shadow: ShadowRow | None = None
    degraded: DegradedRow | None = None
    hedge: HedgeRow | None = None
    prompt_cache: str = ""
    checks: ChecksRow | None = None


class LimitRow(msgspec.Struct, frozen=True, cache_hash=True):
    """What one scope may take: requests and tokens a minute, each with how many may come at once, and calls open at
    the same time. None: no limit."""

    requests_per_minute: int | None = None
    request_burst: int = 1
    tokens_per_minute: int | None = None
    token_burst: int = 1
    concurrent_requests: int | None = None


class Period(StrEnum):
    """How long a budget lasts before it starts again, by the calendar of its time zone; TOTAL never does."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"
    TOTAL = "total"


class IncreaseRow(msgspec.Struct, frozen=True):
    """What a budget is raised by from `start` until `end` (seconds since 1970, the latter not in it)."""

    start: int
    end: int
    nano: int = 0
    tokens: int = 0


class BudgetRow(msgspec.Struct, frozen=True):
    """What one scope may spend in a period: nano-units of `currency`, tokens, or both (None: no bound). A soft budget
    only alerts. `alerts` are shares of it, ascending. `increases` raise it for a time."""

    nano: int | None = None
    tokens: int | None = None
    currency: str = "USD"
    period: Period = Period.MONTH
    time_zone: str = "UTC"
    alerts: tuple[float, ...] = ()
    hard: bool = True
    increases: tuple[IncreaseRow, ...] = ()


class LimitedRow(msgspec.Struct, frozen=True, cache_hash=True):
    """A scope with its limit. `scope` names it: tenant/<tenant>, team/<tenant>/<team>, key/<tenant>/<key id>,
    project/<tenant>/<team>/<project>, tier/<tier>, model/<model>, and user/<tenant>/<team> for each end user of a team on its own."""

    scope: str
    limit: LimitRow


class BudgetedRow(msgspec.Struct, frozen=True):
    """A scope with its budget; scopes are named as in LimitedRow."""

    scope: str
    budget: BudgetRow


class TeamRow(msgspec.Struct, frozen=True):
    """A team of a tenant: its environment, allowed models ("*": all), bounds (None: the product's) and the providers
    whose own paths it may reach by passthrough ("*": all). Its calls go to `regions` alone (empty: all), and with
    `residency` private to private targets alone. Where calls wait, `priority` says how urgent its are, and `weight` what
    its share is among teams of the same priority."""

    tenant: str
    name: str
    environment: str
    models: tuple[str, ...]
    max_tokens: int | None = None
    tool_depth: int | None = None
    managed_by: str = "file"
    passthrough: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    residency: Residency | None = None
    priority: Priority = Priority.STANDARD
    weight: int = 1
    tier: str = ""


class Rates(msgspec.Struct, frozen=True):
    """Nano-units of the currency. Per million tokens of each kind; None: charged like the kind it is part of. Further
    per `image` made, per `request`, per `audio_minute` listened to, per million of each `character` spoken and per
    `search_unit`; None: nothing is charged for it."""

    input: int
    output: int
    cached: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None
    input_image: int | None = None
    image: int | None = None
    request: int | None = None
    audio_minute: int | None = None
    character: int | None = None
    search_unit: int | None = None
    output_image: int | None = None


class Match(StrEnum):
    """How a price row names models: exactly, by how they begin, or by what they contain."""

    EQUALS = "equals"
    PREFIX = "prefix"
    CONTAINS = "contains"


class PriceRow(msgspec.Struct, frozen=True):
    """Prices of one model, or of those its `match` covers, from `valid_from` (seconds since 1970) on; `tiers` replace
    `rates` for a call whose input tokens exceed their bound. `variant` names a class of service that is sold at prices of
    its own (batch, flex, priority, fast); empty: the standard one, by which calls are priced."""

    provider: str
    model: str
    rates: Rates
    match: Match = Match.EQUALS
    valid_from: int = 0
    currency: str = "USD"
    tiers: tuple[tuple[int, Rates], ...] = ()
    version: str = ""
    variant: str = ""


class UnknownPrice(StrEnum):
    """What to do where no price is known: cost at a ceiling, or refuse the call."""

    CEILING = "ceiling"
    REFUSE = "refuse"


class PricingRow(msgspec.Struct, frozen=True):
    """The price lists of the models in use, and what holds for unknown ones."""

    rows: tuple[PriceRow, ...]
    unknown: UnknownPrice
    ceiling: Rates
    version: str


class KnownModelRow(msgspec.Struct, frozen=True):
    """What is known of a model that no target names, because it stands behind a `*`. `provider` is the price list."""

    provider: str
    model: str
    traits: TraitsRow


class JournalRow(msgspec.Struct, frozen=True):
    """How the data plane records: durability process | disk, on failure refuse | continue."""

    durability: str = "process"
    on_failure: str = "refuse"


class ServerRow(msgspec.Struct, frozen=True):
    """What of the server's own behaviour may change while it runs."""

    show_target: bool = True
    cache_bytes: int = CACHE_MEMORY_BYTES


class Snapshot(msgspec.Struct, frozen=True):
    """Everything the data plane decides by. `id` is the digest of the content; `created_ns` when it was compiled."""

    format: int
    id: str
    created_ns: int
    providers: tuple[ProviderRow, ...]
    models: tuple[ModelRow, ...]
    teams: tuple[TeamRow, ...]
    pricing: PricingRow
    journal: JournalRow = JournalRow()
    server: ServerRow = ServerRow()
    limits: tuple[LimitedRow, ...] = ()
    budgets: tuple[BudgetedRow, ...] = ()
    known_models: tuple[KnownModelRow, ...] = ()
    overload: OverloadRow = OverloadRow()
