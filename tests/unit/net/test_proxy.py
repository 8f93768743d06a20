import asyncio
import ssl

import pytest
import trustme

from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Origin
from ostiary.core.secret import Secret
from ostiary.net import proxy
from ostiary.net.client import HttpUpstream
from ostiary.simulator.hostile import End, Forever, HostilePeer, Read
from ostiary.snapshot.tables import TlsRow
from ostiary.testing import SimulatedProvider
from ostiary.testing.upstream import upstream_request


class Tunnel:
    """A CONNECT proxy that connects where it likes."""

    def __init__(self, port):
        self._target = port
        self.heads = []
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.origin = Origin("http", "127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._target)
        writer.write(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")
        try:
            await asyncio.gather(self._pump(reader, upstream_writer), self._pump(upstream_reader, writer))
        except asyncio.CancelledError:
            pass
        finally:
            upstream_writer.transport.abort()
            writer.transport.abort()

    async def _pump(self, reader, writer):
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()


@pytest.fixture
def secured(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("provider.test").configure_cert(context)
    return context, TlsRow(str(tmp_path / "ca.pem"))


async def test_tls_goes_through_the_tunnel_to_a_name_only_the_proxy_resolves(clock, secured):
    context, row = secured
    client = HttpUpstream(clock, proxy_credential=lambda origin: Secret("user:pass"))
    async with SimulatedProvider(tls=context) as provider, Tunnel(provider.port) as tunnel:
        for _ in range(2):
            request = upstream_request(clock, 443, scheme="https", host="provider.test", tls=row, proxy=tunnel.origin)
            assert b"simulated" in await (await client.send(request)).read(100_000)
        (head,) = tunnel.heads
        assert head == (
            b"CONNECT provider.test:443 HTTP/1.1\r\nhost: provider.test:443\r\n"
            b"proxy-authorization: Basic dXNlcjpwYXNz\r\n\r\n"
        )
        assert b"proxy-authorization" not in dict(provider.requests[0].request.headers)
        await client.aclose()


async def test_plain_http_goes_through_a_tunnel_too(client, clock):
    async with SimulatedProvider() as provider, Tunnel(provider.port) as tunnel:
        request = upstream_request(clock, 80, host="provider.test", proxy=tunnel.origin)
        assert b"simulated" in await (await client.send(request)).read(100_000)
        await client.aclose()


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([b"HTTP/1.1 403 No\r\n\r\n"], "403"),
        ([b"HTTP/1.1 407 No\r\n\r\n"], "credential"),
        ([b"SSH-2.0\r\n\r\n"], "not answer in HTTP"),
        ([b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"], "more than its answer"),
        ([End.CLOSE], "closed"),
        ([End.RESET], "failed"),
        ([Forever(b"x" * 1000)], "too long"),
    ],
)
async def test_a_proxy_that_gives_no_tunnel_is_named(client, clock, steps, text):
    async with HostilePeer([Read(), *steps]) as peer:
        request = upstream_request(clock, 443, host="provider.test", proxy=Origin("http", "127.0.0.1", peer.port))
        with pytest.raises(UpstreamError) as caught:
            await client.send(request)
        assert caught.value.code == Code.UPSTREAM_UNREACHABLE
        assert text in caught.value.message
        assert client.open_count == 0


async def test_a_proxy_that_hangs_ends_with_the_connect_timeout(client, clock):
    async with HostilePeer([Read()]) as peer:
        origin = Origin("http", "127.0.0.1", peer.port)
        with pytest.raises(UpstreamError) as caught:
            await client.send(upstream_request(clock, 443, host="a.test", proxy=origin, connect_seconds=0.05))
        assert caught.value.code == Code.UPSTREAM_TIMEOUT
        await asyncio.wait_for(peer.gone.wait(), 5)


async def test_a_metadata_address_is_refused_through_a_proxy_too(client, clock):
    async with HostilePeer([]) as peer:
        request = upstream_request(clock, 80, host="169.254.169.254", proxy=Origin("http", "127.0.0.1", peer.port))
        with pytest.raises(UpstreamError):
            await client.send(request)
        assert peer.connections == 0


async def test_a_proxy_behind_tls_is_refused(client, clock):
    with pytest.raises(UpstreamError):
        await client.send(upstream_request(clock, 80, host="a.test", proxy=Origin("https", "127.0.0.1", 1)))


def test_an_ipv6_target_is_bracketed():
    assert proxy.request(Origin("https", "::1", 443), None) == b"CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\n\r\n"


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200\r\n\r\n", b"HTTP/1.1 204 x\r\n\r\n"])
def test_every_success_is_a_tunnel(head):
    assert proxy.refusal(head) is None


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 2000 x", b"HTTP/1.1 +20 x", b"HTTP/2.0 200 x", b"HTTP/1.1  200"])
def test_what_is_no_status_line_is_none(head):
    assert proxy.refusal(head) is not None
