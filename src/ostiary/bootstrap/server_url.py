"""The URL of a Redis or Valkey server in the operator's file: checked, told of, handed to workers. Never shown: it may hold
a password."""

import importlib
import ipaddress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ostiary.control.publisher import write_atomically
from ostiary.control.reference import resolve
from ostiary.settings import Loaded

MEMORY: Final = "memory://"
_SCHEMES: Final = ("redis", "rediss", "unix")


def is_local(host: str) -> bool:
    """Whether a host is this machine itself: by its address, or as `localhost`. A name that only begins like one is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_url(loaded: Loaded, section: str, text: str, what: str) -> str:
    """The URL in `section`.url with its references resolved, empty where `what` (a plural) is in memory. Raises
    OperatorError config.invalid, which never shows it."""
    path = (section, "url")
    try:
        url = resolve(text, loaded.base)
    except ValueError as error:
        raise loaded.error(path, str(error)) from error
    if url == MEMORY:
        return ""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise loaded.error(path, "not a URL") from error
    if parts.scheme not in _SCHEMES or not (parts.path if parts.scheme == "unix" else host):
        raise loaded.error(
            path, f"{what} are kept at memory://, redis://host[:port][/db], rediss://host[:port][/db] or unix:///path"
        )
    return url


def warnings_of_url(section: str, url: str, text: str, what: str) -> tuple[str, ...]:
    """What an operator should know of a URL that stands in the file as `text`."""
    told: list[str] = []
    parts = urlsplit(url)
    if parts.scheme == "redis" and not is_local(parts.hostname or ""):
        told.append(f"{section}.url: {what} go to {parts.hostname} without TLS; rediss:// has it")
    if parts.password and "${" not in text:
        told.append(f"{section}.url: the password stands in the file itself; use ${{env:NAME}} or ${{file:path}}")
    return tuple(told)


def check_module(loaded: Loaded, section: str, module: str, what: str) -> None:
    """Raises OperatorError config.invalid where the adapter cannot be used by this installation."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise loaded.error(
            (section, "url"), f"shared {what} need the extra `redis`: pip install 'ostiary[redis]'"
        ) from error


def url_file(data_dir: Path, name: str, url: str) -> str:
    """Put the URL into a file for the owner only; its path."""
    file = data_dir / "secrets" / name
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(file, url.encode("utf-8"))
    return str(file)
