"""Where counters are kept: the operator's URL, checked and handed to workers."""

import secrets
from pathlib import Path
from typing import Final

from ostiary.bootstrap.job import CountersJob
from ostiary.bootstrap.server_url import check_module, server_url, url_file, warnings_of_url
from ostiary.control.publisher import write_atomically
from ostiary.core.error import Code, OperatorError
from ostiary.settings import Loaded

IDENTITY_FILE: Final = "counters.id"
_URL_FILE: Final = "counters-url"
_SECTION: Final = "counters"


def shared_url(loaded: Loaded) -> str:
    """The URL of the shared counters, empty where they are in memory. Raises OperatorError config.invalid, which never
    shows the URL: it may hold a password."""
    return server_url(loaded, _SECTION, loaded.settings.counters.url, _SECTION)


def warnings_of(loaded: Loaded) -> tuple[str, ...]:
    """What an operator should know of where counters are kept."""
    url = shared_url(loaded)
    return warnings_of_url(_SECTION, url, loaded.settings.counters.url, _SECTION) if url else ()


def check_extra(loaded: Loaded) -> None:
    """Raises OperatorError config.invalid where shared counters are asked for and cannot be used by this installation."""
    if shared_url(loaded):
        check_module(loaded, _SECTION, "ostiary.store.redis.counters", _SECTION)


def shared_counters(loaded: Loaded, data_dir: Path) -> CountersJob | None:
    """What workers are told of shared counters, None where there are none. The URL is in a file for the owner only."""
    url = shared_url(loaded)
    if not url:
        return None
    check_extra(loaded)
    settings = loaded.settings
    return CountersJob(
        url_file(data_dir, _URL_FILE, url), settings.counters.prefix, _identity(data_dir), settings.server.workers
    )


def _identity(data_dir: Path) -> str:
    """Whose journals are in this folder; made once."""
    file = data_dir / IDENTITY_FILE
    try:
        if not file.exists():
            write_atomically(file, secrets.token_hex(8).encode("ascii"))
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file} cannot be used: {error}") from error
