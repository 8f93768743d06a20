"""The tables of a snapshot. The control plane compiles them; the data plane reads nothing else.

A snapshot holds references to secrets (`SecretRef`), never secrets, and no keys: those stand in a digest file
beside it (`snapshot/keys.py`). Money is in nano-units per million tokens.
"""

from enum import StrEnum

import msgspec

from ostiary.core.call import DialectName
from ostiary.core.http import Origin


class SecretRef(msgspec.Struct, frozen=True):
    """Where a secret stands: `kind` env or file and the variable's or file's name."""

    kind: str
    name: str


class AuthRow(msgspec.Struct, frozen=True):
    """How the gateway authenticates to a provider: bearer, x-api-key or none, and where the secret stands."""

    scheme: str = "none"
    secret: SecretRef | None = None


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


class ProviderRow(msgspec.Struct, frozen=True):
    """One upstream. `path` is the prefix of the base URL (e.g. /v1); `proxy` an HTTP CONNECT proxy or None.

    `max_tokens_field` is the name under which an OpenAI-compatible server knows a bound on output.
    `price_provider` names the price list its models are looked up in. `headers` are sent with each request.
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
    stream_usage: bool = True
    count_tokens: bool = False
    max_tokens_field: str = "max_completion_tokens"


class TargetRow(msgspec.Struct, frozen=True):
    """One place a model is served: a provider's name, the model's name there, and its share."""

    provider: str
    model: str
    weight: int = 1


class TimeoutsRow(msgspec.Struct, frozen=True):
    """Seconds per phase: connecting, until the first byte of the answer, between chunks, in all."""

    connect_seconds: float
    first_token_seconds: float
    idle_seconds: float
    total_seconds: float


class ModelRow(msgspec.Struct, frozen=True):
    """What applications ask for by name. `environments` empty means every one."""

    name: str
    targets: tuple[TargetRow, ...]
    timeouts: TimeoutsRow
    strategy: str = "weighted"
    fallbacks: tuple[str, ...] = ()
    default_max_tokens: int | None = None
    max_tokens: int | None = None
    drop_unsupported: bool = False
    environments: tuple[str, ...] = ()
    created: int = 0


class TeamRow(msgspec.Struct, frozen=True):
    """A team of a tenant: its environment, allowed models ("*": all) and bounds (None: the product's)."""

    tenant: str
    name: str
    environment: str
    models: tuple[str, ...]
    max_tokens: int | None = None
    tool_depth: int | None = None
    managed_by: str = "file"


class Rates(msgspec.Struct, frozen=True):
    """Nano-units of the currency per million tokens of each kind; None: charged like the kind it is part of."""

    input: int
    output: int
    cached: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None


class Match(StrEnum):
    """How a price row names models: exactly, by how they begin, or by what they contain."""

    EQUALS = "equals"
    PREFIX = "prefix"
    CONTAINS = "contains"


class PriceRow(msgspec.Struct, frozen=True):
    """Prices of one model, or of those its `match` covers, from `valid_from` (seconds since 1970) on; `tiers` replace
    `rates` for a call whose input tokens exceed their bound."""

    provider: str
    model: str
    rates: Rates
    match: Match = Match.EQUALS
    valid_from: int = 0
    currency: str = "USD"
    tiers: tuple[tuple[int, Rates], ...] = ()
    version: str = ""


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


class JournalRow(msgspec.Struct, frozen=True):
    """How the data plane records: durability process | disk, on failure refuse | continue."""

    durability: str = "process"
    on_failure: str = "refuse"


class ServerRow(msgspec.Struct, frozen=True):
    """What of the server's own behaviour may change while it runs."""

    show_target: bool = True


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
