"""Budgets and holds against a model of two lines: what is spent and held never passes a hard budget."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from ostiary.gateway.meter.hold import Exhausted, Hold, Holds
from ostiary.gateway.meter.period import bounds
from ostiary.snapshot.tables import BudgetedRow, BudgetRow, Period

TEAM = BudgetedRow("team/a/b", BudgetRow(nano=1_000, tokens=500, period=Period.DAY, alerts=(0.5, 1.0)))
KEY = BudgetedRow("key/a/k", BudgetRow(nano=400, period=Period.DAY))
SOFT = BudgetedRow("tenant/a", BudgetRow(nano=10, period=Period.DAY, hard=False))
DAY = 86_400


class HoldMachine(RuleBasedStateMachine):
    """The model: per scope, what is spent in this period and what is held."""

    held_open = Bundle("held_open")

    def __init__(self):
        super().__init__()
        self.holds = Holds()
        self.now = 10 * DAY
        self.spent = {"team/a/b": [0, 0], "key/a/k": [0, 0]}
        self.held = {"team/a/b": [0, 0], "key/a/k": [0, 0]}

    def fits(self, nano, tokens):
        def room(budget, scope, kind):
            return max(budget - self.spent[scope][kind] - self.held[scope][kind], 0)

        team = nano <= room(1_000, "team/a/b", 0) and tokens <= room(500, "team/a/b", 1)
        return team and nano <= room(400, "key/a/k", 0)

    @rule(target=held_open, nano=st.integers(0, 300), tokens=st.integers(0, 200))
    def reserve(self, nano, tokens):
        expected = self.fits(nano, tokens)
        got = self.holds.reserve(nano, tokens, (SOFT, TEAM, KEY), self.now)
        assert isinstance(got, Exhausted) is not expected
        if expected:
            for scope in self.held:
                self.held[scope][0] += nano
                self.held[scope][1] += tokens
        return got if expected else None

    @rule(hold=consumes(held_open), nano=st.integers(0, 300), tokens=st.integers(0, 200))
    def settle(self, hold, nano, tokens):
        if hold is None:
            return
        self.holds.settle(hold, nano, tokens, self.now)
        for scope in self.held:
            self.held[scope][0] -= hold.nano
            self.held[scope][1] -= hold.tokens
            self.spent[scope][0] += nano
            self.spent[scope][1] += tokens
        with pytest.raises(ValueError, match="once"):
            self.holds.settle(hold, nano, tokens, self.now)

    @rule(days=st.integers(0, 2))
    def time_passes(self, days):
        self.now += days * DAY
        if days:
            self.spent = {scope: [0, 0] for scope in self.spent}

    @invariant()
    def the_accounts_are_those_of_the_model(self):
        said = self.holds.spent()
        for scope, (nano, tokens) in self.spent.items():
            one = said.get(scope)
            if one is not None and one.start == bounds(Period.DAY, "UTC", self.now)[0]:
                assert (one.nano, one.tokens) == (nano, tokens)


HoldMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestHolds = HoldMachine.TestCase


def test_each_share_of_a_budget_is_told_once_in_a_period():
    holds, told = Holds(), []
    for now in (10 * DAY, 10 * DAY, 10 * DAY, 11 * DAY):
        hold = holds.reserve(0, 0, (TEAM,), now)
        told.append([alert.share for alert in holds.settle(hold, 600, 0, now)])
    assert told == [[0.5], [1.0], [], [0.5]]


@pytest.mark.parametrize("steps", [(0, 3_600, -3_600), (0, -3_600, 3_600), (3_600, 0, 3_600)])
def test_at31_a_clock_that_is_set_across_an_edge_ends_a_period_once(steps):
    """Ten seconds before midnight, or after it, the clock is set by an hour and back: each period is spent once."""
    holds, edge = Holds(), 11 * DAY
    passed = {10 * DAY: 0, edge: 0}
    for step in steps:
        for at in (edge - 10, edge + 10):
            hold = holds.reserve(400, 0, (TEAM,), at + step)
            if isinstance(hold, Hold):
                holds.settle(hold, 400, 0, at + step)
                passed[holds.spent()[TEAM.scope].start] += 400
    assert passed[10 * DAY] <= 1_000
    assert passed[edge] <= 1_000
    assert holds.spent()[TEAM.scope].start == edge


def test_at31_a_clock_that_goes_back_starts_no_period_anew():
    holds = Holds()
    hold = holds.reserve(1_000, 0, (TEAM,), 10 * DAY)
    holds.settle(hold, 1_000, 0, 10 * DAY)
    assert isinstance(holds.reserve(1, 0, (TEAM,), 10 * DAY - 3_600), Exhausted)


def test_what_a_checkpoint_says_goes_on():
    holds = Holds()
    holds.settle(holds.reserve(900, 10, (TEAM, SOFT), 10 * DAY), 900, 10, 10 * DAY)
    again = Holds()
    for scope, spent in holds.spent().items():
        again.load(scope, TEAM.budget if scope == TEAM.scope else SOFT.budget, spent)
    assert again.spent() == holds.spent()
    assert isinstance(again.reserve(101, 0, (TEAM,), 10 * DAY), Exhausted)
    again.restore((TEAM,), 50, 0, 10 * DAY + 5)
    assert again.spent()[TEAM.scope].nano == 950


@pytest.mark.parametrize(
    ("period", "zone", "at", "first", "following"),
    [
        (Period.MONTH, "Europe/Zurich", (2026, 3, 31, 23, 59), (2026, 3, 1), (2026, 4, 1)),
        (Period.DAY, "Europe/Zurich", (2026, 3, 29, 12, 0), (2026, 3, 29), (2026, 3, 30)),
        (Period.DAY, "America/New_York", (2026, 11, 1, 1, 30), (2026, 11, 1), (2026, 11, 2)),
        (Period.WEEK, "Asia/Tokyo", (2026, 1, 1, 0, 0), (2025, 12, 29), (2026, 1, 5)),
        (Period.YEAR, "UTC", (2026, 12, 31, 23, 59), (2026, 1, 1), (2027, 1, 1)),
    ],
)
def test_at31_periods_follow_the_local_calendar(period, zone, at, first, following):
    local = ZoneInfo(zone)
    seconds = int(dt.datetime(*at, tzinfo=local).timestamp())
    expected = tuple(int(dt.datetime(*day, tzinfo=local).timestamp()) for day in (first, following))
    assert bounds(period, zone, seconds) == expected
    assert bounds(period, zone, expected[0])[0] == expected[0]
    assert bounds(period, zone, expected[1])[0] == expected[1]


def test_at31_a_day_in_which_the_clocks_change_is_as_long_as_it_is():
    noon = int(dt.datetime(2026, 3, 29, 12, tzinfo=ZoneInfo("Europe/Zurich")).timestamp())
    start, end = bounds(Period.DAY, "Europe/Zurich", noon)
    assert end - start == 23 * 3_600


@given(
    nano=st.one_of(st.none(), st.integers(0, 10**18)),
    tokens=st.one_of(st.none(), st.integers(0, 10**6)),
    marks=st.lists(st.integers(1, 120).map(lambda share: share / 100), max_size=3, unique=True).map(sorted),
    calls=st.lists(st.tuples(st.floats(0, 0.4), st.integers(0, 400_000)), max_size=8),
)
def test_an_alert_is_due_with_the_call_that_reaches_its_share(nano, tokens, marks, calls):
    row = BudgetedRow("team/a/b", BudgetRow(nano, tokens, Period.DAY, alerts=tuple(marks), hard=False))
    holds, spent_nano, spent_tokens, told = Holds(), 0, 0, 0.0
    for part, more in calls:
        costs = int((nano or 1_000) * part)
        spent_nano, spent_tokens = spent_nano + costs, spent_tokens + more
        share = max(spent_nano / nano if nano else 0.0, spent_tokens / tokens if tokens else 0.0)
        alerts = holds.settle(holds.reserve(costs, 3, (row,), 0), costs, more, 0)
        assert [one.share for one in alerts] == [at for at in marks if told < at <= share]
        told = max(told, share) if marks and share >= marks[0] else told


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 300)), min_size=1, max_size=12))
def test_what_the_last_budget_refuses_is_held_of_none(calls):
    holds = Holds()
    for nano, tokens in calls:
        before = {scope: (one.nano, one.tokens) for scope, one in holds._accounts.items()}
        if isinstance(holds.reserve(nano, tokens, (SOFT, TEAM, KEY), 0), Exhausted):
            assert {scope: (one.nano, one.tokens) for scope, one in holds._accounts.items()} == {
                scope: before.get(scope, (0, 0)) for scope in holds._accounts
            }
