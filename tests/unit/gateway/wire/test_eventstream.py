"""The event stream's framing: against the vendor's own reader, however cut, and with anything broken."""

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import EVENTSTREAM_HEADERS_BYTES_MAX, EVENTSTREAM_MESSAGE_BYTES_MAX
from ostiary.gateway.wire.eventstream import EventStreamParser

try:
    from botocore import eventstream
except ImportError:
    eventstream = None

TRUE, FALSE, BYTE, SHORT, INTEGER, LONG, BYTES, TEXT, TIMESTAMP, UUID = range(10)

names = st.text(st.characters(codec="utf-8", min_codepoint=33), min_size=1, max_size=20)
values = st.one_of(
    st.just((TRUE, b"", True)),
    st.just((FALSE, b"", False)),
    st.integers(-(2**7), 2**7 - 1).map(lambda n: (BYTE, struct.pack(">b", n), n)),
    st.integers(-(2**15), 2**15 - 1).map(lambda n: (SHORT, struct.pack(">h", n), n)),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: (INTEGER, struct.pack(">i", n), n)),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: (LONG, struct.pack(">q", n), n)),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: (TIMESTAMP, struct.pack(">q", n), n)),
    st.binary(max_size=30).map(lambda b: (BYTES, struct.pack(">H", len(b)) + b, b)),
    st.text(max_size=30).map(lambda t: (TEXT, struct.pack(">H", len(t.encode())) + t.encode(), t)),
    st.binary(min_size=16, max_size=16).map(lambda b: (UUID, b, b)),
)
headers = st.dictionaries(names, values, max_size=5)
messages = st.lists(st.tuples(headers, st.binary(max_size=60)), max_size=5)


def framed(head, payload):
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return body + struct.pack(">I", zlib.crc32(body))


def encoded(fields, payload):
    return framed(
        b"".join(bytes([len(n.encode())]) + n.encode() + bytes([kind]) + raw for n, (kind, raw, _) in fields.items()),
        payload,
    )


def read(*pieces):
    parser = EventStreamParser()
    return [message for piece in pieces for message in parser.feed(piece)], parser.rest


def refused(data):
    with pytest.raises(UpstreamError) as caught:
        read(data)
    return caught.value.code


@given(stream=messages)
@settings(max_examples=400, deadline=None)
def test_a_message_is_read_as_it_was_written(stream):
    data = b"".join(encoded(*one) for one in stream)
    found, rest = read(data)
    assert [(m.headers, m.payload) for m in found] == [
        ({name: value for name, (_, _, value) in fields.items()}, payload) for fields, payload in stream
    ]
    assert b"".join(m.raw for m in found) == data
    assert rest == b""


@given(stream=messages, cuts=st.lists(st.integers(0, 600), max_size=6))
@settings(max_examples=300, deadline=None)
def test_slices_change_nothing(stream, cuts):
    data = b"".join(encoded(*one) for one in stream)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert read(*(data[a:b] for a, b in zip(edges, edges[1:]))) == read(data)
    assert read(*(data[i : i + 1] for i in range(len(data)))) == read(data)


@pytest.mark.skipif(eventstream is None, reason="botocore is not installed")
@given(stream=messages, at=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=400, deadline=None)
def test_the_vendors_reader_agrees_on_what_is_whole_and_what_is_broken(stream, at, bit):
    data = bytearray(b"".join(encoded(*one) for one in stream))
    if data and at % 3:
        data[at % len(data)] ^= 1 << bit
    buffer = eventstream.EventStreamBuffer()
    buffer.add_data(bytes(data))
    theirs, broken = [], False
    try:
        for message in buffer:
            theirs.append((message.headers, message.payload))
    except (eventstream.ParserError, UnicodeDecodeError):
        broken = True
    parser = EventStreamParser()
    ours, failed = [], False
    try:
        ours = parser.feed(bytes(data))
        parser.feed(b"")
    except UpstreamError:
        failed = True
    assert failed == broken
    assert [(m.headers, m.payload) for m in ours] == theirs


@given(data=st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_crash_the_parser(data):
    try:
        read(data)
        read(framed(data, b""))
    except UpstreamError:
        pass


def test_a_message_beyond_the_bounds_is_refused_when_its_length_is_known():
    for total, head in (
        (EVENTSTREAM_MESSAGE_BYTES_MAX + 1, 0),
        (EVENTSTREAM_MESSAGE_BYTES_MAX, EVENTSTREAM_HEADERS_BYTES_MAX + 1),
    ):
        prelude = struct.pack(">II", total, head)
        assert refused(prelude + struct.pack(">I", zlib.crc32(prelude))) is Code.UPSTREAM_TOO_LARGE
    largest = framed(b"", bytes(EVENTSTREAM_MESSAGE_BYTES_MAX - 16))
    assert len(read(largest)[0]) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"\x01a",
        b"\x01a\x07\x00\x05ab",
        b"\x01a\x0a",
        b"\x00\x00",
        b"\x01a\x00\x01a\x00",
        b"\x01\xff\x00",
        b"\x01a\x09ab",
        b"\x01a\x05ab",
        b"\x01a\x07\x00",
        b"\x01a\x07\x00\x01\xff",
        b"\x01a\x06\x00\x09x",
        b"\x09a\x00",
    ],
)
def test_headers_that_cannot_be_read_are_refused(head):
    assert refused(framed(head, b"{}")) is Code.UPSTREAM_PROTOCOL


def test_a_message_shorter_than_its_headers_is_refused():
    prelude = struct.pack(">II", 20, 5)
    assert refused(prelude + struct.pack(">I", zlib.crc32(prelude)) + bytes(20)) is Code.UPSTREAM_PROTOCOL


def test_messages_before_a_fault_are_given_first():
    good = encoded({}, b"{}")
    parser = EventStreamParser()
    assert len(parser.feed(good + good[:-1] + bytes([good[-1] ^ 1]))) == 1
    with pytest.raises(UpstreamError):
        parser.feed(b"")
