"""Who goes on, who waits and who is refused: a bound on calls in flight, and a bounded room where calls wait for a place.

Pure: times are handed in, and who waits is told by its ticket. What holds, each tested as a property:

* a place is never free while somebody waits (work conserving), and never more are taken than there are;
* the more urgent class goes first, but each class that waits gets at least one of every YIELD_AFTER_CALLS_COUNT + 2 places;
* within a class teams share places by their weights: start-time fair queueing, so that over any time in which two teams
  wait, what they got, divided by their weights, differs by no more than one call of each (Goyal, Vin and Cheng, 1996);
* a full room takes a call in at the expense of the newest one of a less urgent class, or of the team that holds more of
  the room for its weight: a flood fills its own share;
* who could not be served before its deadline, as fast as places come free, is refused at once and told when it could.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from math import ceil
from typing import Final

from ostiary.core.limit import YIELD_AFTER_CALLS_COUNT
from ostiary.core.principal import Priority
from ostiary.gateway.admit.drain import Drain


class Verdict(StrEnum):
    """What became of a ticket: ADMITTED, or why it was refused."""

    ADMITTED = "admitted"
    FULL = "full"
    DEADLINE = "deadline"
    DISPLACED = "displaced"
    EXPIRED = "expired"


class Ticket:
    """A call that waits. `team` and `weight` say who shares with whom; `deadline` is monotonic seconds. Once decided,
    `verdict` stands, and `seconds` says when a refused one might have been served."""

    __slots__ = ("deadline", "priority", "seconds", "team", "verdict", "weight")

    def __init__(self, team: str, weight: int, priority: Priority, deadline: float) -> None:
        self.team = team
        self.weight = weight
        self.priority = priority
        self.deadline = deadline
        self.verdict: Verdict | None = None
        self.seconds = 0.0

    @property
    def waits(self) -> bool:
        """Whether it is not decided yet."""
        return self.verdict is None

    def decide(self, verdict: Verdict, seconds: float = 0.0) -> None:
        """Told once."""
        self.verdict = verdict
        self.seconds = seconds


class _Team:
    """The calls of one team in one class, in order, and the virtual time at which the first of them begins."""

    __slots__ = ("finish", "start", "tickets", "weight")

    def __init__(self) -> None:
        self.tickets: deque[Ticket] = deque()
        self.weight = 1
        self.start = 0.0
        self.finish = 0.0


class _Lane:
    """One class: its teams, by start-time fair queueing with calls of one length."""

    __slots__ = ("_heap", "_number", "_virtual", "count", "passed", "teams")

    def __init__(self) -> None:
        self.teams: dict[str, _Team] = {}
        self.count = 0
        self.passed = 0
        """How many places went to more urgent classes since this one, which waits, got its last."""

        self._heap: list[tuple[float, int, _Team]] = []
        self._virtual = 0.0
        self._number = 0

    def push(self, ticket: Ticket) -> None:
        team = self.teams.get(ticket.team)
        if team is None:
            team = self.teams[ticket.team] = _Team()
        team.weight = ticket.weight
        team.tickets.append(ticket)
        self.count += 1
        if len(team.tickets) == 1:
            team.start = max(self._virtual, team.finish)
            self._line_up(team)

    def pop(self) -> Ticket:
        """The next one; there must be one."""
        while True:
            start, _, team = heapq.heappop(self._heap)
            if team.tickets and team.start == start:
                break
        ticket = team.tickets.popleft()
        self._virtual = start
        team.finish = start + 1.0 / team.weight
        if team.tickets:
            team.start = team.finish
            self._line_up(team)
        self._gone()
        return ticket

    def remove(self, ticket: Ticket) -> bool:
        team = self.teams.get(ticket.team)
        if team is None or ticket not in team.tickets:
            return False
        team.tickets.remove(ticket)
        self._gone()
        return True

    def ahead(self, ticket: Ticket) -> int:
        """How many calls of this class would go before a new one of a team."""
        own = self.teams.get(ticket.team)
        turn = len(own.tickets) if own is not None else 0
        found = turn
        for name, team in self.teams.items():
            if name != ticket.team and team.tickets:
                found += min(len(team.tickets), ceil((turn + 1) * team.weight / ticket.weight))
        return found

    def greediest(self) -> _Team:
        """The team that holds most for its weight; there must be one."""
        return max(self.teams.values(), key=lambda team: len(team.tickets) / team.weight)

    def _line_up(self, team: _Team) -> None:
        self._number += 1
        heapq.heappush(self._heap, (team.start, self._number, team))

    def _gone(self) -> None:
        self.count -= 1
        if not self.count:
            # Nobody waits: nobody owes anybody anything, and nothing is remembered.
            self.teams.clear()
            self._heap.clear()
            self._virtual, self.passed = 0.0, 0


class Room:
    """`bound` places, and at most `waiting_max` tickets that wait for one."""

    def __init__(self, bound: int, waiting_max: int) -> None:
        self.bound = bound
        self.waiting_max = waiting_max
        self.in_flight = 0
        self.waiting = 0
        self._lanes = {priority: _Lane() for priority in Priority}
        self._drain = Drain()

    @property
    def free(self) -> bool:
        """Whether a call would get a place at once."""
        return self.in_flight < self.bound and not self.waiting

    def take(self, now: float) -> bool:
        """A place at once, where there is one and nobody waits for it."""
        in_flight, bound = self.in_flight + 1, self.bound
        if in_flight > bound or self.waiting:
            return False
        self.in_flight = in_flight
        if in_flight == bound:
            self._drain.full(now, full=True)
        return True

    def enter(self, ticket: Ticket, now: float) -> None:
        """Decide a ticket, or let it wait."""
        if self.take(now):
            ticket.decide(Verdict.ADMITTED)
            return
        refusal = self.foresee(ticket, now)
        if refusal is not None:
            ticket.decide(*refusal)
            return
        if self.waiting >= self.waiting_max:
            victim = self._victim(ticket)
            assert victim is not None  # or it would have been refused
            self._lanes[victim.priority].remove(victim)
            self.waiting -= 1
            victim.decide(Verdict.DISPLACED, self.seconds(victim, now))
        self._lanes[ticket.priority].push(ticket)
        self.waiting += 1

    def foresee(self, ticket: Ticket, now: float) -> tuple[Verdict, float] | None:
        """Why a ticket would be refused now, and when it might be served; None where it would not be."""
        if self.in_flight < self.bound and not self.waiting:
            return None
        seconds = self.seconds(ticket, now)
        if now + seconds >= ticket.deadline:
            return Verdict.DEADLINE, seconds
        if self.waiting >= self.waiting_max and self._victim(ticket) is None:
            return Verdict.FULL, seconds
        return None

    def leave(self, now: float) -> None:
        """Give a place back; whoever is next has it."""
        if self.in_flight < self.bound and not self.waiting:
            self.in_flight -= 1
            return
        self._drain.left(now)
        self.in_flight -= 1
        self._admit(now)

    def withdraw(self, ticket: Ticket) -> bool:
        """Take a ticket out that waits; False where it does not."""
        if ticket.verdict is None and self._lanes[ticket.priority].remove(ticket):
            self.waiting -= 1
            return True
        return False

    def expire(self, ticket: Ticket, now: float) -> None:
        """The deadline of a ticket has come."""
        if self.withdraw(ticket):
            ticket.decide(Verdict.EXPIRED, self.seconds(ticket, now))

    def resize(self, bound: int, waiting_max: int, now: float) -> None:
        """Other bounds. What is in flight or waits beyond them stays until it goes by itself."""
        self.bound = bound
        self.waiting_max = waiting_max
        self._admit(now)

    def seconds(self, ticket: Ticket, now: float) -> float:
        """When a new ticket of this kind might be served, as fast as places come free; 0.0 where nothing is known."""
        rate = self._drain.per_second(now)
        if rate is None:
            return 0.0
        ahead = after = 0
        before = True
        for priority, lane in self._lanes.items():
            if priority is ticket.priority:
                ahead += lane.ahead(ticket)
                before = False
            elif before:
                ahead += lane.count
            else:
                after += lane.count
        ahead += min(after, ahead // YIELD_AFTER_CALLS_COUNT)
        return (ahead + 1) / rate

    def _admit(self, now: float) -> None:
        while self.waiting and self.in_flight < self.bound:
            ticket = self._turn().pop()
            self.waiting -= 1
            if ticket.deadline <= now:
                ticket.decide(Verdict.EXPIRED, self.seconds(ticket, now))
                continue
            self.in_flight += 1
            ticket.decide(Verdict.ADMITTED)
        self._drain.full(now, full=self.in_flight >= self.bound)

    def _turn(self) -> _Lane:
        """The class whose turn it is: the most urgent that waits, or one that was passed over often enough."""
        waiting = [lane for lane in self._lanes.values() if lane.count]
        chosen = waiting[0]
        for lane in waiting[1:]:
            if lane.passed >= YIELD_AFTER_CALLS_COUNT and lane.passed > chosen.passed:
                chosen = lane
        for lane in waiting[waiting.index(chosen) + 1 :]:
            lane.passed += 1
        chosen.passed = 0
        return chosen

    def _victim(self, ticket: Ticket) -> Ticket | None:
        """Who has to go for a ticket where the room is full: None where it is that ticket itself."""
        for priority in _LEAST_URGENT_FIRST:
            lane = self._lanes[priority]
            if priority is not ticket.priority:
                if lane.count:
                    return lane.greediest().tickets[-1]
                continue
            if not lane.count:
                break
            greedy = lane.greediest()
            own = lane.teams.get(ticket.team)
            held = (1 + (len(own.tickets) if own is not None else 0)) / ticket.weight
            return greedy.tickets[-1] if len(greedy.tickets) / greedy.weight > held else None
        return None

    def tickets(self) -> Iterator[Ticket]:
        """All that wait."""
        for lane in self._lanes.values():
            for team in lane.teams.values():
                yield from team.tickets


_LEAST_URGENT_FIRST: Final = tuple(reversed(Priority))
