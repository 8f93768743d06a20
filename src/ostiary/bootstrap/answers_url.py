"""The operator's `cache.url`, checked at load and handed to workers."""

from pathlib import Path
from typing import Final

from ostiary.bootstrap.job import AnswersJob
from ostiary.bootstrap.server_url import check_module, server_url, url_file, warnings_of_url
from ostiary.settings import Loaded

_SECTION: Final = "cache"
_WHAT: Final = "answers"
_URL_FILE: Final = "cache-url"


def check_answers(loaded: Loaded) -> tuple[str, ...]:
    """What an operator should know of where answers are kept. Raises OperatorError config.invalid, which never shows the
    URL."""
    text = loaded.settings.cache.url
    url = server_url(loaded, _SECTION, text, _WHAT)
    if not url:
        return ()
    check_module(loaded, _SECTION, "ostiary.store.redis.answers", _WHAT)
    return warnings_of_url(_SECTION, url, text, _WHAT)


def answers_job(loaded: Loaded, data_dir: Path) -> AnswersJob | None:
    """What workers are told, None where each keeps its own in memory. The URL is in a file for the owner only."""
    url = server_url(loaded, _SECTION, loaded.settings.cache.url, _WHAT)
    if not url:
        return None
    return AnswersJob(url_file(data_dir, _URL_FILE, url), loaded.settings.cache.prefix)
