"""The configuration file: read, checked and told where it is wrong."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from ostiary.control.located import compose, misplaced
from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import SUPPLIED_KEY_CHARS_MIN
from ostiary.settings.alert import AlertSettings, ReviewSettings
from ostiary.settings.installation import (
    AdminSettings,
    CacheSettings,
    CountersSettings,
    JournalSettings,
    LogSettings,
    ServerSettings,
    StorageSettings,
)
from ostiary.settings.model import ModelSettings
from ostiary.settings.overload import OverloadSettings
from ostiary.settings.price import PricingSettings
from ostiary.settings.provider import ProviderSettings
from ostiary.settings.section import Section
from ostiary.settings.tenant import TeamSettings, TenantSettings, TierOfTeamsSettings

FILE_NAME: Final = "ostiary.yaml"


FILE_BYTES_MAX: Final = 4 * 1024 * 1024


class Settings(Section, frozen=True, kw_only=True):
    """The whole file. Paths in it are relative to it."""

    data_dir: str = "./.ostiary"
    server: ServerSettings = ServerSettings()
    admin: AdminSettings = AdminSettings()
    storage: StorageSettings = StorageSettings()
    counters: CountersSettings = CountersSettings()
    journal: JournalSettings = JournalSettings()
    pricing: PricingSettings = PricingSettings()
    cache: CacheSettings = CacheSettings()
    alerts: AlertSettings = AlertSettings()
    reviews: ReviewSettings = ReviewSettings()
    overload: OverloadSettings = OverloadSettings()
    log: LogSettings = LogSettings()
    providers: dict[str, ProviderSettings] = {}
    models: dict[str, ModelSettings] = {}
    tiers: list[TierOfTeamsSettings] = []
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
