"""What happens to a request when the provider, the network or the name server fails: FD-01..03 and FD-10..15 for the
client itself. Fallback is the exchange's business; here it matters that the failure is named, prompt and clean."""

import asyncio
import contextlib
import datetime
import os
import socket
import ssl
import threading

import pytest
import trustme

from ostiary.core import limit
from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Origin
from ostiary.net.client import HttpUpstream
from ostiary.simulator.hostile import End, HostilePeer, Read, Wait
from ostiary.snapshot.tables import TlsRow
from ostiary.testing import Behaviour, Fault, SimulatedProvider
from ostiary.testing.clock import FakeClock
from ostiary.testing.upstream import CHAT_STREAM, upstream_request

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def client(clock):
    upstream = HttpUpstream(clock)
    yield upstream
    await upstream.aclose()


async def failed(client, request) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        reply = await client.send(request)
        while await reply.chunk():
            pass
    assert client.open_count == client.idle_count == 0
    return caught.value


async def read(client, request) -> bytes:
    return await (await client.send(request)).read(1_000_000)


def black_hole() -> socket.socket:
    """A listener whose backlog is full: the kernel drops further SYNs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    return listener


# --- FD-01..03 --------------------------------------------------------------------------------------------


async def test_fd01_a_refused_connection_fails_at_once(client, clock):
    async with HostilePeer([]) as peer:
        port = peer.port
    started = asyncio.get_running_loop().time()
    error = await failed(client, upstream_request(clock, port))
    assert error.code == Code.UPSTREAM_UNREACHABLE
    assert "refused" in error.message
    assert asyncio.get_running_loop().time() - started < 0.5


async def test_fd02_a_black_hole_ends_with_the_connect_timeout(client, clock):
    with black_hole() as listener, socket.socket() as filler, socket.socket() as second:
        port = listener.getsockname()[1]
        for sock in (filler, second):
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        started = asyncio.get_running_loop().time()
        error = await failed(client, upstream_request(clock, port, connect_seconds=0.1))
        assert error.code == Code.UPSTREAM_TIMEOUT
        assert asyncio.get_running_loop().time() - started < 1.0


async def test_fd02_a_black_hole_in_front_leaves_time_for_the_next_address(clock):
    """::1 is refused or absent, 127.0.0.1 swallows, 127.0.0.2 answers: all within one connect phase."""
    with socket.socket() as listener, socket.socket() as filler, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        async with SimulatedProvider(host="127.0.0.2", port=listener.getsockname()[1]) as provider:
            for sock in (filler, second):
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", provider.port))
            client = HttpUpstream(clock, lookup=lambda host, port: ["::1", "127.0.0.1", "127.0.0.2"])
            request = upstream_request(clock, provider.port, host="provider.test", connect_seconds=0.6)
            assert b"simulated" in await read(client, request)
            await client.aclose()


async def test_fd03_an_upstream_that_never_answers_ends_with_the_first_byte_timeout(client, clock):
    async with SimulatedProvider(Behaviour(fault=Fault.HANG)) as provider:
        error = await failed(client, upstream_request(clock, provider.port, first_byte_seconds=0.05))
        assert error.code == Code.UPSTREAM_TIMEOUT
        await provider.until(lambda: provider.requests[0].cancelled)


# --- FD-10..12 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.RESET])
@pytest.mark.parametrize("after", [0, 1, 5])
async def test_fd10_a_cut_is_named_and_the_bytes_before_it_are_not_lost(client, clock, fault, after):
    async with SimulatedProvider(Behaviour(fault=fault, after=after)) as provider:
        reply = await client.send(upstream_request(clock, provider.port, body=CHAT_STREAM))
        got = b""
        with pytest.raises(UpstreamError) as caught:
            while piece := await reply.chunk():
                got += piece
        assert caught.value.code == Code.UPSTREAM_CUT
        assert got.count(b"data: ") == after or fault == Fault.RESET  # RST may overtake what it follows
        assert provider.connections == 1


async def test_fd11_a_stall_ends_with_the_idle_timeout(client, clock):
    async with SimulatedProvider(Behaviour(fault=Fault.STALL, after=2)) as provider:
        request = upstream_request(clock, provider.port, body=CHAT_STREAM, idle_seconds=0.05)
        error = await failed(client, request)
        assert error.code == Code.UPSTREAM_TIMEOUT
        assert "paused" in error.message
        await provider.until(lambda: provider.requests[0].cancelled)


async def test_fd12_a_compressed_answer_closes_the_connection(client, clock):
    async with SimulatedProvider(Behaviour(fault=Fault.BOMB)) as provider:
        assert (await failed(client, upstream_request(clock, provider.port))).code == Code.UPSTREAM_PROTOCOL
        await provider.until(lambda: provider.open_connections == 0)


# --- FD-13 ------------------------------------------------------------------------------------------------


async def test_fd13_an_unknown_name_is_unreachable(clock):
    def lookup(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    client = HttpUpstream(clock, lookup=lookup)
    error = await failed(client, upstream_request(clock, 80, host="nowhere.test"))
    assert error.code == Code.UPSTREAM_UNREACHABLE
    assert "name or service not known" in error.message


async def test_fd13_a_name_server_that_fails_later_does_not_matter_for_a_while(clock):
    answers = [["127.0.0.1"]]

    def lookup(host, port):
        if answers:
            return answers.pop()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    client = HttpUpstream(clock, lookup=lookup)
    async with SimulatedProvider() as provider:
        for passed in (0, limit.DNS_TTL_SECONDS + 1, limit.DNS_STALE_SECONDS_MAX / 2):
            clock.advance(passed)
            assert await read(client, upstream_request(clock, provider.port, host="provider.test"))
            provider.drop_idle()
            await provider.until(lambda: provider.open_connections == 0)
        assert provider.connections == 3
        clock.advance(limit.DNS_STALE_SECONDS_MAX)
        error = await failed(client, upstream_request(clock, provider.port, host="provider.test"))
        assert error.code == Code.UPSTREAM_UNREACHABLE
    await client.aclose()


async def test_fd13_an_address_that_moves_is_followed(clock):
    addresses = ["127.0.0.1"]
    client = HttpUpstream(clock, lookup=lambda host, port: tuple(addresses))
    async with SimulatedProvider() as old, SimulatedProvider(host="127.0.0.2", port=old.port) as new:
        assert await read(client, upstream_request(clock, old.port, host="provider.test"))
        addresses[:] = ["127.0.0.2"]
        old.drop_idle()
        await old.until(lambda: old.open_connections == 0)
        clock.advance(limit.DNS_TTL_SECONDS + 1)
        assert await read(client, upstream_request(clock, old.port, host="provider.test"))
        assert (len(old.requests), len(new.requests)) == (1, 1)
        await client.aclose()


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "0.0.0.0", "::ffff:169.254.169.254"])
async def test_fd13_a_name_that_moves_to_a_metadata_service_is_refused(clock, address):
    client = HttpUpstream(clock, lookup=lambda host, port: [address])
    error = await failed(client, upstream_request(clock, 80, host="rebound.test"))
    assert error.code == Code.UPSTREAM_UNREACHABLE
    assert "refused" in error.message


# --- FD-14 ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def server_context(certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@contextlib.contextmanager
def plain_server(context):
    """A blocking TLS server in a thread: it sends its alerts before it closes, as real servers do."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    over = threading.Event()

    def serve():
        while not over.is_set():
            try:
                sock = listener.accept()[0]
            except TimeoutError:
                continue
            sock.settimeout(5)
            with context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as peer:
                try:
                    peer.do_handshake()
                    peer.recv(65_536)
                    peer.sendall(OK)
                except ssl.SSLError:
                    # Read what the client still sends: closing over it would make an RST that overtakes the alert.
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(65_536):
                        pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        thread.join()
        listener.close()


