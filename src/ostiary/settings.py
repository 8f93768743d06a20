"""The configuration file as typed values. Loaded once, read only by `bootstrap` and `cli`.

Every mistake is told with file, line, reason and the nearest known name; unknown keys are refused. References
(`${env:NAME}`, `${file:path}`) are resolved by `bootstrap`; a provider's secret stays one until a data worker needs it.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from ostiary.control.located import compose, misplaced
from ostiary.core.capability import Capability
from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import (
    ATTEMPTS_MAX,
    CACHE_MEMORY_BYTES,
    CACHE_SECONDS_MAX,
    CONCURRENT_REQUESTS_MAX,
    CONNECT_SECONDS,
    DRAIN_SECONDS_MAX,
    FALLBACKS_MAX,
    FIRST_BYTE_SECONDS,
    IDLE_SECONDS,
    JOURNAL_DRAIN_SECONDS,
    MAX_TOKENS_MAX,
    RATE_PER_MINUTE_MAX,
    SUPPLIED_KEY_CHARS_MIN,
    TOOL_DEPTH_MAX,
    TOTAL_SECONDS,
)

FILE_NAME: Final = "ostiary.yaml"
FILE_BYTES_MAX: Final = 4 * 1024 * 1024

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="letters, digits, . _ -")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Url = Annotated[str, Meta(pattern=r"^https?://", max_length=2_048)]
Placed = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127}|\$\{.+\})?$")]
"""What fills a placeholder of a URL: one part of a host or path, or a reference to it."""
OmittedField = Annotated[str, Meta(pattern=r"^[a-z_]{1,64}$")]
EnvironmentWord = Literal["sandbox", "staging", "production"]
Amount = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", description="decimal units of the currency")]
Price = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", description="decimal units per million tokens")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the file."""


class TlsSettings(_Section, frozen=True, kw_only=True):
    """The server's certificate: PEM files, reloaded when they change."""

    certificate_file: str
    key_file: str
    minimum_version: Literal["1.2", "1.3"] = "1.3"
    client_ca_file: str = ""


class ServerSettings(_Section, frozen=True, kw_only=True):
    """A listener. `insecure` must be true to listen beyond loopback without TLS."""

    host: str = "127.0.0.1"
    port: Port = 8080
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    tls: TlsSettings | None = None
    insecure: bool = False
    drain_seconds: Seconds = DRAIN_SECONDS_MAX
    drain_notice_seconds: Annotated[float, Meta(ge=0, le=300)] = 2.0
    show_target: bool = True


class AdminSettings(_Section, frozen=True, kw_only=True):
    """The administrative listener: metrics and health."""

    host: str = "127.0.0.1"
    port: Port = 8081
    insecure: bool = False


class StorageSettings(_Section, frozen=True, kw_only=True):
    """Where rows are kept, and for how long those of single calls."""

    url: Annotated[str, Meta(pattern=r"^(sqlite(:///.+)?|postgres(ql)?://.+|\$\{(env|file):[^}]+\})$")] = "sqlite"
    call_days: Annotated[int, Meta(ge=1, le=36_500)] | None = None


class CountersSettings(_Section, frozen=True, kw_only=True):
    """Where counters are kept, and what their names there begin with."""

    url: Annotated[str, Meta(min_length=1, max_length=2_048)] = "memory://"
    prefix: Name = "ostiary"


class JournalSettings(_Section, frozen=True, kw_only=True):
    """How calls are recorded."""

    durability: Literal["process", "disk"] = "process"
    on_failure: Literal["refuse", "continue"] = "refuse"
    drain_seconds: Annotated[float, Meta(ge=0, le=3_600)] = JOURNAL_DRAIN_SECONDS


