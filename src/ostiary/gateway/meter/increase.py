"""Budgets as they stand at a moment, with what they are raised by for a time; pure."""

from collections.abc import Iterable

import msgspec

from ostiary.snapshot.tables import BudgetedRow


def as_of(now_seconds: int, budgets: Iterable[BudgetedRow]) -> tuple[BudgetedRow, ...]:
    """The budgets with the increases that hold at `now_seconds` (since 1970) added. What has no bound of a kind is not
    given one."""
    return tuple(_raised(one, now_seconds) if one.budget.increases else one for one in budgets)


def _raised(one: BudgetedRow, now_seconds: int) -> BudgetedRow:
    budget = one.budget
    nano, tokens = budget.nano, budget.tokens
    for increase in budget.increases:
        if increase.start <= now_seconds < increase.end:
            nano = None if nano is None else nano + increase.nano
            tokens = None if tokens is None else tokens + increase.tokens
    return msgspec.structs.replace(one, budget=msgspec.structs.replace(budget, nano=nano, tokens=tokens))
