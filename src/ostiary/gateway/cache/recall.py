"""Answers kept from earlier calls. No answer cache is configured yet, so every call passes it by, and says so."""

from enum import StrEnum


class Recall(StrEnum):
    """What the cache had to say; the value of the `x-ostiary-cache` header."""

    BYPASS = "bypass"


def recall() -> Recall:
    """Look for a kept answer."""
    return Recall.BYPASS
