"""Usage as rows, and reports over them."""

from enum import StrEnum

import msgspec

from ostiary.core.event import BudgetAlert, Gap, Outcome, Recovered, Unauthenticated
from ostiary.core.usage import Usage


class CallRow(msgspec.Struct, frozen=True):
    """One closed call, narrow. `sequence` is that of its closing record in `origin`; `day` is UTC, YYYY-MM-DD, of
    its closing. `asked` is the model the client named, `served` the one sent to the provider. `cost_nano` is in
    `currency` ("": no cost is known). `whole` says that every kind of usage is told."""

    origin: str
    sequence: int
    at_ns: int
    day: str
    tenant: str
    environment: str
    team: str
    key_id: str
    asked: str
    served: str
    provider: str
    operation: str
    outcome: Outcome
    status: int = 0
    error: str = ""
    stream: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    cost_nano: int = 0
    currency: str = ""
    total_ms: float = 0.0
    first_content_ms: float = 0.0
    request_id: str = ""
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    images: int = 0
    audio_milliseconds: int = 0
    characters: int = 0
    search_units: int = 0
    whole: bool = False


class Consumed(msgspec.Struct, frozen=True):
    """Calls that consumed the same: `calls` of them, of one day, operation, provider and model, and what they cost
    together. `group` as in a report. `whole` is false where not every kind of usage was kept, `estimated` true where
    it was counted by us or priced at a ceiling."""

    group: tuple[str, ...]
    day: str
    operation: str
    provider: str
    served: str
    usage: Usage
    calls: int
    cost_nano: int
    currency: str
    estimated: bool = False
    whole: bool = True


class OpenCall(msgspec.Struct, frozen=True):
    """A call whose opening record has no closing one yet."""

    sequence: int
    at_ns: int
    tenant: str
    team: str
    key_id: str
    asked: str
    request_id: str


class Batch(msgspec.Struct):
    """What a stretch of one origin adds to the view: calls closed, calls left open by number, the numbers of calls
    opened in an earlier stretch and closed in this one, and the rest with the numbers of their records.
    `unreadable` are records whose payload is not what its kind says: kept count of and passed over."""

    calls: list[CallRow]
    opened: dict[int, OpenCall]
    closed: list[int]
    refusals: list[Unauthenticated]
    gaps: list[tuple[int, Gap]]
    recoveries: list[tuple[int, Recovered]]
    unreadable: list[tuple[int, int]]
    alerts: list[BudgetAlert] = []


class Place(msgspec.Struct, frozen=True, order=True):
    """A consumer's place in an origin of the journal: file, byte, number of the next record."""

    segment: int = 0
    offset: int = 0
    sequence: int = 0


class Dimension(StrEnum):
    """What a report can be grouped by."""

    DAY = "day"
    ENVIRONMENT = "environment"
    TENANT = "tenant"
    TEAM = "team"
    KEY = "key"
    MODEL = "model"
    SERVED = "served"
    PROVIDER = "provider"


class UsageQuery(msgspec.Struct, frozen=True):
    """Which calls, and grouped by what. Days are inclusive, "" for no bound; None for every tenant or team."""

    by: tuple[Dimension, ...]
    since: str = ""
    until: str = ""
    tenant: str | None = None
    team: str | None = None


class UsageLine(msgspec.Struct, frozen=True):
    """One group of a report. `errors` counts the calls that failed or were aborted. `cost_nano` by currency.
    Latencies are milliseconds over calls that succeeded, None without any."""

    group: tuple[str, ...]
    requests: int
    succeeded: int
    errors: int
    denied: int
    cancelled: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nano: dict[str, int]
    p50_ms: float | None
    p95_ms: float | None
