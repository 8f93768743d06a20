"""What the journal records of a call: one record when it opens, one when it closes, never its text.

Fields are only ever added, with a default, so that every later version reads every earlier record. The payload is
the struct as JSON; the frame around it carries the kind and the schema version (`gateway/audit/frame.py`).
"""

from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from ostiary.core.principal import Deployment
from ostiary.core.usage import Cost, Usage

SCHEMA_VERSION: Final = 1
"""Version of the payloads below. A reader meets every version up to its own; unknown kinds are hashed and skipped."""


class Kind(IntEnum):
    """What a journal record is. Numbers are for ever."""

    SEGMENT = 0
    OPENED = 1
    CLOSED = 2
    DENIED = 3
    UNAUTHENTICATED = 4
    GAP = 5
    RECOVERED = 6
    RETIRED = 7
    ALERT = 8
    CHANGE = 9
    REVIEWED = 10


class Outcome(StrEnum):
    """How a call ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DENIED = "denied"
    CANCELLED = "cancelled"
    ABORTED = "aborted"


class Opened(msgspec.Struct, frozen=True, omit_defaults=True):
    """Written before the first byte goes upstream. `at_ns` is wall-clock time in nanoseconds since 1970."""

    request_id: str
    at_ns: int
    tenant: str
    team: str
    environment: str
    key_id: str
    operation: str
    client_dialect: str
    original_model: str
    stream: bool = False
    label: str = "internal"
    prompt_digest: str = ""
    snapshot: str = ""
    end_user: str = ""
    feature: str = ""
    target: str = ""
    shadow_of: str = ""
    project: str = ""


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One try at one target. `reason` is the code of its failure, or empty, and `provider_code` the provider's own
    word for it. `credential` names the secret it was made with, where its provider has several. Times are milliseconds;
    `connect_ms` has a place in the form and is not measured."""

    target: str
    status: int = 0
    reason: str = ""
    connect_ms: float = 0.0
    first_byte_ms: float = 0.0
    total_ms: float = 0.0
    provider_code: str = ""
    credential: str = ""


class Timings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Milliseconds by phase, from the first byte of the request: received whole, sent upstream, first byte and
    first content from the provider, last byte to the client."""

    received_ms: float = 0.0
    sent_ms: float = 0.0
    first_byte_ms: float = 0.0
    first_content_ms: float = 0.0
    total_ms: float = 0.0


CONDITION_FAILED: Final = "condition failed"
"""Why a target was left out whose condition has no answer for the call."""

BUSY: Final = "busy"
"""Why a target was left out whose places were all taken when the call's turn came."""


class Skipped(msgspec.Struct, frozen=True):
    """A target that a call was kept from, and why: a reason of `gateway/route/plan.py`, a reason code or a standing."""

    target: str
    reason: str


class Doubt(StrEnum):
    """What a provider says of an answer and can hardly be so: more or fewer output tokens than what it said has room for,
    or a model other than the one asked for, which it sells at another price."""

    USAGE_MORE = "usage_more"
    USAGE_LESS = "usage_less"
    MODEL = "model"


class Closed(msgspec.Struct, frozen=True, omit_defaults=True):
    """Written on every exit of a call: success, failure, denial, cancellation; by recovery for a crash (ABORTED).

    `opened` is the sequence number of the opening record in the same origin (-1: denied before one was written).
    `prompt_digest` and `answer_digest` are HMAC-SHA-256 in hex under the installation's digest key. Ids of
    people are HMACs. `error` is the stable reason code. `cache` is `hit`, `semantic` or `stale` for an answer that was kept, `replay` for a repetition.
    `degraded` says that the model's entry gave a ready answer instead of the failure in `fallback`.
    `route` holds the first TARGETS_SKIPPED_MAX targets that the call was kept from and, where there are any, `strategy` how
    the others were ordered. `ticket` is that of a call handed over to a person. `doubts` are about what the provider says.
    """

    request_id: str
    at_ns: int
    opened: int
    outcome: Outcome
    tenant: str = ""
    team: str = ""
    environment: str = ""
    key_id: str = ""
    operation: str = ""
    client_dialect: str = ""
    stream: bool = False
    end_user: str = ""
    feature: str = ""
    prompt_id: str = ""
    prompt_version: str = ""
    label: str = ""
    guard_version: str = ""
    policy_version: str = ""
    original_model: str = ""
    request_model: str = ""
    response_model: str = ""
    provider: str = ""
    status: int = 0
    error: str = ""
    error_class: str = ""
    timings: Timings = Timings()
    attempts: tuple[Attempt, ...] = ()
    usage: Usage = Usage()
    usage_estimated: bool = False
    cost: Cost | None = None
    prompt_digest: str = ""
    answer_digest: str = ""
    digest_key: str = ""
    snapshot: str = ""
    deployment: Deployment = Deployment()
    fallback: str = ""
    dropped_fields: tuple[str, ...] = ()
    finish_reason: str = ""
    cache: str = ""
    degraded: bool = False
    strategy: str = ""
    route: tuple[Skipped, ...] = ()
    shadow_of: str = ""
    project: str = ""
    ticket: str = ""
    doubts: tuple[Doubt, ...] = ()


class Unauthenticated(msgspec.Struct, frozen=True):
    """Refused credentials, counted per minute and source prefix so that a flood cannot fill the disk."""

    minute: int
    source: str
    code: str
    count: int


class Gap(msgspec.Struct, frozen=True):
    """Calls that went on without records while the journal could not be written (`on_failure: continue`)."""

    from_ns: int
    to_ns: int
    calls: int
    reason: str


class Recovered(msgspec.Struct, frozen=True):
    """Recovery cut `bytes_cut` unacknowledged bytes off the tail and closed `aborted` calls."""

    at_ns: int
    bytes_cut: int
    aborted: int


class Retired(msgspec.Struct, frozen=True):
    """An operator declared the journal of another origin lost for good: who, when, why, the number of the first of its
    records that the store does not have, and how many calls that left open."""

    at_ns: int
    origin: str
    by: str
    reason: str
    records: int
    aborted: int


class Reviewed(msgspec.Struct, frozen=True):
    """A person decided on a call that was handed over: who, which way, and of what was said its digest alone, as digests
    of contents are made. `waited_ms` is how long the call had waited."""

    at_ns: int
    ticket: str
    request_id: str
    tenant: str
    by: str
    verdict: str
    waited_ms: int
    decision_digest: str
    digest_key: str


class BudgetAlert(msgspec.Struct, frozen=True, omit_defaults=True):
    """A share of a scope's budget was reached for the first time in the period from `start` to `end` (seconds since 1970).
    `spent_*` is what had been spent by then, `budget_*` the budget as it stood (None: no bound of that kind)."""

    at_ns: int
    scope: str
    share: float
    start: int
    end: int
    spent_nano: int = 0
    spent_tokens: int = 0
    budget_nano: int | None = None
    budget_tokens: int | None = None
    currency: str = "USD"


class Changed(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operator's change of tenants, teams, keys or anything else in the database: who did what to which object, when, as
    the outbox had it under `number`. `id` is the change's own: where one stands in the journals of two replicas, because
    one of them died between writing and saying so, it is the same."""

    id: str
    number: int
    at_ns: int
    actor: str
    action: str
    tenant: str = ""
    object_id: str = ""
    detail: dict[str, str | int | list[str] | None] = {}
