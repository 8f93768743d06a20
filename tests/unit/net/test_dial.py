import pytest

from ostiary.core.error import Code, UpstreamError
from ostiary.net.client import HttpUpstream
from ostiary.net.dial import interleaved
from ostiary.simulator.hostile import HostilePeer
from ostiary.testing import SimulatedProvider
from ostiary.testing.upstream import upstream_request


@pytest.mark.parametrize(
    ("given", "tried"),
    [
        (["1.1.1.1"], ["1.1.1.1"]),
        (["::1", "::2", "1.1.1.1"], ["::1", "1.1.1.1", "::2"]),
        (["1.1.1.1", "2.2.2.2", "::1", "::2"], ["1.1.1.1", "::1", "2.2.2.2", "::2"]),
    ],
)
def test_families_take_turns_and_the_first_stays_first(given, tried):
    assert interleaved(given) == tried


async def test_every_address_is_tried_in_order(clock):
    async with SimulatedProvider(host="127.0.0.3") as provider:
        client = HttpUpstream(clock, lookup=lambda host, port: ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        reply = await client.send(upstream_request(clock, provider.port, host="provider.test"))
        assert b"simulated" in await reply.read(100_000)
        await client.aclose()


async def test_the_reason_names_no_address(client, clock):
    async with HostilePeer([]) as peer:
        port = peer.port
    with pytest.raises(UpstreamError) as caught:
        await client.send(upstream_request(clock, port))
    assert caught.value.code == Code.UPSTREAM_UNREACHABLE
    assert caught.value.message == "The provider could not be reached: connection refused."


async def test_ipv6(client, clock):
    async with SimulatedProvider(host="::1") as provider:
        reply = await client.send(upstream_request(clock, provider.port, host="::1"))
        assert b"simulated" in await reply.read(100_000)
        host = dict(provider.requests[0].request.headers)[b"host"]
        assert host == b"[::1]:%d" % provider.port
        await client.aclose()
