"""How a call gets the credential of its provider: last, so that it can sign what goes out, and fetched where it must be."""

from ostiary.core.error import Code, UpstreamError
from ostiary.core.event import Outcome
from ostiary.core.http import Origin
from ostiary.gateway.ports import PhaseTimeouts, UpstreamRequest
from ostiary.simulator.behaviour import Received
from ostiary.snapshot.tables import TlsRow
from tests.exchange.harness import UPSTREAM_KEY, House, replaced


class Signing:
    """Implements ports.Credentials: a credential made of the request, there only after a fetch."""

    def __init__(self, fetches_needed=1, error=None):
        self.needed = fetches_needed
        self.error = error
        self.seen = []
        self.rows = []

    def headers(self, provider, request):
        self.seen.append((provider.name, request))
        return None if self.needed else ((b"authorization", b"Bearer of-%d-bytes" % len(request.body)),)

    async def fetch(self, provider):
        if self.error is not None:
            raise self.error
        self.needed -= 1

    def swap(self, providers):
        self.rows = [row.name for row in providers]
        return frozenset()


def house_with(credentials):
    house = House()
    house.world.credentials = credentials
    return house


async def test_a_credential_is_made_of_the_request_as_it_goes_out():
    credentials = Signing()
    house = house_with(credentials)
    assert (await house.chat()).status == 200
    (one,) = house.upstream.sent
    assert dict(one.headers)[b"authorization"] == b"Bearer of-%d-bytes" % len(one.body)
    assert len(credentials.seen) == 2
    _, request = credentials.seen[-1]
    assert (request.target, request.body, request.headers) == (one.target, one.body, one.headers[:-1])
    received = Received(one.method.decode(), one.target.decode(), one.headers, one.body)
    assert received.path == "/v1/chat/completions"
    house.check()


async def test_without_a_credential_nothing_is_sent_and_the_next_target_is_tried():
    failing = UpstreamError(Code.UPSTREAM_CREDENTIAL, "Provider oai: no credential could be had.")
    house = house_with(Signing(error=failing))
    sink = await house.chat("pair")
    assert sink.json["error"]["code"] == Code.UPSTREAM_CREDENTIAL
    assert house.upstream.sent == []
    assert {one.target for one in house.closed.attempts} == {"oai/first", "spare/second"}
    assert house.outcome is Outcome.FAILED
    house.check()


async def test_a_credential_replaced_again_and_again_ends_the_attempt():
    house = house_with(Signing(fetches_needed=2))
    sink = await house.chat("claude")
    assert sink.json["error"]["code"] == Code.UPSTREAM_CREDENTIAL
    assert house.upstream.sent == []
    house.check()


async def test_a_new_snapshot_brings_its_rows_to_the_credentials():
    credentials = Signing()
    house = house_with(credentials)
    house.world.swap(house.world.index)
    assert credentials.rows == [row.name for row in house.world.index.snapshot.providers]


async def test_an_address_takes_the_model_and_the_query_of_its_row():
    base = House().world.index.snapshot
    rows = tuple(replaced(row, path="/deployments/{model}", query="api-version=1") for row in base.providers)
    house = House(providers=rows)
    await house.chat()
    assert house.upstream.sent[0].target == b"/deployments/gpt-4o-mini/chat/completions?api-version=1"


def test_a_request_keeps_all_it_has_and_gains_its_credential():
    house = House()
    row = house.world.index.providers["oai"]
    whole = UpstreamRequest(
        Origin("https", "h", 1),
        b"PUT",
        b"/t",
        ((b"a", b"b"),),
        b"body",
        PhaseTimeouts(1.0, 2.0, 3.0, 4.0),
        TlsRow(ca_file="x"),
        Origin("http", "p", 2),
    )
    unlike = UpstreamRequest(Origin("http", "", 0), b"", b"", (), b"", PhaseTimeouts(0, 0, 0, 0))
    assert all(getattr(whole, name) != getattr(unlike, name) for name in UpstreamRequest.__struct_fields__)
    proven = house.world.proven_at_once(row, whole)
    credential = (b"authorization", b"Bearer " + UPSTREAM_KEY.encode())
    assert proven == replaced(whole, headers=((b"a", b"b"), credential))