def secure(clock, port, row, **more):
    return upstream_request(clock, port, scheme="https", tls=row, **more)


async def test_fd14_a_good_certificate_is_accepted_and_the_connection_kept(client, clock, authority, ca_file):
    async with SimulatedProvider(tls=server_context(authority.issue_cert("127.0.0.1"))) as provider:
        for _ in range(2):
            assert b"simulated" in await read(client, secure(clock, provider.port, TlsRow(ca_file)))
        assert provider.connections == 1


def expired(authority):
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
    return authority.issue_cert("127.0.0.1", not_before=past - datetime.timedelta(days=2), not_after=past)


REFUSED = {
    "expired": (expired, "expired"),
    "for another host": (lambda authority: authority.issue_cert("other.test"), "not valid for"),
    "of an unknown authority": (lambda _: trustme.CA().issue_cert("127.0.0.1"), "unable to get local issuer"),
}


@pytest.mark.parametrize(("make", "text"), REFUSED.values(), ids=REFUSED)
async def test_fd14_a_bad_certificate_is_refused_before_a_byte_is_sent(clock, authority, ca_file, make, text):
    client = HttpUpstream(clock)
    async with SimulatedProvider(tls=server_context(make(authority))) as provider:
        error = await failed(client, secure(clock, provider.port, TlsRow(ca_file)))
        assert error.code == Code.UPSTREAM_TLS
        assert text in error.message
        assert provider.requests == []