class AuthSettings(_Section, frozen=True, kw_only=True):
    """How the gateway authenticates to a provider: the scheme, its secret, and what else the scheme needs."""

    scheme: Literal[
        "bearer",
        "x-api-key",
        "header",
        "none",
        "aws-sigv4",
        "aws-profile",
        "aws-web-identity",
        "aws-container",
        "aws-instance",
        "google-service-account",
        "google-workload-identity",
        "google-metadata",
        "azure-entra",
        "azure-workload-identity",
        "azure-managed-identity",
    ] = "bearer"
    secret: str | None = None
    header: Annotated[str, Meta(pattern=r"^([A-Za-z0-9-]{1,64})?$")] = ""
    region: Annotated[str, Meta(pattern=r"^([a-z0-9-]{1,32})?$")] = ""
    service: Annotated[str, Meta(pattern=r"^([a-z0-9-]{1,64})?$")] = ""
    key_id: str = ""
    session_token: str | None = None
    profile: str = ""
    file: str = ""
    role_arn: Annotated[str, Meta(pattern=r"^(arn:[\x21-\x7e]{1,2000})?$")] = ""
    token_file: str = ""
    endpoint: str = ""
    scopes: list[str] = []
    tenant: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.-]{0,128}$")] = ""
    client_id: str = ""


class UpstreamTlsSettings(_Section, frozen=True, kw_only=True):
    """TLS towards a provider."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    minimum_version: Literal["1.2", "1.3"] = "1.3"


class ProfileSettings(_Section, frozen=True, kw_only=True):
    """How an OpenAI-compatible server differs from OpenAI; what is left out comes from the catalogue."""

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] | None = None
    stream_usage: bool | None = None
    developer_role: bool | None = None
    tool_choice_required: Literal["required", "any"] | None = None
    seed_field: Literal["seed", "random_seed"] | None = None
    omit: list[OmittedField] | None = None
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = None
    json_schema: bool | None = None


class ProviderSettings(_Section, frozen=True, kw_only=True):
    """One upstream. What is left out comes from the catalogue's row of the same name, or of `catalogue`."""

    catalogue: str = ""
    dialect: Literal["openai", "anthropic", "openai-responses", "gemini", "bedrock", "cohere"] | None = None
    also: list[Literal["openai", "anthropic", "openai-responses", "openai-completions"]] = []
    base_url: Url | None = None
    auth: AuthSettings | None = None
    residency: Literal["hosted", "private"] | None = None
    tls: UpstreamTlsSettings = UpstreamTlsSettings()
    proxy: Annotated[str, Meta(pattern=r"^http://")] | None = None
    headers: dict[str, str] = {}
    prices: str = ""
    count_tokens: bool | None = None
    operations: list[Literal["chat", "embeddings"]] = []
    profile: ProfileSettings = ProfileSettings()
    query: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~{}&=%+-]*$", max_length=1_024)] = ""
    region: Placed = ""
    resource: Placed = ""
    project: Placed = ""
    account: Placed = ""
    api_version: Placed = ""


class KnownSettings(_Section, frozen=True, kw_only=True):
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


class TimeoutSettings(_Section, frozen=True, kw_only=True):
    """Seconds per phase."""

    connect_seconds: Seconds = CONNECT_SECONDS
    first_token_seconds: Seconds = FIRST_BYTE_SECONDS
    idle_seconds: Seconds = IDLE_SECONDS
    total_seconds: Seconds = TOTAL_SECONDS


class RetrySettings(_Section, frozen=True, kw_only=True):
    """How many attempts there may be for one call, at all its targets together."""

    attempts: Annotated[int, Meta(ge=1, le=ATTEMPTS_MAX)] = 3


class LimitSettings(_Section, frozen=True, kw_only=True):
    """What one scope may take, and how many may come at once."""

    requests_per_minute: Annotated[int, Meta(ge=1, le=RATE_PER_MINUTE_MAX)] | None = None
    request_burst: Annotated[int, Meta(ge=1, le=RATE_PER_MINUTE_MAX)] | None = None
    tokens_per_minute: Annotated[int, Meta(ge=1, le=RATE_PER_MINUTE_MAX)] | None = None
    token_burst: Annotated[int, Meta(ge=1, le=RATE_PER_MINUTE_MAX)] | None = None
    concurrent_requests: Annotated[int, Meta(ge=1, le=CONCURRENT_REQUESTS_MAX)] | None = None


