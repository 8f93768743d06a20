"""What holds for the whole installation: listeners, storage, counters, journal, log, memory."""

from typing import Annotated, Literal

from msgspec import Meta

from ostiary.core.limit import CACHE_MEMORY_BYTES, DRAIN_SECONDS_MAX, JOURNAL_DRAIN_SECONDS
from ostiary.settings.section import Name, Port, Seconds, Section


class TlsSettings(Section, frozen=True, kw_only=True):
    """The server's certificate: PEM files, reloaded when they change."""

    certificate_file: str
    key_file: str
    minimum_version: Literal["1.2", "1.3"] = "1.3"
    client_ca_file: str = ""


class ServerSettings(Section, frozen=True, kw_only=True):
    """A listener. `insecure` must be true to listen beyond loopback without TLS."""

    host: str = "127.0.0.1"
    port: Port = 8080
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    tls: TlsSettings | None = None
    insecure: bool = False
    drain_seconds: Seconds = DRAIN_SECONDS_MAX
    drain_notice_seconds: Annotated[float, Meta(ge=0, le=300)] = 2.0
    show_target: bool = True


class AdminSettings(Section, frozen=True, kw_only=True):
    """The administrative listener: metrics and health."""

    host: str = "127.0.0.1"
    port: Port = 8081
    insecure: bool = False


class StorageSettings(Section, frozen=True, kw_only=True):
    """Where rows are kept, and for how long those of single calls."""

    url: Annotated[str, Meta(pattern=r"^(sqlite(:///.+)?|postgres(ql)?://.+|\$\{(env|file):[^}]+\})$")] = "sqlite"
    call_days: Annotated[int, Meta(ge=1, le=36_500)] | None = None


class CountersSettings(Section, frozen=True, kw_only=True):
    """Where counters are kept, and what their names there begin with."""

    url: Annotated[str, Meta(min_length=1, max_length=2_048)] = "memory://"
    prefix: Name = "ostiary"


class JournalSettings(Section, frozen=True, kw_only=True):
    """How calls are recorded."""

    durability: Literal["process", "disk"] = "process"
    on_failure: Literal["refuse", "continue"] = "refuse"
    drain_seconds: Annotated[float, Meta(ge=0, le=3_600)] = JOURNAL_DRAIN_SECONDS


class LogSettings(Section, frozen=True, kw_only=True):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class CacheSettings(Section, frozen=True, kw_only=True):
    """How much of kept answers a worker holds in memory, and where workers share them."""

    memory_bytes: Annotated[int, Meta(ge=0, le=64 * 1024**3)] = CACHE_MEMORY_BYTES
    url: Annotated[str, Meta(min_length=1, max_length=2_048)] = "memory://"
    prefix: Name = "ostiary"
