"""When a slow call is put to a second target, and how often that may be."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.limit import HEDGES_REQUESTS_SAVED, MODELS_HEDGED_ENTRIES_MAX
from ostiary.gateway.route.hedge import Hedges, Hedging
from ostiary.snapshot.tables import HedgeRow


@given(share=st.floats(0.01, 1.0), wants=st.lists(st.booleans(), max_size=300))
def test_no_more_than_the_share_of_calls_is_hedged_at_any_time(share, wants):
    one, row = Hedging(), HedgeRow(share=share)
    hedged = 0
    for calls, want in enumerate(wants, start=1):
        one.called(row)
        hedged += want and one.take()
        assert hedged <= share * calls + 1e-9


def test_what_is_saved_up_has_a_bound():
    one, row = Hedging(), HedgeRow(share=1.0)
    for _ in range(1_000):
        one.called(row)
    assert sum(one.take() for _ in range(1_000)) == HEDGES_REQUESTS_SAVED


def test_a_delay_that_is_given_is_taken_and_one_that_is_learned_needs_calls():
    one = Hedging()
    assert one.delay_seconds(HedgeRow(after_seconds=0.7)) == 0.7
    assert one.delay_seconds(HedgeRow()) is None
    for _ in range(20):
        one.learn(1.0)
    assert one.delay_seconds(HedgeRow()) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_learned_delay_is_passed_by_about_one_call_in_twenty(seed):
    draw = random.Random(seed)
    one = Hedging()
    passed = 0
    for i in range(20_000):
        seconds = draw.expovariate(1.0) + 0.2
        if i >= 2_000:
            passed += seconds > one.slow_seconds
        one.learn(seconds)
    assert 0.025 < passed / 18_000 < 0.085


def test_the_models_that_are_remembered_are_bounded():
    hedges = Hedges()
    for i in range(3 * MODELS_HEDGED_ENTRIES_MAX):
        hedges.of(f"m{i}")
    assert len(hedges._models) <= MODELS_HEDGED_ENTRIES_MAX