class BudgetSettings(_Section, frozen=True, kw_only=True):
    """What one scope may spend in a period."""

    amount: Amount | None = None
    tokens: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    currency: Literal["USD"] = "USD"
    period: Literal["hour", "day", "week", "month", "year", "total"] = "month"
    time_zone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    alerts: Annotated[list[Annotated[float, Meta(gt=0, le=10)]], Meta(max_length=10)] = []
    hard: bool = True


class EachUserSettings(_Section, frozen=True, kw_only=True):
    """What each end user of a team may take and spend, as the team's calls name them."""

    limits: LimitSettings | None = None
    budget: BudgetSettings | None = None


FallbackReason = Literal[
    "error", "timeout", "rate_limit", "overload", "unsupported", "context_window", "content_filter"
]
FallbackReasons = Annotated[tuple[FallbackReason, ...], Meta(min_length=1)]


class FallbackSettings(_Section, frozen=True, kw_only=True):
    """Another model for calls that failed, and after which failures."""

    model: str
    on: FallbackReasons = ("error", "timeout", "rate_limit", "overload", "unsupported")


class AnswerCacheSettings(_Section, frozen=True, kw_only=True):
    """How answers of a model are kept and given again."""

    ttl_seconds: Annotated[int, Meta(ge=1, le=CACHE_SECONDS_MAX)]
    stale_if_error_seconds: Annotated[int, Meta(ge=0, le=CACHE_SECONDS_MAX)] = 0
    scope: Literal["tenant", "team", "key"] = "tenant"
    single_flight: bool = True


class ShadowSettings(_Section, frozen=True, kw_only=True):
    """Another model that gets to see a share of the calls, and what it says is shown to nobody."""

    model: str
    share: Annotated[float, Meta(gt=0, le=1)]


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


class DeploymentSettings(_Section, frozen=True, kw_only=True):
    """The deployment a key belongs to."""

    service: str = ""
    version: str = ""
    commit: str = ""


class KeySettings(_Section, frozen=True, kw_only=True):
    """A key the operator supplies: any form of at least 24 characters."""

    name: Name
    secret: str
    models: list[str] | None = None
    limits: LimitSettings | None = None
    budget: BudgetSettings | None = None
    deployment: DeploymentSettings = DeploymentSettings()


class TeamSettings(_Section, frozen=True, kw_only=True):
    """A team: its environment, the models it may use, its keys."""

    name: Name
    environment: EnvironmentWord = "production"
    models: list[str] = []
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS_MAX)] | None = None
    tool_depth: Annotated[int, Meta(ge=0, le=TOOL_DEPTH_MAX)] | None = None
    passthrough: list[str] = []
    regions: list[Name] = []
    residency: Literal["private"] | None = None
    limits: LimitSettings | None = None
    budget: BudgetSettings | None = None
    each_user: EachUserSettings | None = None
    keys: list[KeySettings] = []


class TenantSettings(_Section, frozen=True, kw_only=True):
    """A tenant and its teams."""

    name: Name
    limits: LimitSettings | None = None
    budget: BudgetSettings | None = None
    teams: list[TeamSettings] = []


class RateSettings(_Section, frozen=True, kw_only=True):
    """Decimal currency units: per million tokens or characters, per image, request, minute of sound, search unit."""

    input: Price
    output: Price
    cached: Price | None = None
    cache_write: Price | None = None
    cache_write_1h: Price | None = None
    reasoning: Price | None = None
    input_audio: Price | None = None
    output_audio: Price | None = None
    input_image: Price | None = None
    image: Price | None = None
    request: Price | None = None
    audio_minute: Price | None = None
    character: Price | None = None
    search_unit: Price | None = None
    output_image: Price | None = None


class TierSettings(RateSettings, frozen=True, kw_only=True):
    """Prices of a call whose input has more tokens than `above`."""

    above: Annotated[int, Meta(ge=1, le=2**31)]


class PriceSettings(RateSettings, frozen=True, kw_only=True):
    """The price of one provider's model from a day on (YYYY-MM-DD)."""

    tiers: list[TierSettings] = []

    provider: str
    model: str
    valid_from: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] = "1970-01-01"


