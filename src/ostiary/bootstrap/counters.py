"""Where counters are kept: the operator's URL, checked and handed to workers."""

import importlib
import secrets
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ostiary.bootstrap.job import CountersJob
from ostiary.control.publisher import write_atomically
from ostiary.control.reference import resolve
from ostiary.core.error import Code, OperatorError
from ostiary.settings import Loaded

MEMORY: Final = "memory://"
IDENTITY_FILE: Final = "counters.id"
_URL_FILE: Final = "counters-url"
_SCHEMES: Final = ("redis", "rediss", "unix")
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_PATH: Final = ("counters", "url")


def shared_url(loaded: Loaded) -> str:
    """The URL of the shared counters, empty where they are in memory. Raises OperatorError config.invalid, which never
    shows the URL: it may hold a password."""
    try:
        url = resolve(loaded.settings.counters.url, loaded.base)
    except ValueError as error:
        raise loaded.error(_PATH, str(error)) from error
    if url == MEMORY:
        return ""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise loaded.error(_PATH, "not a URL") from error
    if parts.scheme not in _SCHEMES or not (parts.path if parts.scheme == "unix" else host):
        raise loaded.error(
            _PATH, "counters are kept at memory://, redis://host[:port][/db], rediss://host[:port][/db] or unix:///path"
        )
    return url


def warnings_of(loaded: Loaded) -> tuple[str, ...]:
    """What an operator should know of where counters are kept."""
    url = shared_url(loaded)
    if not url:
        return ()
    told: list[str] = []
    parts = urlsplit(url)
    if parts.scheme == "redis" and parts.hostname not in _LOCAL:
        told.append(f"counters.url: counters go to {parts.hostname} without TLS; rediss:// has it")
    if parts.password and "${" not in loaded.settings.counters.url:
        told.append("counters.url: the password stands in the file itself; use ${env:NAME} or ${file:path}")
    return tuple(told)


def check_extra(loaded: Loaded) -> None:
    """Raises OperatorError config.invalid where shared counters are asked for and cannot be used by this installation."""
    if not shared_url(loaded):
        return
    try:
        importlib.import_module("ostiary.store.redis.counters")
    except ImportError as error:
        raise loaded.error(_PATH, "shared counters need the extra `redis`: pip install 'ostiary[redis]'") from error


def shared_counters(loaded: Loaded, data_dir: Path) -> CountersJob | None:
    """What workers are told of shared counters, None where there are none. The URL is in a file for the owner only."""
    url = shared_url(loaded)
    if not url:
        return None
    check_extra(loaded)
    file = data_dir / "secrets" / _URL_FILE
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(file, url.encode("utf-8"))
    settings = loaded.settings
    return CountersJob(str(file), settings.counters.prefix, _identity(data_dir), settings.server.workers)


def _identity(data_dir: Path) -> str:
    """Whose journals are in this folder; made once."""
    file = data_dir / IDENTITY_FILE
    try:
        if not file.exists():
            write_atomically(file, secrets.token_hex(8).encode("ascii"))
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file} cannot be used: {error}") from error
