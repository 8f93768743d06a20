"""Who goes on, who waits and who is refused, as properties of any sequence of calls."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ostiary.core.limit import YIELD_AFTER_CALLS_COUNT
from ostiary.core.principal import Priority
from ostiary.gateway.admit.room import Room, Ticket, Verdict

FAR = 1e9
TEAMS = st.sampled_from(["a", "b", "c"])
PRIORITIES = st.sampled_from(list(Priority))


def ticket(team="a", weight=1, priority=Priority.STANDARD, deadline=FAR):
    return Ticket(team, weight, priority, deadline)


def full(bound=1, waiting_max=1_000):
    """A room whose places are all taken."""
    room = Room(bound, waiting_max)
    for _ in range(bound):
        assert room.take(0.0)
    return room


def queued(room, *tickets, now=0.0):
    for one in tickets:
        room.enter(one, now)
        assert one.verdict is None
    return tickets


def served(room, tickets, count, now=0.0):
    """The next tickets that get a place, one place coming free after the other."""
    order = []
    waiting = [one for one in tickets if one.verdict is None]
    for _ in range(count):
        room.leave(now)
        (found,) = [one for one in waiting if one.verdict is Verdict.ADMITTED]
        waiting.remove(found)
        order.append(found)
    return order


class Any(RuleBasedStateMachine):
    """Any sequence of what may happen, held to what must always be so."""

    def __init__(self):
        super().__init__()
        self.room = Room(3, 5)
        self.now = 0.0
        self.inside = 0
        self.tickets = []

    @rule(team=TEAMS, weight=st.integers(1, 4), priority=PRIORITIES, patience=st.floats(0.0, 5.0))
    def come(self, team, weight, priority, patience):
        one = ticket(team, weight, priority, self.now + patience)
        self.room.enter(one, self.now)
        self.tickets.append(one)

    @precondition(lambda self: self.room.in_flight)
    @rule()
    def go(self):
        self.room.leave(self.now)
        self.inside -= 1

    @rule(seconds=st.floats(0.0, 2.0))
    def wait(self, seconds):
        self.now += seconds
        for one in self.tickets:
            if one.verdict is None and one.deadline <= self.now:
                self.room.expire(one, self.now)

    @precondition(lambda self: self.room.waiting)
    @rule(data=st.data())
    def give_up(self, data):
        one = data.draw(st.sampled_from(list(self.room.tickets())))
        assert self.room.withdraw(one)
        assert not self.room.withdraw(one)
        self.tickets.remove(one)

    @rule(bound=st.integers(1, 6), waiting_max=st.integers(0, 6))
    def resize(self, bound, waiting_max):
        self.room.resize(bound, waiting_max, self.now)

    @invariant()
    def no_place_is_free_while_somebody_waits(self):
        assert not self.room.waiting or self.room.in_flight >= self.room.bound

    @invariant()
    def who_waits_is_counted_and_undecided(self):
        waiting = list(self.room.tickets())
        assert len(waiting) == self.room.waiting
        assert {id(one) for one in waiting} == {id(one) for one in self.tickets if one.verdict is None}

    @invariant()
    def who_was_admitted_has_a_place_and_nobody_else(self):
        admitted = sum(one.verdict is Verdict.ADMITTED for one in self.tickets)
        assert self.room.in_flight == admitted + self.inside

    @invariant()
    def nobody_waits_beyond_its_deadline(self):
        assert all(one.deadline > self.now for one in self.room.tickets())


TestAny = Any.TestCase


def test_a_place_that_is_free_is_taken_at_once_and_no_more_than_there_are():
    room = Room(2, 10)
    assert [room.take(0.0) for _ in range(3)] == [True, True, False]
    room.leave(0.0)
    assert room.free
    assert room.take(0.0)


def test_who_comes_later_does_not_pass_who_waits():
    room = full()
    (one,) = queued(room, ticket())
    assert not room.take(0.0)
    room.leave(0.0)
    assert one.verdict is Verdict.ADMITTED


@given(
    weights=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    lengths=st.lists(st.integers(1, 12), min_size=4, max_size=4),
    priority=PRIORITIES,
)
def test_teams_that_wait_share_by_their_weights_within_one_call_of_each(weights, lengths, priority):
    room = full()
    tickets = []
    for number, (weight, length) in enumerate(zip(weights, lengths, strict=False)):
        tickets += queued(room, *(ticket(f"t{number}", weight, priority) for _ in range(length)))
    order = [one.team for one in served(room, tickets, len(tickets))]
    left = Counter(one.team for one in tickets)
    got = [Counter()]
    for team in order:
        left[team] -= 1
        got.append(got[-1] + Counter([team]))
        backlogged = [number for number in range(len(weights)) if left[f"t{number}"] > 0]
        # Over every interval that ends here and in which two teams waited throughout (their queues only shrink).
        for begin in got:
            for one, two in itertools.combinations(backlogged, 2):
                share = [(got[-1][f"t{i}"] - begin[f"t{i}"]) / weights[i] for i in (one, two)]
                assert abs(share[0] - share[1]) <= 1 / weights[one] + 1 / weights[two] + 1e-9


def test_a_team_that_comes_late_gets_its_turn_before_a_floods_queue_is_served():
    room = full()
    flood = queued(room, *(ticket("flood") for _ in range(100)))
    served(room, flood, 50)
    (late,) = queued(room, ticket("late"))
    order = served(room, (*flood, late), 2)
    assert late in order


@given(st.lists(st.tuples(TEAMS, st.integers(1, 3)), min_size=1, max_size=60))
def test_within_a_team_the_order_is_that_of_arrival(arrivals):
    room = full()
    tickets = queued(room, *(ticket(team, weight) for team, weight in arrivals))
    order = served(room, tickets, len(tickets))
    for team in {one.team for one in tickets}:
        assert [one for one in order if one.team == team] == [one for one in tickets if one.team == team]


def test_the_more_urgent_goes_first_and_no_class_starves():
    room = full()
    tickets = queued(room, *(ticket("t", priority=priority) for priority in Priority for _ in range(60)))
    order = [one.priority for one in served(room, tickets, 60)]
    assert order[:YIELD_AFTER_CALLS_COUNT] == [Priority.INTERACTIVE] * YIELD_AFTER_CALLS_COUNT
    for priority in Priority:
        gaps = [len(list(run)) for same, run in itertools.groupby(order, lambda one: one is priority) if not same]
        assert max(gaps, default=0) <= YIELD_AFTER_CALLS_COUNT + 1
    assert order.count(Priority.INTERACTIVE) > 40


# --- a full room --------------------------------------------------------------------------------------------


def test_a_full_room_takes_the_more_urgent_for_the_newest_of_the_least_urgent():
    room = full(waiting_max=2)
    first, second = queued(room, ticket("t", priority=Priority.BATCH), ticket("t", priority=Priority.BATCH))
    urgent = ticket("t", priority=Priority.INTERACTIVE)
    room.enter(urgent, 0.0)
    assert (first.verdict, second.verdict, urgent.verdict) == (None, Verdict.DISPLACED, None)
    lowly = ticket("other", priority=Priority.BATCH)
    room.enter(lowly, 0.0)
    assert lowly.verdict is Verdict.FULL


@given(st.lists(TEAMS, min_size=20, max_size=60), st.integers(3, 9))
def test_a_team_within_its_share_of_the_room_is_never_refused_nor_displaced_by_others(arrivals, waiting_max):
    room = full(waiting_max=waiting_max)
    kept = []
    for team in [*["flood"] * 30, *arrivals]:
        one = ticket(team)
        room.enter(one, 0.0)
        kept.append(one)
        waiting = Counter(two.team for two in room.tickets())
        assert sum(waiting.values()) <= waiting_max
    teams = len({one.team for one in kept})
    share = waiting_max // teams
    waiting = Counter(one.team for one in room.tickets())
    came = Counter(one.team for one in kept)
    for team, count in came.items():
        assert waiting[team] >= min(count, share), "a flood fills its own share alone"


@pytest.mark.parametrize(("priority", "verdict"), [(Priority.BATCH, Verdict.FULL), (Priority.STANDARD, Verdict.FULL)])
def test_the_less_urgent_never_displaces_the_more_urgent(priority, verdict):
    room = full(waiting_max=1)
    queued(room, ticket("t", priority=Priority.INTERACTIVE))
    one = ticket("other", 100, priority)
    room.enter(one, 0.0)
    assert one.verdict is verdict


# --- deadlines and the rate at which places come free -------------------------------------------------------


def draining(per_second, bound=1, seconds=20):
    """A full room from which so many a second have gone for a while."""
    room = full(bound)
    now = 0.0
    for _ in range(int(per_second * seconds)):
        now += 1 / per_second
        room.leave(now)
        assert room.take(now)
    return room, now


@given(per_second=st.floats(2.0, 200.0), ahead=st.integers(0, 30))
def test_what_a_refusal_tells_is_when_the_call_would_be_served(per_second, ahead):
    room, now = draining(per_second)
    tickets = queued(room, *(ticket("a") for _ in range(ahead)), now=now)
    told = room.seconds(ticket("a"), now)
    (last,) = queued(room, ticket("a"), now=now)
    at = now
    for _ in range(ahead + 1):
        at += 1 / per_second
        room.leave(at)
    assert last.verdict is Verdict.ADMITTED
    assert all(one.verdict is Verdict.ADMITTED for one in tickets)
    assert told == pytest.approx(at - now, rel=0.15, abs=2 / per_second)


def test_a_call_that_cannot_be_served_in_time_is_refused_at_once_and_told_when_it_could():
    room, now = draining(10.0)
    queued(room, *(ticket() for _ in range(20)), now=now)
    hasty, patient = ticket(deadline=now + 1.0), ticket(deadline=now + 5.0)
    room.enter(hasty, now)
    room.enter(patient, now)
    assert (hasty.verdict, patient.verdict) == (Verdict.DEADLINE, None)
    assert hasty.seconds == pytest.approx(2.1, rel=0.1)


def test_the_urgent_are_told_a_shorter_wait_than_those_behind_them():
    room, now = draining(10.0)
    queued(room, *(ticket(f"t{i}") for i in range(20)), now=now)
    seconds = [room.seconds(ticket("new", priority=priority), now) for priority in Priority]
    assert seconds == sorted(seconds)
    assert seconds[0] == pytest.approx(0.1, rel=0.1)


def test_a_server_that_stops_answering_is_not_waited_for_as_if_it_did():
    room, now = draining(100.0)
    before = room.seconds(ticket(), now)
    assert room.seconds(ticket(), now + 20.0) > 50 * before


def test_a_ticket_whose_deadline_has_passed_gets_no_place():
    room = full()
    late, next_one = queued(room, ticket(deadline=1.0), ticket())
    room.leave(2.0)
    assert (late.verdict, next_one.verdict) == (Verdict.EXPIRED, Verdict.ADMITTED)


def test_a_higher_bound_lets_in_who_waits_and_a_lower_one_ends_nobody():
    room = full(2)
    tickets = queued(room, ticket(), ticket(), ticket())
    room.resize(4, 10, 0.0)
    assert [one.verdict for one in tickets] == [Verdict.ADMITTED, Verdict.ADMITTED, None]
    room.resize(1, 10, 0.0)
    room.leave(0.0)
    assert (room.in_flight, tickets[2].verdict) == (3, None)