class PricingSettings(_Section, frozen=True, kw_only=True):
    """Prices besides the shipped catalogue, and what holds where none is known."""

    unknown: Literal["ceiling", "refuse"] = "ceiling"
    ceiling: RateSettings = RateSettings(
        input="30", output="120", image="0.30", audio_minute="0.10", character="300", search_unit="0.01"
    )
    prices: list[PriceSettings] = []


class LogSettings(_Section, frozen=True, kw_only=True):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class CacheSettings(_Section, frozen=True, kw_only=True):
    """How much of kept answers a worker holds in memory."""

    memory_bytes: Annotated[int, Meta(ge=0, le=64 * 1024**3)] = CACHE_MEMORY_BYTES


class Settings(_Section, frozen=True, kw_only=True):
    """The whole file. Paths in it are relative to it."""

    data_dir: str = "./.ostiary"
    server: ServerSettings = ServerSettings()
    admin: AdminSettings = AdminSettings()
    storage: StorageSettings = StorageSettings()
    counters: CountersSettings = CountersSettings()
    journal: JournalSettings = JournalSettings()
    pricing: PricingSettings = PricingSettings()
    cache: CacheSettings = CacheSettings()
    log: LogSettings = LogSettings()
    providers: dict[str, ProviderSettings] = {}
    models: dict[str, ModelSettings] = {}
    tenants: list[TenantSettings] = []


class Loaded(msgspec.Struct, frozen=True):
    """Settings with where they came from: the file (None: no file) and the line of each path in it."""

    settings: Settings
    file: Path | None
    lines: Mapping[tuple[str | int, ...], int]
    base: Path

    @property
    def data_dir(self) -> Path:
        """The data folder as an absolute path."""
        return (self.base / self.settings.data_dir).resolve()

    def error(self, path: tuple[str | int, ...], reason: str) -> OperatorError:
        """An error about the value at `path`, told with file and line."""
        return misplaced(self.file, self.lines, path, reason)


DEFAULT_TENANT: Final = "default"
DEFAULT_TEAM: Final = "default"
_DEFAULT_TENANT: Final = TenantSettings(name=DEFAULT_TENANT, teams=[TeamSettings(name=DEFAULT_TEAM, models=["*"])])
"""Who there is without a file: one team that may use whatever was found."""

