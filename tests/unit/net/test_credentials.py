"""Credentials of providers: fetched once, renewed in time, bound to their row, and a failing endpoint left in peace."""

import asyncio
import json

import pytest

from ostiary.core.call import DialectName
from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Origin
from ostiary.core.limit import (
    CREDENTIAL_ANSWER_BYTES_MAX,
    CREDENTIAL_FETCH_SECONDS_MAX,
    CREDENTIAL_MARGIN_SECONDS,
    CREDENTIAL_REFRESH_SECONDS,
    CREDENTIAL_REQUESTS_MAX,
    CREDENTIAL_RETRY_SECONDS,
    CREDENTIAL_RETRY_SECONDS_MAX,
)
from ostiary.core.secret import Secret
from ostiary.gateway.ports import PhaseTimeouts, UpstreamRequest
from ostiary.gateway.provider.auth.token import ask
from ostiary.net import address
from ostiary.net.client import HttpUpstream
from ostiary.net.credentials import ProviderCredentials
from ostiary.snapshot.tables import AuthRow, ProviderRow, SecretRef
from ostiary.testing.clock import FakeClock

REF = SecretRef("env", "SECRET")
ENTRA = AuthRow("azure-entra", REF, tenant="t", client_id="c")
REQUEST = UpstreamRequest(Origin("https", "a", 443), b"POST", b"/x", (), b"{}", PhaseTimeouts(1, 1, 1, 1))


def row(auth=ENTRA, name="p", host="provider.example"):
    return ProviderRow(name, DialectName.OPENAI, Origin("https", host, 443), "/v1", auth)


class Store:
    """The port `Secrets`, with one secret for every reference."""

    def __init__(self):
        self.text = "top-secret-value"

    def get(self, ref):
        return Secret(self.text) if self.text else None


class Reply:
    headers = ()

    def __init__(self, status, body):
        self.status, self.body, self.closed = status, body, False

    async def read(self, bytes_max):
        if len(self.body) > bytes_max:
            raise UpstreamError(Code.UPSTREAM_TOO_LARGE, "too large")
        return self.body

    def close(self):
        self.closed = True


class Endpoint:
    """The port `Upstream` before a token endpoint: tokens numbered from 1, or what `say` holds. `gate` holds answers."""

    def __init__(self, lifetime=3600):
        self.lifetime, self.sent, self.say, self.gate, self.replies = lifetime, [], None, None, []

    async def send(self, request):
        self.sent.append(request)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.say, Exception):
            raise self.say
        body = {"access_token": f"token-{len(self.sent)}", "expires_in": self.lifetime}
        self.replies.append(Reply(*(self.say or (200, json.dumps(body).encode()))))
        return self.replies[-1]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def endpoint():
    return Endpoint()


@pytest.fixture
async def credentials(endpoint, store, clock):
    made = ProviderCredentials(endpoint, Endpoint(), store, clock)
    yield made
    await made.aclose()


def sent(credentials, provider):
    found = credentials.headers(provider, REQUEST)
    return None if found is None else dict(found)[b"authorization"].decode()


