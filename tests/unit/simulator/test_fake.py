"""The fake upstream keeps the promises of the port, in no time."""

import asyncio

import pytest

from ostiary.core.error import Code, UpstreamError
from ostiary.gateway.ports import Upstream, UpstreamReply
from ostiary.testing import Behaviour, FakeReply, FakeUpstream, Fault
from ostiary.testing.clock import FakeClock
from ostiary.testing.upstream import CHAT_STREAM, upstream_request


@pytest.fixture
def clock():
    return FakeClock()


def ask(clock, **more):
    return upstream_request(clock, 443, **more)


async def test_it_is_an_upstream(clock):
    upstream: Upstream = FakeUpstream(clock)
    reply: UpstreamReply = await upstream.send(ask(clock))
    assert reply.status == 200
    assert b"simulated answer" in await reply.read(100_000)
    assert await reply.chunk() == b""
    reply.close()


async def test_it_remembers_what_was_sent_and_what_became_of_it(clock):
    upstream = FakeUpstream(clock)
    request = ask(clock, body=CHAT_STREAM)
    reply = await upstream.send(request)
    await reply.chunk()
    reply.close()
    assert upstream.sent == [request]
    assert [isinstance(each, FakeReply) and each.closed for each in upstream.replies] == [True]
    with pytest.raises(UpstreamError):
        await reply.chunk()


async def test_delays_pass_on_the_clock(clock):
    upstream = FakeUpstream(
        clock, Behaviour(first_byte_seconds=1, tokens_per_second=10, tokens=5), advance=clock.advance
    )
    started = clock.monotonic()
    await (await upstream.send(ask(clock, body=CHAT_STREAM))).read(100_000)
    assert clock.monotonic() - started > 1.4


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (Behaviour(fault=Fault.HANG), Code.UPSTREAM_TIMEOUT),
        (Behaviour(first_byte_seconds=60), Code.UPSTREAM_TIMEOUT),
        (Behaviour(tokens_per_second=0.1), Code.UPSTREAM_TIMEOUT),
        (Behaviour(fault=Fault.STALL), Code.UPSTREAM_TIMEOUT),
        (Behaviour(fault=Fault.DROP), Code.UPSTREAM_CUT),
        (Behaviour(fault=Fault.CUT), Code.UPSTREAM_CUT),
        (Behaviour(fault=Fault.RESET), Code.UPSTREAM_CUT),
        (Behaviour(fault=Fault.BOMB), Code.UPSTREAM_PROTOCOL),
        (Behaviour(fault=Fault.INFINITE), Code.UPSTREAM_TOO_LARGE),
    ],
)
async def test_faults_have_the_ports_codes(clock, behaviour, code):
    upstream = FakeUpstream(clock, behaviour, advance=clock.advance)
    with pytest.raises(UpstreamError) as caught:
        await (await upstream.send(ask(clock, body=CHAT_STREAM))).read(100_000)
    assert caught.value.code == code


async def test_errors_and_behaviours_in_turn(clock):
    upstream = FakeUpstream(clock, script=[Behaviour(status=500), Behaviour(status=429)])
    upstream.errors = [UpstreamError(Code.UPSTREAM_UNREACHABLE, "down"), None]
    with pytest.raises(UpstreamError):
        await upstream.send(ask(clock))
    assert [(await upstream.send(ask(clock))).status for _ in range(3)] == [500, 429, 200]


async def test_a_test_can_hold_it_anywhere(clock):
    gate = asyncio.Event()
    places = []

    async def pause(place):
        places.append(place)
        if place == 1:
            await gate.wait()

    upstream = FakeUpstream(clock, pause=pause)
    reply = await upstream.send(ask(clock, body=CHAT_STREAM))
    await reply.chunk()
    task = asyncio.get_running_loop().create_task(reply.chunk())
    await asyncio.sleep(0)
    assert places == [-1, 0, 1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reply.closed