_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`(?: - at `(.*)`)?$")
_AT: Final = re.compile(r"^(.*) - at `(key in )?\$(.*)`$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
S = TypeVar("S")


def load(file: Path | None) -> Loaded:
    """The settings in `file`, or those of an installation without one.

    Raises OperatorError config.invalid with file, line, reason and the nearest known name.
    """
    if file is None:
        return Loaded(Settings(tenants=[_DEFAULT_TENANT]), None, {}, Path.cwd())
    try:
        data = file.read_bytes()
    except OSError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file}: cannot be read: {error.strerror or error}") from error
    if len(data) > FILE_BYTES_MAX:
        raise OperatorError(Code.CONFIG_INVALID, f"{file}: larger than {FILE_BYTES_MAX} bytes")
    tree, lines = compose(file, data)
    settings = _convert(file, lines, tree)
    return Loaded(settings, file, lines, file.resolve().parent)


def find_file(given: Path | None) -> Path | None:
    """The file to load: the one given, or `ostiary.yaml` here if it is there."""
    if given is not None:
        return given
    return Path(FILE_NAME) if Path(FILE_NAME).is_file() else None


def schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    return msgspec.json.schema(Settings)


def check_supplied_key(secret: str) -> str | None:
    """Why a supplied key's secret cannot be used, or None."""
    if len(secret) < SUPPLIED_KEY_CHARS_MIN:
        return f"a key has at least {SUPPLIED_KEY_CHARS_MIN} characters, this one {len(secret)}"
    if not secret.isascii() or any(char.isspace() or not char.isprintable() for char in secret):
        return "a key consists of printable ASCII characters without spaces"
    return None


# --- from YAML to values, with lines ----------------------------------------------------------------------


def _convert(file: Path, lines: Mapping[tuple[str | int, ...], int], tree: object) -> Settings:
    """Convert section by section, so that an error's path names the key of a mapping too."""
    if not isinstance(tree, dict):
        raise misplaced(file, lines, (), "the file must be a mapping of sections")
    named: dict[str, dict[str, Any]] = {"providers": {}, "models": {}}
    kinds: dict[str, type[Any]] = {"providers": ProviderSettings, "models": ModelSettings}
    for section, kind in kinds.items():
        entries = tree.get(section)
        if entries is None:
            continue
        if not isinstance(entries, dict):
            raise misplaced(file, lines, (section,), f"`{section}` must map names to entries")
        for name, entry in entries.items():
            named[section][name] = _section(file, lines, entry, kind, (section, name))
    rest = {key: value for key, value in tree.items() if key not in kinds and value is not None}
    for key in rest:
        if key not in Settings.__struct_fields__:
            raise misplaced(file, lines, (key,), _unknown_name(key, Settings.__struct_fields__))
    settings = _section(file, lines, rest, Settings, ())
    return msgspec.structs.replace(settings, **named)


def _section(
    file: Path, lines: Mapping[tuple[str | int, ...], int], value: object, kind: type[S], path: tuple[str | int, ...]
) -> S:
    try:
        return msgspec.convert(value, kind, str_keys=True)
    except msgspec.ValidationError as error:
        text = str(error)
        match = _AT.match(text)
        reason, at = (text, "") if match is None else (match.group(1), match.group(3))
        where = (*path, *_steps(at))
        unknown = _UNKNOWN.match(reason)
        if unknown is not None:
            name = unknown.group(1)
            raise misplaced(file, lines, (*where, name), _unknown_name(name, _fields(kind, at))) from error
        raise misplaced(file, lines, where, _plain(reason) + _nearest_word(reason, kind, at)) from error


def _steps(at: str) -> Iterator[str | int]:
    for name, index in _STEP.findall(at):
        if name:
            yield name
        elif index != "...":
            yield int(index)


def _fields(kind: type[Any], at: str) -> tuple[str, ...]:
    """The known names of the mapping at a path of msgspec's within `kind`."""
    current: msgspec.inspect.Type = msgspec.inspect.type_info(kind)
    for step in _STEP.findall(at):
        current = _inner(current, step[0])
    current = _optional(current)
    return tuple(field.name for field in current.fields) if isinstance(current, msgspec.inspect.StructType) else ()


def _nearest_word(reason: str, kind: type[Any], at: str) -> str:
    """For a value outside a closed vocabulary: the nearest word of it, or all of them."""
    match = re.match(r"Invalid enum value '(.*)'$", reason)
    if match is None:
        return ""
    current: msgspec.inspect.Type = msgspec.inspect.type_info(kind)
    for step in _STEP.findall(at):
        current = _inner(current, step[0])
    kinds = current.types if isinstance(current, msgspec.inspect.UnionType) else (current,)
    words = [str(word) for one in kinds if isinstance(one, msgspec.inspect.LiteralType) for word in one.values]
    near = difflib.get_close_matches(match.group(1), words, n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else f"; known here: {', '.join(words)}"


def _optional(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _optional(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return next((one for one in kind.types if isinstance(one, msgspec.inspect.StructType)), kind)
    return kind


def _inner(kind: msgspec.inspect.Type, name: str) -> msgspec.inspect.Type:
    kind = _optional(kind)
    if isinstance(kind, msgspec.inspect.StructType) and name:
        return next((field.type for field in kind.fields if field.name == name), kind)
    if isinstance(kind, msgspec.inspect.ListType):
        return kind.item_type
    if isinstance(kind, msgspec.inspect.DictType):
        return kind.value_type
    return kind


def _unknown_name(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean `{near[0]}`?" if near else f"; known here: {', '.join(sorted(known))}"
    return f"unknown key `{name}`{hint}"


def _plain(reason: str) -> str:
    return reason[0].lower() + reason[1:] if reason else reason
