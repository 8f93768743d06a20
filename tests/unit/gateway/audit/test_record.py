from pathlib import Path

import msgspec
import pytest

from ostiary.core.event import SCHEMA_VERSION, Closed, Gap, Kind, Opened, Outcome, Recovered, Unauthenticated
from ostiary.gateway.audit import frame, record

GOLDEN = Path(__file__).parent / "golden"


def test_every_kind_is_decoded():
    for kind in Kind:
        assert kind in record._DECODERS


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_every_version_ever_written_is_read(version):
    """One file per version, made when the version was current and never changed: each record's kind and the text it
    decoded to then."""
    data = (GOLDEN / f"v{version}.frames").read_bytes()
    walk = frame.Walk(data, 0, frame.FIRST_LINK)
    decoded = [
        {"kind": one.kind, "record": msgspec.json.decode(record.encode(record.decode(one.kind, one.payload)))}
        for one in walk
    ]
    assert walk.end is frame.End.CLEAN
    expected = msgspec.json.decode((GOLDEN / f"v{version}.json").read_bytes())
    for was, now in zip(expected, decoded, strict=True):
        assert now["kind"] == was["kind"]
        assert was["record"] == {name: now["record"][name] for name in was["record"]}


def test_the_current_version_has_its_golden_file_with_every_kind():
    data = (GOLDEN / f"v{SCHEMA_VERSION}.frames").read_bytes()
    assert {one.kind for one in frame.Walk(data)} == set(Kind)


def test_an_unknown_kind_decodes_to_nothing_and_unknown_fields_are_passed_over():
    assert record.decode(200, b"anything") is None
    gap = record.decode(Kind.GAP, b'{"from_ns":1,"to_ns":2,"calls":3,"reason":"x","later":true}')
    assert gap == Gap(1, 2, 3, "x")


def test_a_payload_that_is_not_its_kind_is_a_value_error():
    for payload in (b"", b"{}", b"[]", b"\xff"):
        with pytest.raises(ValueError, match="no record of kind"):
            record.decode(Kind.OPENED, payload)


def test_what_a_record_closes():
    closed = Closed(request_id='"opened":7', at_ns=1, opened=41, outcome=Outcome.SUCCEEDED)
    assert record.closes(record.encode(closed)) == 41
    assert record.closes(b"{}") == -1
    assert record.closes(b"garbage") == -1


def test_an_aborted_call_keeps_what_its_opening_said():
    opened = Opened(
        request_id="r",
        at_ns=5,
        tenant="acme",
        team="search",
        environment="production",
        key_id="k",
        operation="chat",
        client_dialect="openai",
        original_model="chat",
        stream=True,
    )
    closed = record.aborted(opened, 9, 77)
    assert (closed.opened, closed.at_ns, closed.outcome, closed.error) == (9, 77, Outcome.ABORTED, "call.aborted")
    shared = set(Opened.__struct_fields__) & set(Closed.__struct_fields__) - {"at_ns"}
    assert {name: getattr(closed, name) for name in shared} == {name: getattr(opened, name) for name in shared}


def test_refusals_and_recoveries_go_round():
    for kind, value in (
        (Kind.UNAUTHENTICATED, Unauthenticated(1, "192.0.2.0/24", "auth.invalid", 3)),
        (Kind.RECOVERED, Recovered(1, 2, 3)),
    ):
        assert record.decode(kind, record.encode(value)) == value
