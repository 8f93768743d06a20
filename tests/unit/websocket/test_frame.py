"""Frames: any split of the bytes gives the same events, every rule has its code, and a library that nobody here wrote
reads and writes the same bytes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import OPEN, Protocol, Side
from websockets.streams import StreamReader

from ostiary.core.limit import WEBSOCKET_FRAGMENTS_MAX, WEBSOCKET_MESSAGE_BYTES_MAX
from ostiary.websocket import frame as ours
from ostiary.websocket.frame import Breach, Close, CloseCode, Opcode, Ping, Pong, Reader, Text, frame

MASK = b"\x01\x80\xfe\x7f"


def read(data, *, masked=True):
    return Reader(masked=masked).feed(data)


def raw(first, payload=b"", *, mask=MASK, size=None):
    """A frame from its first byte on, right or wrong."""
    size = len(payload) if size is None else size
    assert size < 126
    return bytes((first, (0x80 if mask else 0) | size)) + mask + (ours.masked(payload, mask) if mask else payload)


texts = st.text(max_size=300).map(lambda text: text.encode())
pieces = st.lists(
    st.one_of(
        texts.map(lambda text: (Opcode.TEXT, text)),
        st.binary(max_size=125).map(lambda data: (Opcode.PING, data)),
        st.binary(max_size=125).map(lambda data: (Opcode.PONG, data)),
        st.binary(max_size=200).map(lambda data: (Opcode.TEXT, data)),
    ),
    max_size=6,
)


@given(pieces, st.binary(max_size=40), st.lists(st.integers(0, 2_000), max_size=8), st.booleans())
@example([(Opcode.TEXT, b"x" * 70_000)], b"", [1, 3, 5], True)
@example([(Opcode.TEXT, b"x" * 126)], b"\x88\x80", [2], True)
def test_any_split_of_the_bytes_gives_the_same_events(sent, rest, cuts, masked):
    data = b"".join(frame(opcode, payload, MASK if masked else b"") for opcode, payload in sent) + rest
    whole = Reader(masked=masked).feed(data)
    reader, found, at = Reader(masked=masked), [], 0
    for cut in sorted(min(cut, len(data)) for cut in cuts):
        found += reader.feed(data[at:cut])
        at = cut
    found += reader.feed(data[at:])
    assert found == whole
    single = Reader(masked=masked)
    if len(data) < 3_000:
        assert [event for i in range(len(data)) for event in single.feed(data[i : i + 1])] == whole


@given(texts, st.lists(st.integers(0, 300), max_size=5), st.binary(max_size=20))
def test_fragments_are_put_together_with_control_frames_between(text, cuts, ping):
    parts, at = [], 0
    for cut in sorted(min(cut, len(text)) for cut in cuts):
        parts.append(text[at:cut])
        at = cut
    parts.append(text[at:])
    data = b""
    for place, part in enumerate(parts):
        opcode = Opcode.CONTINUATION if place else Opcode.TEXT
        one = bytearray(frame(opcode, part, MASK))
        if place < len(parts) - 1:
            one[0] &= 0x7F
        data += bytes(one) + frame(Opcode.PING, ping, MASK)
    events = read(data)
    assert [event for event in events if isinstance(event, Text)] == [Text(text)]
    assert [event for event in events if isinstance(event, Ping)] == [Ping(ping)] * len(parts)


@pytest.mark.parametrize(
    ("data", "code"),
    {
        "not masked": (raw(0x81, b"a", mask=b""), 1002),
        "reserved bit": (raw(0xC1, b"a"), 1002),
        "unknown data kind": (raw(0x83, b"a"), 1002),
        "unknown control kind": (raw(0x8B), 1002),
        "binary": (raw(0x82, b"a"), 1003),
        "fragmented ping": (raw(0x09), 1002),
        "long ping": (b"\x89\xfe\x00\x7e" + MASK, 1002),
        "continuation of nothing": (raw(0x80, b"a"), 1002),
        "a message inside another": (raw(0x01, b"a") + raw(0x81, b"b"), 1002),
        "length of 16 bits for a short one": (b"\x81\xfe\x00\x7d" + MASK, 1002),
        "length of 64 bits for a short one": (b"\x81\xff" + (65_535).to_bytes(8, "big") + MASK, 1002),
        "too large": (b"\x81\xff" + (WEBSOCKET_MESSAGE_BYTES_MAX + 1).to_bytes(8, "big"), 1009),
        "absurdly large": (b"\x81\xff" + b"\xff" * 8, 1009),
        "not UTF-8": (raw(0x81, b"\xff"), 1007),
        "a surrogate": (raw(0x81, b"\xed\xa0\x80"), 1007),
        "half a character": (raw(0x81, b"\xc3"), 1007),
        "close of one byte": (raw(0x88, b"\x03"), 1002),
        "close 1005": (raw(0x88, (1005).to_bytes(2, "big")), 1002),
        "close 1006": (raw(0x88, (1006).to_bytes(2, "big")), 1002),
        "close 999": (raw(0x88, (999).to_bytes(2, "big")), 1002),
        "close 5000": (raw(0x88, (5000).to_bytes(2, "big")), 1002),
        "close reason not UTF-8": (raw(0x88, b"\x03\xe8\xff"), 1007),
    }.values(),
)
def test_what_breaks_a_rule_ends_the_reading_with_its_code(data, code):
    reader = Reader(masked=True)
    events = reader.feed(raw(0x81, b"before") + data + raw(0x81, b"after"))
    assert events[0] == Text(b"before")
    assert isinstance(events[1], Breach)
    assert events[1].code == code
    assert len(events) == 2
    assert reader.feed(raw(0x81, b"later")) == []
    assert reader.held == 0


def test_a_server_must_not_mask():
    (breach,) = read(raw(0x81, b"a"), masked=False)
    assert breach.code == CloseCode.PROTOCOL_ERROR


def test_too_many_fragments_are_refused_though_they_are_empty():
    reader = Reader(masked=True)
    events = reader.feed(raw(0x01) + raw(0x00) * WEBSOCKET_FRAGMENTS_MAX)
    assert [type(event) for event in events] == [Breach]
    assert events[0].code == CloseCode.TOO_BIG


def test_fragments_together_are_no_larger_than_a_message_may_be():
    reader = Reader(masked=True)
    half = WEBSOCKET_MESSAGE_BYTES_MAX // 2 + 1
    first = bytearray(frame(Opcode.TEXT, b"x" * half, MASK))
    first[0] &= 0x7F
    assert reader.feed(bytes(first)) == []
    (breach,) = reader.feed(frame(Opcode.CONTINUATION, b"x" * half, MASK))
    assert breach.code == CloseCode.TOO_BIG


def test_the_largest_message_passes():
    text = b"x" * WEBSOCKET_MESSAGE_BYTES_MAX
    assert read(frame(Opcode.TEXT, text, MASK)) == [Text(text)]


def test_what_is_held_is_what_came():
    reader = Reader(masked=True)
    data = frame(Opcode.TEXT, b"x" * 1_000, MASK)
    reader.feed(data[:500])
    assert 480 <= reader.held <= 500
    reader.feed(data[500:])
    assert reader.held == 0


def test_a_close_without_a_code_and_with_one():
    assert read(raw(0x88)) == [Close(CloseCode.NO_CODE, "")]
    assert read(frame(Opcode.CLOSE, ours.close_payload(4321, "ß" * 100), MASK)) == [Close(4321, "ß" * 61)]
    assert ours.close_payload(CloseCode.LOST, "x") == b""


# --- against the library ------------------------------------------------------------------------------------


def theirs(data, *, masked):
    """The frames that the library reads."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while not run(reader.at_eof()):
        found.append(run(TheirFrame.parse(reader.read_exact, mask=masked)))
    return found


