"""Usage as rows, and reports over them."""

from enum import StrEnum
from typing import Final

import msgspec

from ostiary.core.event import BudgetAlert, Gap, Recovered, Unauthenticated
from ostiary.core.usage import Usage


class CallRow(msgspec.Struct, frozen=True):
    """One closed call, narrow. `sequence` is that of its closing record in `origin`; `day` is UTC, YYYY-MM-DD, of
    its closing. `asked` is the model the client named, `served` the one sent to the provider. `outcome` is an `Outcome`.
    `cost_nano` is in `currency` ("": no cost is known). `whole` says that every kind of usage is told. `project`, `feature`
    and `end_user` (a digest) are empty where the call had none.

    `stream`, `estimated` and `whole` are 0 or 1: a database takes plain texts and numbers as they are and has to find out
    about anything else, value by value."""

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
    outcome: str
    status: int = 0
    error: str = ""
    stream: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: int = 0
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
    whole: int = 0
    project: str = ""
    feature: str = ""
    end_user: str = ""


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
    """What a report can be grouped by. A call without it is in the group of the empty name."""

    DAY = "day"
    ENVIRONMENT = "environment"
    TENANT = "tenant"
    TEAM = "team"
    KEY = "key"
    MODEL = "model"
    SERVED = "served"
    PROVIDER = "provider"
    PROJECT = "project"
    FEATURE = "feature"
    END_USER = "end_user"


OF_SINGLE_CALLS: Final = frozenset({Dimension.FEATURE, Dimension.END_USER})
"""What only the rows of single calls know: reports by these reach back as far as those are kept. Callers choose the
values, so that sums of every day by them would grow without bound."""


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
