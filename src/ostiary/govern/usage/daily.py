"""Calls summed as the daily tables keep them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from ostiary.core.event import Outcome
from ostiary.core.row import Row
from ostiary.govern.usage.model import CallRow


def _get(*fields: str) -> "itemgetter[Any]":
    return itemgetter(*map(CallRow.__struct_fields__.index, fields))


_NAME: Final = _get(
    "tenant", "day", "environment", "team", "key_id", "asked", "served", "provider", "currency", "project"
)
_OUTCOME: Final = _get("outcome")
_OUTCOMES: Final = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.DENIED, Outcome.CANCELLED, Outcome.ABORTED)
_COUNTED: Final = tuple(
    map(_get, ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "cost_nano"))
)


def daily(calls: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The calls (each `CallRow` as a tuple) summed per row of the daily table, and those that have a project once more per
    row of the projects', so that each row is touched once; in the order of their names, so that two who do this at once
    never wait for each other.

    A row is its name and its sums. A name is tenant, day, environment, team, key, model asked for and served, provider,
    currency, and project where that is told; the sums are requests, succeeded, failed, denied, cancelled, aborted, input,
    output, cached, cache write and reasoning tokens, nano-units.
    """
    groups: defaultdict[tuple[str, ...], list[Row]] = defaultdict(list)
    for call in calls:
        groups[_NAME(call)].append(call)
    days: dict[tuple[str, ...], list[int]] = {}
    projects: list[Row] = []
    for name in sorted(groups):
        sums = _sums(groups[name])
        if name[-1]:
            projects.append((*name, *sums))
        known = days.get(name[:-1])
        days[name[:-1]] = sums if known is None else [one + other for one, other in zip(known, sums, strict=True)]
    return [(*name, *sums) for name, sums in days.items()], projects


def _sums(calls: Sequence[Row]) -> list[int]:
    outcomes = Counter(map(_OUTCOME, calls))
    return [
        len(calls),
        *(outcomes[outcome] for outcome in _OUTCOMES),
        *(sum(map(count, calls)) for count in _COUNTED),
    ]
