"""Models as applications ask for them, and where they are served."""

from typing import Annotated, Literal

from msgspec import Meta

from ostiary.core.capability import Capability
from ostiary.core.limit import (
    ATTEMPTS_MAX,
    CACHE_SECONDS_MAX,
    CACHE_TAG_CHARS_MAX,
    CACHE_TAGS_MAX,
    CONNECT_SECONDS,
    FALLBACKS_MAX,
    FIRST_BYTE_SECONDS,
    IDLE_SECONDS,
    MAX_TOKENS_MAX,
    REVIEW_SECONDS,
    REVIEW_SECONDS_MAX,
    SEMANTIC_SIMILARITY_MIN,
    TOTAL_SECONDS,
)
from ostiary.settings.limit import LimitSettings
from ostiary.settings.overload import CapacitySettings
from ostiary.settings.section import Amount, EnvironmentWord, Name, Seconds, Section


class KnownSettings(Section, frozen=True, kw_only=True):
    """What the operator knows of a model: goes before what is shipped."""

    capabilities: dict[Capability, bool] = {}
    context_window: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**31)] | None = None


class TargetSettings(KnownSettings, frozen=True, kw_only=True):
    """Where a model is served."""

    provider: str
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    when: str = ""
    capacity: CapacitySettings | None = None


class TimeoutSettings(Section, frozen=True, kw_only=True):
    """Seconds per phase."""

    connect_seconds: Seconds = CONNECT_SECONDS
    first_token_seconds: Seconds = FIRST_BYTE_SECONDS
    idle_seconds: Seconds = IDLE_SECONDS
    total_seconds: Seconds = TOTAL_SECONDS


class RetrySettings(Section, frozen=True, kw_only=True):
    """How many attempts there may be for one call, at all its targets together."""

    attempts: Annotated[int, Meta(ge=1, le=ATTEMPTS_MAX)] = 3


FallbackReason = Literal[
    "error",
    "timeout",
    "rate_limit",
    "overload",
    "unsupported",
    "context_window",
    "content_filter",
    "budget",
    "schema",
    "guard",
    "quality",
]


FallbackReasons = Annotated[tuple[FallbackReason, ...], Meta(min_length=1)]


DegradedReason = Literal[
    "error",
    "timeout",
    "rate_limit",
    "overload",
    "budget",
    "limit",
    "context_window",
    "content_filter",
    "schema",
    "guard",
    "quality",
]


class FallbackSettings(Section, frozen=True, kw_only=True):
    """Another model for calls that failed, and after which failures."""

    model: str
    on: FallbackReasons = ("error", "timeout", "rate_limit", "overload", "unsupported")


Tag = Annotated[
    str, Meta(pattern=rf"^[A-Za-z0-9._:/-]{{1,{CACHE_TAG_CHARS_MAX}}}$", description="letters, digits, . _ : / -")
]


class SemanticSettings(Section, frozen=True, kw_only=True):
    """Whether an answer may be given to another question that says the same."""

    mode: Literal["shadow", "serve"]
    floor: Annotated[float, Meta(ge=SEMANTIC_SIMILARITY_MIN, le=1)] = 0.95
    embedder: Annotated[str, Meta(min_length=1, max_length=256)] = "builtin"


class AnswerCacheSettings(Section, frozen=True, kw_only=True):
    """How answers of a model are kept and given again."""

    ttl_seconds: Annotated[int, Meta(ge=1, le=CACHE_SECONDS_MAX)]
    stale_if_error_seconds: Annotated[int, Meta(ge=0, le=CACHE_SECONDS_MAX)] = 0
    scope: Literal["tenant", "team", "key"] = "tenant"
    single_flight: bool = True
    tags: Annotated[list[Tag], Meta(max_length=CACHE_TAGS_MAX)] = []
    semantic: SemanticSettings | None = None


class ShadowSettings(Section, frozen=True, kw_only=True):
    """Another model that gets to see a share of the calls, and what it says is shown to nobody."""

    model: str
    share: Annotated[float, Meta(gt=0, le=1)]


class DegradedWebhookSettings(Section, frozen=True, kw_only=True):
    """A path below a provider's base URL that is asked what to say."""

    provider: str
    path: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~-]+)*$", max_length=512)] = ""
    timeout_seconds: Annotated[float, Meta(gt=0, le=60)] = 5.0


class HandoverSettings(Section, frozen=True, kw_only=True):
    """How a call is left to a person: for how long, and who is told when it is decided."""

    ttl_seconds: Annotated[int, Meta(ge=60, le=REVIEW_SECONDS_MAX)] = REVIEW_SECONDS
    callback: str = ""


class DegradedAnswerSettings(Section, frozen=True, kw_only=True):
    """What to say instead of a failure, a text, what a webhook says or that a person will: to some callers, to some questions, or always."""

    text: Annotated[str, Meta(min_length=1, max_length=16_384)] | None = None
    webhook: DegradedWebhookSettings | None = None
    handover: HandoverSettings | None = None
    when: str = ""
    questions: Annotated[list[Annotated[str, Meta(min_length=1, max_length=1_024)]], Meta(max_length=100)] = []


class DegradedSettings(Section, frozen=True, kw_only=True):
    """What a model says instead of a failure, and of which ones."""

    answers: Annotated[list[DegradedAnswerSettings], Meta(min_length=1, max_length=200)]
    on: Annotated[tuple[DegradedReason, ...], Meta(min_length=1)] = ("error", "timeout", "rate_limit", "overload")


PoorWord = Literal["empty", "refusal", "length", "content_filter"]


class QualitySettings(Section, frozen=True, kw_only=True):
    """Which answers are poor."""

    signs: Annotated[tuple[PoorWord, ...], Meta(min_length=1)] = ("empty",)
    min_characters: Annotated[int, Meta(ge=0, le=100_000)] = 0
    poor_when: str = ""


class HedgeSettings(Section, frozen=True, kw_only=True):
    """When a slow call is put to a second target as well."""

    after_seconds: Seconds | None = None
    share: Annotated[float, Meta(gt=0, le=1)] = 0.05
    cost: Amount | None = None


class ModelSettings(KnownSettings, frozen=True, kw_only=True):
    """A model as applications ask for it. What is known of it holds for every target that says nothing else."""

    targets: Annotated[list[TargetSettings], Meta(min_length=1, max_length=64)]
    strategy: Literal["cheapest", "least-busy", "least-latency", "priority", "split", "sticky", "weighted"] = "weighted"
    subject: Literal["key", "end_user", "session"] = "key"
    fallbacks: Annotated[list[str | FallbackSettings], Meta(max_length=FALLBACKS_MAX)] = []
    default_max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS_MAX)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS_MAX)] | None = None
    timeouts: TimeoutSettings = TimeoutSettings()
    retries: RetrySettings = RetrySettings()
    limits: LimitSettings | None = None
    cache: AnswerCacheSettings | None = None
    drop_unsupported: bool = False
    environments: list[EnvironmentWord] = []
    regions: list[Name] = []
    shadow: ShadowSettings | None = None
    degraded: DegradedSettings | None = None
    quality: QualitySettings | None = None
    hedge: HedgeSettings | None = None
    prompt_cache: Literal["5m", "1h"] | None = None