async def settled():
    """Let what is in flight go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_token_is_fetched_once_and_kept(credentials, endpoint):
    provider = row()
    assert sent(credentials, provider) is None
    await credentials.fetch(provider)
    await credentials.fetch(provider)
    assert sent(credentials, provider) == "Bearer token-1"
    assert len(endpoint.sent) == 1
    assert endpoint.sent[0].origin.host == "login.microsoftonline.com"
    assert all(reply.closed for reply in endpoint.replies)


async def test_many_callers_share_one_fetch_and_one_that_goes_away_disturbs_nobody(credentials, endpoint):
    endpoint.gate = asyncio.Event()
    provider = row()
    waiting = [asyncio.get_running_loop().create_task(credentials.fetch(provider)) for _ in range(50)]
    await settled()
    waiting[0].cancel()
    await settled()
    endpoint.gate.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [None] * 49
    assert len(endpoint.sent) == 1


async def test_a_token_near_its_end_is_used_and_renewed_behind_the_callers_back(credentials, endpoint, clock):
    provider = row()
    await credentials.fetch(provider)
    clock.advance(3600 - CREDENTIAL_REFRESH_SECONDS - 1)
    assert sent(credentials, provider) == "Bearer token-1"
    await settled()
    assert len(endpoint.sent) == 1
    clock.advance(1)
    assert [sent(credentials, provider) for _ in range(3)] == ["Bearer token-1"] * 3
    await settled()
    assert sent(credentials, provider) == "Bearer token-2"
    assert len(endpoint.sent) == 2


async def test_a_token_that_ends_is_not_sent(credentials, endpoint, clock):
    provider = row()
    await credentials.fetch(provider)
    clock.advance(3600 - CREDENTIAL_MARGIN_SECONDS)
    assert sent(credentials, provider) is None
    await credentials.fetch(provider)
    assert sent(credentials, provider) == "Bearer token-2"


async def test_a_failing_endpoint_is_told_without_secrets_and_not_hammered(credentials, endpoint, clock, store):
    provider = row()
    endpoint.say = (401, b'{"error":"invalid_client","error_description":"top-secret-value"}')
    for _ in range(20):
        with pytest.raises(UpstreamError) as caught:
            await credentials.fetch(provider)
        assert caught.value.code is Code.UPSTREAM_CREDENTIAL
        assert "invalid_client" in caught.value.message
        assert store.text not in caught.value.message
    assert len(endpoint.sent) == 1
    pauses = []
    for _ in range(9):
        pause = 0.0
        while True:
            before = len(endpoint.sent)
            with pytest.raises(UpstreamError):
                await credentials.fetch(provider)
            if len(endpoint.sent) > before:
                break
            clock.advance(0.5)
            pause += 0.5
        pauses.append(pause)
    assert pauses[:3] == [CREDENTIAL_RETRY_SECONDS * 2**n for n in range(3)]
    assert pauses[-1] == CREDENTIAL_RETRY_SECONDS_MAX
    endpoint.say = None
    clock.advance(CREDENTIAL_RETRY_SECONDS_MAX)
    await credentials.fetch(provider)
    assert sent(credentials, provider).startswith("Bearer token-")


async def test_a_failed_renewal_leaves_the_good_token_in_use(credentials, endpoint, clock):
    provider = row()
    await credentials.fetch(provider)
    endpoint.say = UpstreamError(Code.UPSTREAM_UNREACHABLE, "gone")
    clock.advance(3600 - CREDENTIAL_REFRESH_SECONDS)
    for _ in range(10):
        assert sent(credentials, provider) == "Bearer token-1"
        await settled()
    assert len(endpoint.sent) == 2


async def test_an_endpoint_that_hangs_is_given_up(credentials, endpoint, monkeypatch):
    monkeypatch.setattr("ostiary.core.limit.CREDENTIAL_FETCH_SECONDS_MAX", 0.01)
    assert CREDENTIAL_FETCH_SECONDS_MAX <= 30
    endpoint.gate = asyncio.Event()
    with pytest.raises(UpstreamError, match="in time"):
        await credentials.fetch(row())


async def test_an_endless_answer_is_refused(credentials, endpoint):
    endpoint.say = (200, b" " * (CREDENTIAL_ANSWER_BYTES_MAX + 1))
    with pytest.raises(UpstreamError, match=r"upstream\.too_large"):
        await credentials.fetch(row())


async def test_a_token_belongs_to_its_row_its_destination_and_its_secret(credentials, endpoint, store):
    provider = row()
    await credentials.fetch(provider)
    for other in (
        row(host="elsewhere.example"),
        row(AuthRow("azure-entra", REF, tenant="u", client_id="c")),
        row(name="q"),
    ):
        assert sent(credentials, other) is None
    assert sent(credentials, row()) == "Bearer token-1"  # the same row read anew
    credentials.swap([row()])
    assert not credentials.swap([row()])
    assert sent(credentials, provider) == "Bearer token-1"
    store.text = "another-secret"
    assert credentials.swap([row()]) == {provider.name}
    assert sent(credentials, provider) is None


async def test_a_row_that_is_gone_leaves_nothing(credentials):
    provider = row()
    await credentials.fetch(provider)
    credentials.swap([])
    assert sent(credentials, provider) is None


async def test_schemes_of_one_header_need_no_fetch(credentials, store):
    assert sent(credentials, row(AuthRow("bearer", REF))) == f"Bearer {store.text}"
    assert credentials.headers(row(AuthRow("header", REF, header="API-Key"), "z"), REQUEST) == (
        (b"api-key", store.text.encode()),
    )
    assert credentials.headers(row(AuthRow("none"), "n"), REQUEST) == ()
    store.text = ""
    with pytest.raises(UpstreamError, match="secret is not there"):
        credentials.headers(row(AuthRow("bearer", REF), "b"), REQUEST)


async def test_aws_keys_sign_each_request(credentials, store):
    auth = AuthRow("aws-sigv4", REF, region="eu-west-1", service="bedrock", key_id="AKIDEXAMPLE")
    provider = row(auth)
    await credentials.fetch(provider)
    added = dict(credentials.headers(provider, REQUEST))
    assert b"AKIDEXAMPLE" in added[b"authorization"]
    assert b"/eu-west-1/bedrock/aws4_request" in added[b"authorization"]
    assert store.text.encode() not in added[b"authorization"]


async def test_a_token_file_that_is_not_there_is_told(credentials, tmp_path):
    auth = AuthRow("azure-workload-identity", tenant="t", client_id="c", token_file=str(tmp_path / "no"))
    with pytest.raises(UpstreamError, match="cannot be read") as caught:
        await credentials.fetch(row(auth))
    assert str(tmp_path) not in caught.value.message


async def test_a_token_file_is_read_anew_each_time(credentials, endpoint, tmp_path, clock):
    file = tmp_path / "token"
    provider = row(AuthRow("azure-workload-identity", tenant="t", client_id="c", token_file=str(file)))
    for text in ("first", "second"):
        file.write_text(text)
        await credentials.fetch(provider)
        assert f"client_assertion={text}".encode() in endpoint.sent[-1].body
        clock.advance(3600)


async def test_a_source_has_so_many_steps_and_no_more(credentials, endpoint, monkeypatch):
    def endless(_):
        while True:
            yield ask(b"GET", "https://a/")

    monkeypatch.setattr("ostiary.net.credentials.source_of", lambda auth, find: endless)
    with pytest.raises(UpstreamError, match="too many steps"):
        await credentials.fetch(row())
    assert len(endpoint.sent) == CREDENTIAL_REQUESTS_MAX


async def test_a_real_exchange_over_http(clock, store, tmp_path):
    """A foreign identity exchanged at an endpoint on this machine, by the clients of the product."""
    asked = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        asked.append((head.partition(b"\r\n")[0], await reader.readexactly(length)))
        body = b'{"access_token":"exchanged","expires_in":60}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    subject = tmp_path / "subject"
    subject.write_text("subject-token")
    store.text = json.dumps(
        {
            "type": "external_account",
            "audience": "a",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"http://127.0.0.1:{port}/v1/token",
            "credential_source": {"file": str(subject)},
        }
    )
    upstream, metadata = HttpUpstream(clock), HttpUpstream(clock, vet=address.vet_metadata)
    credentials = ProviderCredentials(upstream, metadata, store, clock)
    try:
        provider = row(AuthRow("google-workload-identity", REF))
        await credentials.fetch(provider)
        assert sent(credentials, provider) == "Bearer exchanged"
        assert asked[0][0] == b"POST /v1/token HTTP/1.1"
        assert b"subject_token=subject-token" in asked[0][1]
    finally:
        await credentials.aclose()
        await upstream.aclose()
        await metadata.aclose()
        server.close()
        await server.wait_closed()


async def test_only_the_client_for_metadata_reaches_metadata():
    for text in ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd20:ce::254"):
        ip = address.parse(text)
        assert address.vet(ip) is not None
        assert address.vet_metadata(ip) is None
    for text in ("127.0.0.1", "10.0.0.1", "169.254.1.1", "8.8.8.8", "::1"):
        assert address.vet_metadata(address.parse(text)) is not None
