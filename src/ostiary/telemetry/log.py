"""Structured logs: one JSON object a line on standard error, each field bounded, nothing of a prompt or a secret.

What is logged are events with names and fields; the standard library's logging carries them, and what libraries log
comes in the same form. Values are escaped by JSON, so that no text from outside can begin a new line or a new field;
characters that some readers take for the end of a line, or that steer a terminal, are escaped too. Logging never
raises and never blocks: `lines` sees to it.
"""

import datetime as dt
import logging
import re
from typing import Final

import msgspec

from ostiary.core.limit import LOG_EXCEPTION_CHARS_MAX, LOG_FIELD_CHARS_MAX
from ostiary.telemetry import lines

_OURS: Final = "ostiary"
_FIELDS: Final = "ostiary_fields"
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_encoder: Final = msgspec.json.Encoder(enc_hook=str)

_STEERING: Final = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""What JSON leaves as it is though it ends a line, hides text or turns its direction somewhere: DEL and C1, the
separators U+2028 and U+2029, zero-width and bidirectional marks."""


class Log:
    """Logs the events of one part of the product: a name in words joined by underscores, and fields."""

    def __init__(self, part: str) -> None:
        self._logger = logging.getLogger(f"{_OURS}.{part}")

    def info(self, event: str, **fields: object) -> None:
        """What an operator may want to know."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """What an operator should look at some day."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """What an operator must look at."""
        self._write(logging.ERROR, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={_FIELDS: fields})


def configure(level: str, process: str) -> None:
    """Set up logging of this process; `process` names its part (data-0, ops, supervisor)."""
    logging.raiseExceptions = False
    logging.basicConfig(level=logging.WARNING, handlers=[_Lines(process)], force=True)
    logging.getLogger(_OURS).setLevel(_LEVELS[level])


class _Lines(logging.Handler):
    """Every record as one object on one line, however many lines its text has."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = getattr(record, _FIELDS, None)
            event: dict[str, object] = (
                {"event": "library", "logger": record.name, "reason": record.getMessage()}
                if fields is None
                else {"event": record.msg, **fields}
            )
            event["level"] = record.levelname.lower()
            event["timestamp"] = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat()
            event["process"] = self._process
            if record.exc_info:
                event["exception"] = logging.Formatter().formatException(record.exc_info)
            lines.stderr.put(_serialize({name: _bounded(name, value) for name, value in event.items()}))
        except Exception:  # noqa: BLE001 - a log line is not worth an error
            lines.stderr.put('{"event":"library","reason":"a line that cannot be shown"}')


def _bounded(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    most = LOG_EXCEPTION_CHARS_MAX if name == "exception" else LOG_FIELD_CHARS_MAX
    return value if len(value) <= most else value[:most] + "…"


def _serialize(event: object) -> str:
    try:
        text = _encoder.encode(event).decode("utf-8")
    except (UnicodeEncodeError, TypeError, ValueError):  # lone surrogates, as in a file name that is not UTF-8
        shown = repr(event)[:LOG_FIELD_CHARS_MAX].encode("ascii", "backslashreplace").decode("ascii")
        text = _encoder.encode({"event": "unprintable", "fields": shown}).decode("ascii")
    return _STEERING.sub(_escaped, text) if not text.isascii() or "\x7f" in text else text


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"
