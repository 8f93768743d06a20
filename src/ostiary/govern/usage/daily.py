"""Calls summed as the daily table keeps them."""

from collections.abc import Iterable
from typing import Final

from ostiary.core.event import Outcome
from ostiary.govern.usage.model import CallRow

Name = tuple[str, ...]

_OUTCOME: Final = {
    Outcome.SUCCEEDED: 1,
    Outcome.FAILED: 2,
    Outcome.DENIED: 3,
    Outcome.CANCELLED: 4,
    Outcome.ABORTED: 5,
}
"""Where each outcome is counted among the sums of a row."""


def daily(calls: Iterable[CallRow]) -> list[tuple[Name, list[int]]]:
    """The calls summed per row, so that each row is touched once; in the order of their names, so that two who do this
    at once never wait for each other.

    A name is tenant, day, environment, team, key, model asked for and served, provider, currency; the sums are requests,
    succeeded, failed, denied, cancelled, aborted, input, output, cached, cache write and reasoning tokens, nano-units.
    """
    sums: dict[Name, list[int]] = {}
    for call in calls:
        name: Name = (
            call.tenant,
            call.day,
            call.environment,
            call.team,
            call.key_id,
            call.asked,
            call.served,
            call.provider,
            call.currency,
        )
        known = sums.get(name)
        if known is None:
            known = sums[name] = [0] * 12
        known[0] += 1
        known[_OUTCOME[call.outcome]] += 1
        known[6] += call.input_tokens
        known[7] += call.output_tokens
        known[8] += call.cached_tokens
        known[9] += call.cache_write_tokens
        known[10] += call.reasoning_tokens
        known[11] += call.cost_nano
    return sorted(sums.items())
