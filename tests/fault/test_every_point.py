"""A call in which the n-th thing it does with the world goes wrong, for every n.

Every port call of an exchange is a point: appending, waiting for the device, sending, reading, writing. At each of
them in turn the call meets a fault of the port's own kind, a fault nobody foresaw, the client going away, or the end
of this gateway's grace, either before the point took effect or after. Whatever happens, money, records and open
resources are right afterwards.
"""

import asyncio
import itertools

import pytest

from ostiary.core.error import Code, GatewayError, UpstreamError
from ostiary.core.event import Kind, Outcome
from tests.exchange.harness import House, RecordingSink

_POINTS_MAX = 200


class Points:
    """Counts the points of a call, and makes the chosen one go wrong."""

    def __init__(self, chosen, fault, *, applied):
        self.chosen = chosen
        self.fault = fault
        self.applied = applied
        self.passed = 0
        self.sink = None
        self.hit = ""

    def reach(self, what, error):
        """At a point that is a plain call."""
        self.passed += 1
        if self.passed - 1 != self.chosen:
            return
        self.hit = what
        if self.fault == "port":
            raise error
        if self.fault == "unforeseen":
            raise RuntimeError("nobody thought of this")
        if self.fault == "gone":
            self.sink.gone = True
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def around(self, what, error, act):
        """At a point that awaits."""
        if not self.applied:
            self.reach(what, error)
            await asyncio.sleep(0)
            return await act()
        result = await act()
        self.reach(what, error)
        await asyncio.sleep(0)
        return result


class FaultySink(RecordingSink):
    """A sink whose writes are points. A client that is gone gets nothing more."""

    def __init__(self, journal, points):
        super().__init__(journal)
        self.points = points
        points.sink = self

    def answer(self, status, headers, body):
        if not self.gone:
            super().answer(status, headers, body)

    def end(self):
        if not self.gone:
            super().end()

    async def write(self, data):
        async def act():
            if not self.gone:
                super(FaultySink, self).write(data)

        # A sink has no faults of its own: a client that cannot be written to is gone.
        if self.points.fault in ("port", "unforeseen"):
            await act()
        else:
            await self.points.around("write", None, act)


def instrument(house, points):
    """Make every port of the house go through the points."""
    journal, upstream = house.journal, house.upstream
    unavailable = GatewayError(Code.AUDIT_UNAVAILABLE, "The journal cannot be written.")
    cut = UpstreamError(Code.UPSTREAM_CUT, "The provider's answer ended early.")
    append, synced, send = journal.append, journal.synced, upstream.send

    def faulty_append(kind, payload, closes=None):
        # A journal that raised has written nothing that will be read: only `before` exists.
        if points.fault in ("port", "unforeseen"):
            points.reach(f"append {kind}", unavailable)
            return append(kind, payload, closes)
        receipt = append(kind, payload, closes)
        points.reach(f"append {kind}", unavailable)
        return receipt

    async def faulty_synced(receipt):
        await points.around("synced", unavailable, lambda: synced(receipt))

    async def faulty_send(request):
        async def act():
            return await send(request)

        sent = len(upstream.replies)
        try:
            reply = await points.around("send", cut, act)
        except BaseException:
            # The port's promise: who gets no reply has none to close.
            for lost in upstream.replies[sent:]:
                lost.close()
            raise
        chunk = reply.chunk
        reply.chunk = lambda: points.around("chunk", cut, chunk)
        return reply

    journal.append, journal.synced, upstream.send = faulty_append, faulty_synced, faulty_send


CALLS = {
    "plain, same dialect": ("chat", "pair", {}),
    "stream, same dialect": ("chat", "pair", {"stream": True}),
    "plain, across": ("chat", "claude", {}),
    "stream, across": ("chat", "claude", {"stream": True}),
    "anthropic plain, across": ("message", "pair", {}),
    "anthropic stream, across": ("message", "pair", {"stream": True}),
}


async def run_once(call, chosen, fault, *, applied, durability):
    verb, model, fields = CALLS[call]
    points = Points(chosen, fault, applied=applied)
    house = House(durability=durability)
    sink = FaultySink(house.journal, points)
    instrument(house, points)
    task = asyncio.ensure_future(getattr(house, verb)(model, sink=sink, **fields))
    await asyncio.wait([task])
    return house, sink, points, task


def judge(house, sink, points, task):
    """What holds after any call, however it went."""
    world = house.world
    assert world.holds.open_count == 0
    assert world.holds.reserved_nano == 0
    assert world.open_calls == 0
    assert world.open_streams == 0
    assert all(reply.closed or reply.ended for reply in house.upstream.replies)
    records = [*house.journal.records, *house.journal.deferred]
    opened = [index for index, (kind, _) in enumerate(house.journal.records) if kind is Kind.OPENED]
    closed = [one for kind, one in records if kind is Kind.CLOSED]
    denied = [one for kind, one in records if kind is Kind.DENIED]
    assert sorted(one.opened for one in closed) == opened, "every opening record has exactly one closing one"
    assert all(one.opened == -1 for one in denied), "what was opened is closed, not denied"
    assert all(one.outcome is Outcome.DENIED for one in denied)
    if house.upstream.sent:
        assert len(opened) == 1, "nothing went out without a record"
    spent = sum(one.cost.nano for one in closed if one.cost is not None)
    assert world.holds.settled_nano == spent, "what was settled is what was recorded"
    if not task.cancelled():
        assert task.exception() is None
    if not sink.gone and not task.cancelled():
        assert sink.ended, "a client that is there is answered"
    whole = not sink.streamed or b"[DONE]" in sink.body or b"message_stop" in sink.body
    if sink.ended and sink.status == 200 and whole:
        assert [one.outcome for one in closed] == [Outcome.SUCCEEDED], "what was told as done is recorded as done"


@pytest.mark.parametrize("durability", ["process", "disk"])
@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", ["port", "unforeseen", "gone", "drained"])
@pytest.mark.parametrize("call", CALLS)
async def test_the_nth_point_goes_wrong_for_every_n(call, fault, applied, durability):
    for chosen in itertools.count():
        house, sink, points, task = await run_once(call, chosen, fault, applied=applied, durability=durability)
        try:
            judge(house, sink, points, task)
        except AssertionError as error:
            raise AssertionError(f"point {chosen}, {points.hit}: {error}") from error
        if not points.hit:
            break
        assert chosen < _POINTS_MAX
    assert chosen >= 4, "the points are the call's own"