async def test_fd14_the_systems_authorities_are_used_where_none_is_named(client, clock, authority):
    async with SimulatedProvider(tls=server_context(authority.issue_cert("127.0.0.1"))) as provider:
        error = await failed(client, secure(clock, provider.port, TlsRow()))
        assert error.code == Code.UPSTREAM_TLS
        assert provider.requests == []


async def test_fd14_tls_1_2_needs_an_exception(client, clock, authority, ca_file):
    context = server_context(authority.issue_cert("127.0.0.1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with plain_server(context) as port:
        error = await failed(client, secure(clock, port, TlsRow(ca_file)))
        assert error.code == Code.UPSTREAM_TLS
        assert "version" in error.message
        assert await read(client, secure(clock, port, TlsRow(ca_file, minimum_version="1.2"))) == b"ok"


async def test_fd14_a_peer_without_tls_is_named(client, clock, ca_file):
    async with SimulatedProvider() as provider:
        error = await failed(client, secure(clock, provider.port, TlsRow(ca_file)))
        assert error.code == Code.UPSTREAM_TLS


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_fd14_a_handshake_that_is_cut_is_named(client, clock, ca_file, end):
    async with HostilePeer([end]) as peer:
        error = await failed(client, secure(clock, peer.port, TlsRow(ca_file)))
        assert error.code == Code.UPSTREAM_TLS


async def test_fd14_a_handshake_that_hangs_ends_with_the_connect_timeout(client, clock, ca_file):
    async with HostilePeer([Wait(asyncio.Event())]) as peer:
        error = await failed(client, secure(clock, peer.port, TlsRow(ca_file), connect_seconds=0.1))
        assert error.code == Code.UPSTREAM_TIMEOUT


async def test_fd14_cancelling_during_the_handshake_closes_the_socket(client, clock, ca_file):
    async with HostilePeer([]) as peer:
        task = asyncio.get_running_loop().create_task(client.send(secure(clock, peer.port, TlsRow(ca_file))))
        async with asyncio.timeout(5):
            while not peer.received:
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(peer.gone.wait(), 5)


async def test_fd14_a_client_certificate_is_shown_and_its_absence_named(client, clock, authority, ca_file, tmp_path):
    context = server_context(authority.issue_cert("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    mine = authority.issue_cert("gateway.test")
    mine.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "mine.pem"))
    with plain_server(context) as port:
        row = TlsRow(ca_file, str(tmp_path / "mine.pem"))
        assert await read(client, secure(clock, port, row)) == b"ok"
        with pytest.raises(UpstreamError) as caught:
            await read(client, secure(clock, port, TlsRow(ca_file)))
        assert caught.value.code == Code.UPSTREAM_TLS
        assert "certificate required" in caught.value.message


async def test_fd14_a_ca_that_rotates_is_loaded_and_open_streams_go_on(client, clock, authority, ca_file):
    """The provider moves to a certificate of a new authority; the operator replaces the file; nothing restarts."""
    successor = trustme.CA()
    gate = asyncio.Event()
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"
    script = [Read(), head, Wait(gate), b"3\r\ntwo\r\n0\r\n\r\n"]
    async with HostilePeer(script, tls=server_context(authority.issue_cert("127.0.0.1"))) as before:
        stream = await client.send(secure(clock, before.port, TlsRow(ca_file)))
        async with SimulatedProvider(tls=server_context(successor.issue_cert("127.0.0.1"))) as after:
            with pytest.raises(UpstreamError) as caught:
                await read(client, secure(clock, after.port, TlsRow(ca_file)))
            assert caught.value.code == Code.UPSTREAM_TLS
            successor.cert_pem.write_to_path(ca_file)
            os.utime(ca_file, ns=(1, 1))
            clock.advance(limit.TLS_CHECK_SECONDS + 0.1)
            assert b"simulated" in await read(client, secure(clock, after.port, TlsRow(ca_file)))
        gate.set()
        assert await stream.read(100) == b"onetwo"


async def test_fd14_a_broken_new_file_leaves_the_old_authority_in_use(clock, authority, ca_file):
    problems = []
    client = HttpUpstream(clock, report=problems.append)
    async with SimulatedProvider(tls=server_context(authority.issue_cert("127.0.0.1"))) as provider:
        assert await read(client, secure(clock, provider.port, TlsRow(ca_file)))
        with open(ca_file, "w") as file:
            file.write("half a cert")
        provider.drop_idle()
        await provider.until(lambda: provider.open_connections == 0)
        clock.advance(limit.TLS_CHECK_SECONDS + 0.1)
        assert await read(client, secure(clock, provider.port, TlsRow(ca_file)))
        assert provider.connections == 2
        assert len(problems) == 1
        await client.aclose()


@pytest.mark.parametrize(
    ("end", "whole"), [(End.CLOSE, True), (End.CUT, False)], ids=["with close_notify", "without close_notify"]
)
async def test_fd14_a_tls_stream_without_close_notify_is_cut(clock, authority, ca_file, end, whole):
    client = HttpUpstream(clock)
    script = [Read(), b"HTTP/1.1 200 OK\r\n\r\nall", end]
    async with HostilePeer(script, tls=server_context(authority.issue_cert("127.0.0.1"))) as peer:
        reply = await client.send(secure(clock, peer.port, TlsRow(ca_file)))
        assert await reply.chunk() == b"all"
        if whole:
            assert await reply.chunk() == b""
        else:
            with pytest.raises(UpstreamError) as caught:
                await reply.chunk()
            assert caught.value.code == Code.UPSTREAM_CUT


def test_fd14_nothing_in_the_configuration_turns_verification_off():
    assert not {name for name in TlsRow.__struct_fields__ if "verify" in name or "insecure" in name}


# --- FD-15 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_fd15_the_race_with_a_closing_server_is_survived(client, clock, end):
    async with HostilePeer([Read(), OK, Read(), end], [Read(), OK]) as peer:
        assert await read(client, upstream_request(clock, peer.port)) == b"ok"
        assert await read(client, upstream_request(clock, peer.port)) == b"ok"
        assert peer.connections == 2


async def test_fd15_it_is_not_survived_twice(client, clock):
    async with HostilePeer([Read(), OK, Read(), End.CLOSE], [Read(), End.CLOSE]) as peer:
        assert await read(client, upstream_request(clock, peer.port)) == b"ok"
        assert (await failed(client, upstream_request(clock, peer.port))).code == Code.UPSTREAM_CUT
        assert peer.connections == 2


async def test_fd15_many_stale_connections_cost_one_repetition_each(client, clock):
    """The repetition takes a new connection, not the next stale one."""
    async with SimulatedProvider() as provider:
        await asyncio.gather(*(read(client, upstream_request(clock, provider.port)) for _ in range(20)))
        kept = client.idle_count
        provider.drop_idle()  # not yet seen by the client's loop
        bodies = await asyncio.gather(*(read(client, upstream_request(clock, provider.port)) for _ in range(20)))
        assert all(b"simulated" in body for body in bodies)
        assert kept > 0


# --- through a proxy --------------------------------------------------------------------------------------


async def test_a_proxy_that_refuses_is_named(client, clock):
    answer = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    async with HostilePeer([Read(), answer]) as proxy:
        request = upstream_request(clock, 443, host="provider.test", proxy=Origin("http", "127.0.0.1", proxy.port))
        error = await failed(client, request)
        assert error.code == Code.UPSTREAM_UNREACHABLE
        assert "407" in error.message
