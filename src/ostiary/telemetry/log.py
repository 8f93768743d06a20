"""Structured logs: one JSON object a line on standard error, each field bounded, nothing of a prompt or a secret.

structlog renders; what is logged are events with names and fields. Values are escaped by JSON, so that no text from
outside can begin a new line or a new field; characters that some readers take for the end of a line, or that steer a
terminal, are escaped too. Logging never raises and never blocks: `lines` sees to it.
"""

import logging
import re
from collections.abc import MutableMapping
from typing import Any, Final

import msgspec
import structlog

from ostiary.core.limit import LOG_EXCEPTION_CHARS_MAX, LOG_FIELD_CHARS_MAX
from ostiary.telemetry import lines

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_encoder: Final = msgspec.json.Encoder(enc_hook=str)

_STEERING: Final = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""What JSON leaves as it is though it ends a line, hides text or turns its direction somewhere: DEL and C1, the
separators U+2028 and U+2029, zero-width and bidirectional marks."""


def configure(level: str, process: str) -> None:
    """Set up logging of this process; `process` names its part (data-0, ops, supervisor)."""
    structlog.contextvars.clear_contextvars()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _Process(process),
            structlog.processors.format_exc_info,
            _bound,
            structlog.processors.JSONRenderer(serializer=_serialize),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,
    )
    logging.raiseExceptions = False
    logging.basicConfig(level=logging.WARNING, handlers=[_Foreign(process)], force=True)


class _Lines:
    """What structlog writes to."""

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, message: str) -> None:
        lines.stderr.put(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class _Foreign(logging.Handler):
    """What libraries log, in the same form: one object a line, however many lines their text has."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event: MutableMapping[str, Any] = {
                "event": "library",
                "logger": record.name,
                "reason": record.getMessage(),
                "level": record.levelname.lower(),
                "process": self._process,
            }
            if record.exc_info:
                event["exception"] = logging.Formatter().formatException(record.exc_info)
            lines.stderr.put(_serialize(_bound(None, "", event)))
        except Exception:  # noqa: BLE001 - a log line is not worth an error
            lines.stderr.put('{"event":"library","reason":"a line that cannot be shown"}')


class _Process:
    """Adds the process's name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = self._name
        return event


def _bound(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            most = LOG_EXCEPTION_CHARS_MAX if name == "exception" else LOG_FIELD_CHARS_MAX
            if len(value) > most:
                event[name] = value[:most] + "…"
    return event


def _serialize(event: object, **_: object) -> str:
    try:
        text = _encoder.encode(event).decode("utf-8")
    except (UnicodeEncodeError, TypeError, ValueError):  # lone surrogates, as in a file name that is not UTF-8
        shown = repr(event)[:LOG_FIELD_CHARS_MAX].encode("ascii", "backslashreplace").decode("ascii")
        text = _encoder.encode({"event": "unprintable", "fields": shown}).decode("ascii")
    return _STEERING.sub(_escaped, text) if not text.isascii() or "\x7f" in text else text


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"
