"""GCRA: the bound holds for every window, all scopes are charged or none, corrections go both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import RATE_SCOPES_MAX
from ostiary.gateway.meter.limits import Limits
from ostiary.gateway.meter.rate import Cell, Cells, Rates
from ostiary.snapshot.tables import LimitedRow, LimitRow


@given(
    rate=st.integers(1, 6_000),
    burst=st.integers(1, 100),
    gaps=st.lists(st.floats(0, 3), max_size=200),
)
def test_no_window_lets_through_more_than_the_burst_and_the_rate(rate, burst, gaps):
    rates, now, passed = Rates(), 1_000.0, []
    cell = Cell("x", rate, burst, 1)
    for gap in gaps:
        now += gap
        if rates.take(Cells.of([cell]), now) is None:
            passed.append(now)
    for i, start in enumerate(passed):
        for j in range(i, len(passed)):
            assert j - i + 1 <= burst + (passed[j] - start) * rate / 60 + 1e-3


def test_a_steady_rate_is_held_to_within_a_hundredth():
    rates, cell = Rates(), Cell("x", 600, 1, 1)
    passed = sum(rates.take(Cells.of([cell]), 1_000.0 + i * 0.001) is None for i in range(60_000))
    assert abs(passed - 600) <= 6


def test_what_is_refused_says_when_it_would_pass_and_then_does():
    rates, cell = Rates(), Cell("x", 60, 2, 1)
    assert rates.take(Cells.of([cell]), 0.0) is None
    assert rates.take(Cells.of([cell]), 0.0) is None
    refused = rates.take(Cells.of([cell]), 0.0)
    assert refused.retry_after_seconds == pytest.approx(1.0)
    assert rates.take(Cells.of([cell]), 0.999) is not None
    assert rates.take(Cells.of([cell]), 1.0) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=40))
def test_what_one_scope_refuses_is_charged_to_none(takes):
    rates = Rates()
    for which, cost in takes:
        cells = [Cell("tight", 1, 3, cost), Cell(f"wide{which}", 6_000, 6_000, cost)]
        before = {name: rates.tat(name) for name in ("tight", *(f"wide{i}" for i in range(4)))}
        if rates.take(Cells.of(cells), 0.0) is not None:
            assert before == {name: rates.tat(name) for name in before}


def test_a_cost_beyond_the_burst_passes_alone_and_pays_afterwards():
    rates = Rates()
    big = Cell("x", 60, 10, 25)
    assert rates.take(Cells.of([big]), 0.0) is None
    refused = rates.take(Cells.of([Cell("x", 60, 10, 1)]), 0.0)
    assert refused.retry_after_seconds == pytest.approx(16.0)


@given(estimate=st.integers(0, 50), actual=st.integers(0, 50))
def test_a_corrected_estimate_leaves_what_the_actual_cost_would_have(estimate, actual):
    corrected, exact = Rates(), Rates()
    corrected.take(Cells.of([Cell("x", 60, 100, estimate)]), 5.0)
    corrected.correct(Cells.of([Cell("x", 60, 100, estimate)]), actual, 6.0)
    exact.take(Cells.of([Cell("x", 60, 100, actual)]), 5.0)
    assert corrected.tat("x") == pytest.approx(exact.tat("x"))


def test_no_more_scopes_are_remembered_than_the_bound():
    rates = Rates()
    for i in range(RATE_SCOPES_MAX + 5_000):
        rates.take(Cells.of([Cell(f"user {i}", 1, 1, 1)]), 0.0)
    assert len(rates._tat) <= RATE_SCOPES_MAX


def test_calls_open_at_once_are_bounded_and_given_back():
    limits, scope = Limits(), LimitedRow("team/a/b", LimitRow(concurrent_requests=2))
    first = limits.take([scope], 1, 0.0)
    limits.take([scope], 1, 0.0)
    with pytest.raises(CallerError) as refused:
        limits.take([scope], 1, 0.0)
    assert refused.value.code is Code.LIMIT_CONCURRENCY
    assert "a/b" not in refused.value.message
    limits.end(first, None, 0.0)
    limits.take([scope], 1, 0.0)
    assert limits.open_count == 2


def test_a_refusal_by_one_kind_takes_nothing_of_the_others():
    limits = Limits()
    scope = LimitedRow(
        "key/a/b",
        LimitRow(
            requests_per_minute=60, request_burst=5, tokens_per_minute=100, token_burst=100, concurrent_requests=5
        ),
    )
    limits.take([scope], 80, 0.0)
    for _ in range(20):
        with pytest.raises(CallerError) as refused:
            limits.take([scope], 80, 0.0)
        assert refused.value.code is Code.LIMIT_TOKENS
        assert refused.value.retry_after_seconds == pytest.approx(36.0)
    assert limits.open_count == 1
    for _ in range(4):
        limits.take([scope], 1, 0.0)


@given(st.lists(st.tuples(st.integers(1, 6_000), st.integers(1, 50), st.floats(-5, 5)), min_size=1, max_size=5))
def test_the_tightest_limit_is_the_one_with_the_least_room(given_):
    rates, now = Rates(), 1_000.0
    cells = sorted((Cell(f"{at}", rate, burst, 1) for at, (rate, burst, _) in enumerate(given_)), key=lambda c: c.burst)
    for at, (_, _, owed) in enumerate(given_):
        rates.told(f"{at}", now + owed, now)

    def room(cell):
        return cell.burst - max(rates.tat(cell.name) - now, 0.0) * cell.rate / 60

    cell, left, reset = rates.tightest(Cells.of(cells), now)
    assert room(cell) == min(map(room, cells))
    assert left == max(int(room(cell) + 1e-9), 0)
    assert reset == max(rates.tat(cell.name) - now, 0.0)
