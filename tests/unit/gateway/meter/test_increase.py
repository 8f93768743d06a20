"""Budgets that are raised for a time."""

from hypothesis import given
from hypothesis import strategies as st

from ostiary.gateway.meter.increase import as_of
from ostiary.snapshot.tables import BudgetedRow, BudgetRow, IncreaseRow


def budget(*increases, nano=100, tokens=None):
    return BudgetedRow("team/a/b", BudgetRow(nano=nano, tokens=tokens, increases=increases))


def test_an_increase_holds_from_its_start_up_to_its_end():
    one = budget(IncreaseRow(10, 20, nano=5))
    assert [as_of(at, [one])[0].budget.nano for at in (9, 10, 19, 20)] == [100, 105, 105, 100]


def test_increases_at_the_same_time_add_up_and_bound_nothing_that_had_no_bound():
    one = budget(IncreaseRow(0, 20, nano=5, tokens=7), IncreaseRow(10, 30, nano=50))
    assert [as_of(at, [one])[0].budget.nano for at in (5, 15, 25)] == [105, 155, 150]
    assert as_of(5, [one])[0].budget.tokens is None


def test_what_is_never_raised_is_left_as_it_is():
    one = budget()
    assert as_of(0, [one])[0] is one


@given(st.lists(st.builds(IncreaseRow, st.integers(0, 50), st.integers(0, 50), st.integers(0, 9)), max_size=5))
def test_a_budget_is_never_less_than_its_base(increases):
    one = budget(*increases)
    for at in range(60):
        raised = as_of(at, [one])[0].budget.nano
        assert raised == 100 + sum(each.nano for each in increases if each.start <= at < each.end)