def run(generator):
    try:
        while True:
            next(generator)
    except StopIteration as end:
        return end.value


@given(pieces, st.booleans())
@example([(Opcode.TEXT, b"x" * 70_000)], True)
def test_the_library_reads_what_we_write(sent, masked):
    data = b"".join(frame(opcode, payload, MASK if masked else b"") for opcode, payload in sent)
    found = theirs(data, masked=masked)
    assert [(int(one.opcode), bytes(one.data), one.fin) for one in found] == [
        (int(opcode), payload, True) for opcode, payload in sent
    ]


@given(pieces, st.booleans())
def test_we_read_what_the_library_writes(sent, masked):
    data = b"".join(TheirFrame(TheirOpcode(int(opcode)), payload).serialize(mask=masked) for opcode, payload in sent)
    kinds = {Opcode.TEXT: Text, Opcode.PING: Ping, Opcode.PONG: Pong}
    expected = []
    for opcode, payload in sent:
        try:
            payload.decode()
        except UnicodeDecodeError:
            if opcode is Opcode.TEXT:
                expected.append(Breach)
                break
        expected.append(kinds[opcode])
    assert [type(event) for event in Reader(masked=masked).feed(data)] == expected


@given(st.binary(max_size=60))
@example(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
@example(b"\x81\x81\x00\x00\x00\x00a")
def test_noise_that_the_library_refuses_is_refused_here(noise):
    peer = Protocol(Side.SERVER, state=OPEN, max_size=WEBSOCKET_MESSAGE_BYTES_MAX)
    peer.receive_data(noise)
    events = Reader(masked=True).feed(noise)
    if isinstance(peer.parser_exc, ProtocolError):
        assert isinstance(events[-1], Breach | Close)
