"""Answers kept from earlier calls. No answer cache is configured yet, so every call passes it by; no header says so yet."""

from enum import StrEnum


class Recall(StrEnum):
    """What the cache had to say."""

    BYPASS = "bypass"


def recall() -> Recall:
    """Look for a kept answer."""
    return Recall.BYPASS
