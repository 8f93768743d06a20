import asyncio
import socket
import threading

import pytest

from ostiary.core import limit
from ostiary.core.error import Code, UpstreamError
from ostiary.net.resolver import Resolver, system_lookup


class Names:
    """A name server that can be told to answer, fail or hang."""

    def __init__(self):
        self.calls = 0
        self.addresses = ["192.0.2.1"]
        self.error = None
        self.gate = None

    def __call__(self, host, port):
        self.calls += 1
        if self.gate is not None:
            assert self.gate.wait(5)
        if self.error is not None:
            raise self.error
        return self.addresses


@pytest.fixture
def names():
    return Names()


@pytest.fixture
def resolver(clock, names):
    return Resolver(clock, names)


async def test_a_literal_is_not_looked_up(resolver, names):
    assert await resolver.resolve("127.0.0.1", 80) == ("127.0.0.1",)
    assert await resolver.resolve("::1", 80) == ("::1",)
    assert names.calls == 0


@pytest.mark.parametrize("literal", ["169.254.169.254", "0.0.0.0", "::ffff:169.254.169.254"])
async def test_a_literal_is_vetted(resolver, literal):
    with pytest.raises(UpstreamError) as caught:
        await resolver.resolve(literal, 80)
    assert caught.value.code == Code.UPSTREAM_UNREACHABLE


async def test_an_answer_holds_for_its_time(resolver, names, clock):
    for _ in range(3):
        assert await resolver.resolve("a.test", 443) == ("192.0.2.1",)
        clock.advance(limit.DNS_TTL_SECONDS / 4)
    assert names.calls == 1
    names.addresses = ["192.0.2.2"]
    clock.advance(limit.DNS_TTL_SECONDS)
    assert await resolver.resolve("a.test", 443) == ("192.0.2.2",)


async def test_refused_addresses_among_allowed_ones_are_left_out(resolver, names):
    names.addresses = ["169.254.169.254", "192.0.2.1", "garbage"]
    assert await resolver.resolve("a.test", 443) == ("192.0.2.1",)


async def test_the_number_of_addresses_is_bounded(resolver, names):
    names.addresses = [f"10.0.0.{place}" for place in range(200)]
    assert len(await resolver.resolve("a.test", 443)) == limit.DNS_ADDRESSES_MAX


async def test_many_callers_share_one_lookup_and_one_may_leave(resolver, names):
    names.gate = threading.Event()
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(resolver.resolve("a.test", 443)) for _ in range(10)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    names.gate.set()
    assert await asyncio.gather(*tasks[1:]) == [("192.0.2.1",)] * 9
    assert names.calls == 1
    assert tasks[0].cancelled()


async def test_a_failure_is_answered_from_the_last_good_for_a_bounded_time(resolver, names, clock):
    await resolver.resolve("a.test", 443)
    names.error = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    clock.advance(limit.DNS_TTL_SECONDS)
    assert await resolver.resolve("a.test", 443) == ("192.0.2.1",)
    clock.advance(limit.DNS_STALE_SECONDS_MAX)
    with pytest.raises(UpstreamError) as caught:
        await resolver.resolve("a.test", 443)
    assert "temporary failure" in caught.value.message


async def test_a_failing_name_server_is_not_asked_for_every_request(resolver, names, clock):
    names.error = OSError("down")
    for _ in range(5):
        with pytest.raises(UpstreamError):
            await resolver.resolve("a.test", 443)
    assert names.calls == 1
    clock.advance(limit.DNS_FAILURE_SECONDS)
    names.error = None
    assert await resolver.resolve("a.test", 443) == ("192.0.2.1",)


async def test_a_hanging_lookup_is_waited_for_only_so_long_and_never_doubled(resolver, names, clock, monkeypatch):
    monkeypatch.setattr(limit, "DNS_SECONDS_MAX", 0.03)
    names.gate = threading.Event()
    for _ in range(3):
        with pytest.raises(UpstreamError) as caught:
            await resolver.resolve("a.test", 443)
        assert caught.value.code == Code.UPSTREAM_UNREACHABLE
        clock.advance(limit.DNS_FAILURE_SECONDS)
    assert names.calls == 1
    names.gate.set()
    monkeypatch.setattr(limit, "DNS_SECONDS_MAX", 5.0)
    assert await resolver.resolve("a.test", 443) == ("192.0.2.1",)


async def test_a_label_that_cannot_be_encoded_is_a_failure(clock):
    with pytest.raises(UpstreamError):
        await Resolver(clock, system_lookup).resolve("a" * 300 + ".test", 443)


async def test_no_address_is_a_failure(resolver, names):
    names.addresses = []
    with pytest.raises(UpstreamError):
        await resolver.resolve("a.test", 443)


def test_the_system_knows_localhost():
    assert set(system_lookup("localhost", 80)) <= {"127.0.0.1", "::1"}
