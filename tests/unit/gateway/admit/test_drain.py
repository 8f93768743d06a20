"""How fast places come free, and when a loop that runs late sheds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.limit import LAG_LOOKS_COUNT
from ostiary.core.principal import Priority
from ostiary.gateway.admit.drain import Drain, Pressure


@given(per_second=st.floats(1.0, 1_000.0))
def test_the_rate_is_that_at_which_places_came_free_while_all_were_taken(per_second):
    drain = Drain()
    drain.full(0.0, full=True)
    now = 0.0
    for _ in range(int(20 * per_second)):
        now += 1 / per_second
        drain.left(now)
    assert drain.per_second(now) == pytest.approx(per_second, rel=0.11)


def test_time_with_free_places_says_nothing_of_the_rate():
    drain = Drain()
    assert drain.per_second(5.0) is None
    drain.full(0.0, full=True)
    for i in range(100):
        drain.left(i / 10)
    drain.full(10.0, full=False)
    before = drain.per_second(10.0)
    drain.left(500.0)
    assert drain.per_second(1_000.0) == before


def test_while_nothing_comes_free_the_rate_falls():
    drain = Drain()
    drain.full(0.0, full=True)
    rates = [drain.per_second(seconds) for seconds in (0.01, 0.1, 1.0, 10.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.5


def test_one_long_step_is_no_overload_and_a_lasting_one_sheds_the_least_urgent_first():
    pressure = Pressure(0.1)
    pressure.look(2.0)
    assert not pressure.high
    for _ in range(LAG_LOOKS_COUNT):
        pressure.look(0.15)
    assert [pressure.sheds(one) for one in Priority] == [False, False, True]
    for _ in range(LAG_LOOKS_COUNT):
        pressure.look(0.25)
    assert [pressure.sheds(one) for one in Priority] == [False, True, True]
    for _ in range(LAG_LOOKS_COUNT):
        pressure.look(0.45)
    assert all(pressure.sheds(one) for one in Priority)


def test_one_look_in_time_ends_the_shedding():
    pressure = Pressure(0.1)
    for _ in range(LAG_LOOKS_COUNT):
        pressure.look(9.0)
    pressure.look(0.01)
    assert not pressure.high
