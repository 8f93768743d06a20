"""Sensitivity labels, which decide destinations, retention and logging."""

from enum import StrEnum


class Sensitivity(StrEnum):
    """How sensitive a request's data is, from least to most."""

    PUBLIC = "public"
    INTERNAL = "internal"
    REGULATED = "regulated"
