import asyncio

import pytest

from ostiary.core import limit
from ostiary.core.error import Code, GatewayError, UpstreamError
from ostiary.core.http import Origin
from ostiary.net.head import HeadEncoder
from ostiary.net.pool import Pool


class FakeConnection:
    """Stands in for a Connection: closes at once, and tells its pool in the next turn of the loop, as sockets do."""

    def __init__(self, pool, loop):
        self._pool = pool
        self._loop = loop
        self.born = loop.time()
        self.idle_since = 0.0
        self.closed = False
        self.good = True

    def usable(self):
        return self.good and not self.closed

    def close(self):
        if not self.closed:
            self.closed = True
            self._loop.call_soon(self._pool.lost, self)

    abort = close


class Peer:
    def __init__(self):
        self.made = []
        self.error = None
        self.gate = None
        self.emptied = 0

    async def dial(self, pool, until):
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        connection = FakeConnection(pool, asyncio.get_running_loop())
        self.made.append(connection)
        return connection

    def empty(self):
        self.emptied += 1


@pytest.fixture
def peer():
    return Peer()


@pytest.fixture
async def pool(peer):
    pool = Pool(HeadEncoder(Origin("http", "a.test", 80)), peer.dial, peer.empty, 2)
    yield pool
    pool.abort()
    await turns()
    assert pool.unused


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


def soon():
    return asyncio.get_running_loop().time() + 5


async def test_the_last_used_is_used_next(pool, peer):
    first, second = await pool.connection(soon()), await pool.connection(soon())
    pool.idle(first)
    pool.idle(second)
    assert await pool.connection(soon()) is second
    assert pool.take() is first
    assert pool.take() is None


async def test_an_unusable_idle_one_is_closed_and_another_made(pool, peer):
    first = await pool.connection(soon())
    pool.idle(first)
    first.good = False
    second = await pool.connection(soon())
    assert second is not first
    assert first.closed


async def test_beyond_the_bound_one_waits_in_turn(pool, peer):
    loop = asyncio.get_running_loop()
    held = [await pool.connection(soon()) for _ in range(2)]
    waiting = [loop.create_task(pool.connection(soon())) for _ in range(2)]
    await turns()
    assert not any(task.done() for task in waiting)
    pool.idle(held[0])
    assert await waiting[0] is held[0]
    held[1].close()
    assert await waiting[1] is peer.made[2]
    assert pool.open_count == 2


async def test_waiting_ends_with_overloaded(pool):
    for _ in range(2):
        await pool.connection(soon())
    with pytest.raises(GatewayError) as caught:
        await pool.connection(asyncio.get_running_loop().time() + 0.01)
    assert caught.value.code == Code.GATEWAY_OVERLOADED
    assert caught.value.retry_after_seconds


async def test_the_number_that_wait_is_bounded(pool, monkeypatch):
    monkeypatch.setattr(limit, "CONNECTION_WAITERS_MAX", 1)
    for _ in range(2):
        await pool.connection(soon())
    task = asyncio.get_running_loop().create_task(pool.connection(soon()))
    await turns()
    with pytest.raises(GatewayError):
        await pool.connection(soon())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("kept", [True, False], ids=["a kept connection", "a free place"])
async def test_what_is_given_to_one_who_is_cancelled_in_that_moment_is_not_lost(pool, peer, kept):
    loop = asyncio.get_running_loop()
    held = [await pool.connection(soon()) for _ in range(2)]
    task = loop.create_task(pool.connection(soon()))
    await turns()
    if kept:
        pool.idle(held[0])
    else:
        pool.lost(held[0])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await pool.connection(soon()) in (held[0], *peer.made[2:])


async def test_a_dial_that_fails_gives_its_place_back(pool, peer):
    peer.error = UpstreamError(Code.UPSTREAM_UNREACHABLE, "no")
    for _ in range(5):
        with pytest.raises(UpstreamError):
            await pool.connection(soon())
    peer.error = None
    assert await pool.connection(soon())


async def test_a_dial_that_is_cancelled_gives_its_place_back(pool, peer):
    peer.gate = asyncio.Event()
    for _ in range(5):
        task = asyncio.get_running_loop().create_task(pool.connection(soon()))
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    peer.gate = None
    assert await pool.connection(soon())


async def test_a_fresh_one_is_new_even_if_others_are_idle_and_all_places_taken(pool, peer):
    held = [await pool.connection(soon()) for _ in range(2)]
    for connection in held:
        pool.idle(connection)
    assert await pool.connection(soon(), fresh=True) is peer.made[2]
    assert pool.open_count == 2


async def test_a_kept_one_given_to_one_who_wants_a_fresh_one_is_replaced(pool, peer):
    held = [await pool.connection(soon()) for _ in range(2)]
    task = asyncio.get_running_loop().create_task(pool.connection(soon(), fresh=True))
    await turns()
    pool.idle(held[0])
    assert await task is peer.made[2]
    assert held[0].closed


async def test_idle_ones_are_bounded_the_oldest_goes(pool, peer, monkeypatch):
    monkeypatch.setattr(limit, "IDLE_CONNECTIONS_PER_DESTINATION_MAX", 1)
    first, second = await pool.connection(soon()), await pool.connection(soon())
    pool.idle(first)
    pool.idle(second)
    assert (first.closed, second.closed) == (True, False)


async def test_idle_ones_are_closed_in_time_without_polling(pool, peer, monkeypatch):
    monkeypatch.setattr(limit, "IDLE_CONNECTION_SECONDS_MAX", 0.02)
    connection = await pool.connection(soon())
    pool.idle(connection)
    async with asyncio.timeout(5):
        while pool.open_count:
            await asyncio.sleep(0.005)
    assert connection.closed
    assert pool._timer is None
    assert peer.emptied


async def test_one_too_old_is_not_kept(pool, peer):
    connection = await pool.connection(soon())
    connection.born -= limit.CONNECTION_AGE_SECONDS_MAX + 1
    pool.idle(connection)
    assert connection.closed
    assert pool.idle_count == 0


async def test_one_that_closes_while_idle_leaves(pool, peer):
    connection = await pool.connection(soon())
    pool.idle(connection)
    connection.close()
    await turns()
    assert (pool.idle_count, pool.open_count) == (0, 0)
    assert pool.take() is None


async def test_one_that_is_lost_before_it_is_handed_out_costs_no_place(pool, peer):
    async def dial(pool, until):
        connection = FakeConnection(pool, asyncio.get_running_loop())
        connection.closed = True
        pool.lost(connection)
        return connection

    pool._dial = dial
    for _ in range(5):
        with pytest.raises(UpstreamError):
            await pool.connection(soon())
    assert pool.unused


async def test_closing_refuses_who_waits_and_who_comes(pool, peer):
    loop = asyncio.get_running_loop()
    held = [await pool.connection(soon()) for _ in range(2)]
    waiting = loop.create_task(pool.connection(soon()))
    await turns()
    pool.close()
    with pytest.raises(GatewayError) as caught:
        await waiting
    assert caught.value.code == Code.GATEWAY_DRAINING
    pool.idle(held[0])
    assert held[0].closed
    assert not held[1].closed
