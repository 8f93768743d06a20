"""The configuration file as typed values. Loaded once, read only by `bootstrap` and `cli`.

Every mistake is told with file, line, reason and, for a name nobody knows, the nearest one that exists. Unknown keys
are refused; keys of features this version does not have yet are refused by name rather than ignored. References
(`${env:NAME}`, `${file:path}`) are resolved here, in the operator's own file, and nowhere else; a provider's secret
stays a reference until a data worker needs it.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import yaml
from msgspec import Meta

from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import (
    CONNECT_SECONDS,
    DRAIN_SECONDS_MAX,
    FIRST_BYTE_SECONDS,
    IDLE_SECONDS,
    MAX_TOKENS_MAX,
    SUPPLIED_KEY_CHARS_MIN,
    TOOL_DEPTH_MAX,
    TOTAL_SECONDS,
)

FILE_NAME: Final = "ostiary.yaml"
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
NODES_MAX: Final = 200_000

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="letters, digits, . _ -")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Url = Annotated[str, Meta(pattern=r"^https?://", max_length=2_048)]
EnvironmentWord = Literal["sandbox", "staging", "production"]
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
    """Where rows are kept."""

    url: Annotated[str, Meta(pattern=r"^sqlite(:///.+)?$")] = "sqlite"


class CountersSettings(_Section, frozen=True, kw_only=True):
    """Where counters are kept."""

    url: Literal["memory://"] = "memory://"


class JournalSettings(_Section, frozen=True, kw_only=True):
    """How calls are recorded."""

    durability: Literal["process", "disk"] = "process"
    on_failure: Literal["refuse", "continue"] = "refuse"


class AuthSettings(_Section, frozen=True, kw_only=True):
    """How the gateway authenticates to a provider."""

    scheme: Literal["bearer", "x-api-key", "none"] = "bearer"
    secret: str | None = None


class UpstreamTlsSettings(_Section, frozen=True, kw_only=True):
    """TLS towards a provider."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    minimum_version: Literal["1.2", "1.3"] = "1.3"


class ProviderSettings(_Section, frozen=True, kw_only=True):
    """One upstream. What is left out comes from the catalogue's row of the same name, or of `catalogue`."""

    catalogue: str = ""
    dialect: Literal["openai", "anthropic"] | None = None
    base_url: Url | None = None
    auth: AuthSettings | None = None
    residency: Literal["hosted", "private"] | None = None
    tls: UpstreamTlsSettings = UpstreamTlsSettings()
    proxy: Annotated[str, Meta(pattern=r"^http://")] | None = None
    headers: dict[str, str] = {}
    prices: str = ""
    stream_usage: bool = True
    count_tokens: bool | None = None
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] | None = None


class TargetSettings(_Section, frozen=True, kw_only=True):
    """Where a model is served."""

    provider: str
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 1


class TimeoutSettings(_Section, frozen=True, kw_only=True):
    """Seconds per phase."""

    connect_seconds: Seconds = CONNECT_SECONDS
    first_token_seconds: Seconds = FIRST_BYTE_SECONDS
    idle_seconds: Seconds = IDLE_SECONDS
    total_seconds: Seconds = TOTAL_SECONDS


class ModelSettings(_Section, frozen=True, kw_only=True):
    """A model as applications ask for it."""

    targets: Annotated[list[TargetSettings], Meta(min_length=1, max_length=64)]
    strategy: Literal["weighted"] = "weighted"
    fallbacks: Annotated[list[str], Meta(max_length=1)] = []
    default_max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS_MAX)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS_MAX)] | None = None
    timeouts: TimeoutSettings = TimeoutSettings()
    drop_unsupported: bool = False
    environments: list[EnvironmentWord] = []


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
    deployment: DeploymentSettings = DeploymentSettings()


class TeamSettings(_Section, frozen=True, kw_only=True):
    """A team: its environment, the models it may use, its keys."""

    name: Name
    environment: EnvironmentWord = "production"
    models: list[str] = []
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS_MAX)] | None = None
    tool_depth: Annotated[int, Meta(ge=0, le=TOOL_DEPTH_MAX)] | None = None
    keys: list[KeySettings] = []


class TenantSettings(_Section, frozen=True, kw_only=True):
    """A tenant and its teams."""

    name: Name
    teams: list[TeamSettings] = []


class RateSettings(_Section, frozen=True, kw_only=True):
    """Decimal currency units per million tokens of each kind."""

    input: Price
    output: Price
    cached: Price | None = None
    cache_write: Price | None = None
    cache_write_1h: Price | None = None
    reasoning: Price | None = None
    input_audio: Price | None = None
    output_audio: Price | None = None


class PriceSettings(RateSettings, frozen=True, kw_only=True):
    """The price of one provider's model from a day on (YYYY-MM-DD)."""

    provider: str
    model: str
    valid_from: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] = "1970-01-01"


class PricingSettings(_Section, frozen=True, kw_only=True):
    """Prices besides the shipped catalogue, and what holds where none is known."""

    unknown: Literal["ceiling", "refuse"] = "ceiling"
    ceiling: RateSettings = RateSettings(input="30", output="120")
    prices: list[PriceSettings] = []


class LogSettings(_Section, frozen=True, kw_only=True):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(_Section, frozen=True, kw_only=True):
    """The whole file. Paths in it are relative to it."""

    data_dir: str = "./.ostiary"
    server: ServerSettings = ServerSettings()
    admin: AdminSettings = AdminSettings()
    storage: StorageSettings = StorageSettings()
    counters: CountersSettings = CountersSettings()
    journal: JournalSettings = JournalSettings()
    pricing: PricingSettings = PricingSettings()
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
        return _error(self.file, self.lines, path, reason)


