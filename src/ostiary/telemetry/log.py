"""Structured logs: one JSON object a line on standard error, each field bounded, nothing of a prompt or a secret.

structlog renders; what is logged are events with names and fields. Values are escaped by JSON, so that no text from
outside can begin a new line or a new field.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import msgspec
import structlog

from ostiary.core.limit import LOG_FIELD_CHARS_MAX

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_encoder: Final = msgspec.json.Encoder(enc_hook=str)


def configure(level: str, process: str) -> None:
    """Set up logging of this process; `process` names its part (data-0, ops, supervisor)."""
    structlog.contextvars.clear_contextvars()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _bound,
            _Process(process),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_serialize),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s", force=True)


class _Process:
    """Adds the process's name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = self._name
        return event


def _bound(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str) and len(value) > LOG_FIELD_CHARS_MAX and name != "exception":
            event[name] = value[:LOG_FIELD_CHARS_MAX] + "…"
    return event


def _serialize(event: object, **_: object) -> str:
    return _encoder.encode(event).decode("utf-8")
