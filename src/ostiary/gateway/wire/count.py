"""Token counts as providers report them, who may report anything."""

from typing import Final

from ostiary.core.limit import USAGE_TOKENS_MAX

NOT_TRUE: Final = -1
"""What `tokens` gives for a number that cannot be true."""


def tokens(value: object) -> int:
    """A count: 0 where it is absent or null, NOT_TRUE where it is no whole number from 0 to USAGE_TOKENS_MAX.

    Some servers send counts as floats; a whole one is taken.
    """
    if type(value) is int:
        return value if 0 <= value <= USAGE_TOKENS_MAX else NOT_TRUE
    if value is None:
        return 0
    if type(value) is float and 0.0 <= value <= USAGE_TOKENS_MAX and value.is_integer():
        return int(value)
    return NOT_TRUE