DEFAULT_TENANT: Final = "default"
DEFAULT_TEAM: Final = "default"
_DEFAULT_TENANT: Final = TenantSettings(name=DEFAULT_TENANT, teams=[TeamSettings(name=DEFAULT_TEAM, models=["*"])])
"""Who there is without a file: one team that may use whatever was found."""

_LATER: Final = {
    "limits": "rate limits",
    "budget": "budgets",
    "retries": "retries of the same target",
}
_REFERENCE: Final = re.compile(r"\$\{(env|file):([^}]+)\}")
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
    tree, lines = _compose(file, data)
    settings = _convert(file, lines, tree)
    return Loaded(settings, file, lines, file.resolve().parent)


def find_file(given: Path | None) -> Path | None:
    """The file to load: the one given, or `ostiary.yaml` here if it is there."""
    if given is not None:
        return given
    return Path(FILE_NAME) if Path(FILE_NAME).is_file() else None


def resolve(text: str, base: Path) -> str:
    """`text` with its references replaced. Raises ValueError naming the variable or file that is not there."""

    def value(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "env":
            found = os.environ.get(name)
            if not found:
                raise ValueError(f"the environment variable {name} is not set")
            return found
        try:
            return (base / name).read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the file {name} cannot be read: {error}") from error

    return _REFERENCE.sub(value, text)


def reference(text: str) -> tuple[str, str] | None:
    """(kind, name) where `text` is exactly one reference, else None."""
    match = _REFERENCE.fullmatch(text)
    return None if match is None else (match.group(1), match.group(2))


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


class _Composer:
    """Turns YAML nodes into plain values and remembers lines; refuses duplicate keys, aliases and odd tags."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: dict[tuple[str | int, ...], int] = {}
        self.nodes = 0
        self.seen: set[int] = set()

    def value(self, node: yaml.Node, path: tuple[str | int, ...]) -> object:
        self.nodes += 1
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if self.nodes > NODES_MAX:
            raise _error(self.file, self.lines, path, f"more than {NODES_MAX} values")
        if id(node) in self.seen:
            raise _error(self.file, self.lines, path, "YAML aliases are not used here; write the value out")
        self.seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            found: dict[str, object] = {}
            for key_node, value_node in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    raise _error(self.file, {path: key_node.start_mark.line + 1}, path, "a key must be a plain name")
                key = key_node.value
                here = (*path, key)
                if key in found:
                    raise _error(self.file, {here: key_node.start_mark.line + 1}, here, f"`{key}` is there twice")
                self.lines[here] = key_node.start_mark.line + 1
                found[key] = self.value(value_node, here)
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str | int, ...]) -> object:
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        if tag in ("str", "null", "bool", "int", "float"):
            value: object = yaml.SafeLoader("").construct_object(node)
            return value
        if tag == "timestamp":  # a date such as valid_from: its own text
            return node.value
        raise _error(self.file, self.lines, path, f"the YAML tag {node.tag} is not used here")


def _compose(file: Path, data: bytes) -> tuple[object, dict[tuple[str | int, ...], int]]:
    try:
        node = yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file}: not UTF-8 at byte {error.start}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"{mark.line + 1}:"
        raise OperatorError(Code.CONFIG_INVALID, f"{file}:{where} not valid YAML: {error.problem or error}") from error
    except yaml.YAMLError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file}: nested too deep") from error
    composer = _Composer(file)
    return ({} if node is None else composer.value(node, ())), composer.lines


def _convert(file: Path, lines: Mapping[tuple[str | int, ...], int], tree: object) -> Settings:
    """Convert section by section, so that an error's path names the key of a mapping too."""
    if not isinstance(tree, dict):
        raise _error(file, lines, (), "the file must be a mapping of sections")
    named: dict[str, dict[str, Any]] = {"providers": {}, "models": {}}
    kinds: dict[str, type[Any]] = {"providers": ProviderSettings, "models": ModelSettings}
    for section, kind in kinds.items():
        entries = tree.get(section)
        if entries is None:
            continue
        if not isinstance(entries, dict):
            raise _error(file, lines, (section,), f"`{section}` must map names to entries")
        for name, entry in entries.items():
            named[section][name] = _section(file, lines, entry, kind, (section, name))
    rest = {key: value for key, value in tree.items() if key not in kinds and value is not None}
    for key in rest:
        if key not in Settings.__struct_fields__:
            raise _error(file, lines, (key,), _unknown_name(key, Settings.__struct_fields__))
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
            raise _error(file, lines, (*where, name), _unknown_name(name, _fields(kind, at))) from error
        raise _error(file, lines, where, _plain(reason) + _nearest_word(reason, kind, at)) from error


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
    if name in _LATER:
        return f"`{name}`: {_LATER[name]} are not enforced by this version, so the entry is refused rather than ignored"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean `{near[0]}`?" if near else f"; known here: {', '.join(sorted(known))}"
    return f"unknown key `{name}`{hint}"


def _plain(reason: str) -> str:
    return reason[0].lower() + reason[1:] if reason else reason


def _error(
    file: Path | None, lines: Mapping[tuple[str | int, ...], int], path: tuple[str | int, ...], reason: str
) -> OperatorError:
    line = None
    for length in range(len(path), -1, -1):
        line = lines.get(path[:length])
        if line is not None:
            break
    dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    where = f"{file}:{line}: " if file is not None and line is not None else (f"{file}: " if file is not None else "")
    return OperatorError(Code.CONFIG_INVALID, f"{where}{dotted + ': ' if dotted else ''}{reason}")
