"""A call that is ended from outside gives back what it holds, whenever that happens."""

import asyncio

import pytest

from ostiary.bootstrap.system import SystemClock
from ostiary.gateway.ports import SHED
from ostiary.serving import DRAINING
from ostiary.serving.connection import Connection
from ostiary.serving.server import Server
from tests.unit.serving.harness import Echo, request
from tests.unit.serving.test_known_head import Wire


@pytest.mark.parametrize("turns", range(3))
@pytest.mark.parametrize("why", [DRAINING, SHED])
async def test_a_call_ended_in_the_turn_in_which_it_came_or_later_leaves_nothing_counted(why, turns):
    """A timer may run between the turn that reads a request and the one that begins to handle it."""
    echo = Echo()
    server = Server(echo, SystemClock(), asyncio.get_running_loop())
    server.date_line = b"date: now"
    wire, one = Wire(), Connection(server)
    one.connection_made(wire)
    one.data_received(request(path=b"/hang", body=b"hello", close=False))
    assert (server.busy, server.body_bytes) == (1, 5)
    for _ in range(turns):
        await asyncio.sleep(0)
    one.cancel(why)
    async with asyncio.timeout(5):
        await echo.cancelled.wait()
    await asyncio.sleep(0)
    assert (server.busy, server.body_bytes, one.idle, wire.ended) == (0, 0, True, True)
    one.connection_lost(None)
