import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import SSE_EMPTY_EVENTS_MAX, SSE_EVENT_BYTES_MAX
from ostiary.gateway.wire.sse import SseEvent, SseParser, encode_event

atoms = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\n\n", b"data: x", b"data", b"data:", b"data:  y", b": note", b"event: e", b"event", b"id: a\0",
     b"id: 7", b"retry: 99999999999999999999", b"retry: 5", b"retry: x", b"\xff", b"\xc3", b"\xa9", b"\xef\xbb\xbf", b"\0", b"x: y", b" "]
)  # fmt: skip
streams = st.lists(atoms, max_size=16).map(b"".join)


def run(pieces):
    parser = SseParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close(), parser


def reference(stream):
    """The event stream interpretation of the WHATWG standard, written down line by line."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    events, data, event = [], [], ""
    lines = re.split("\r\n|\n|\r", text)
    for line in lines[:-1]:
        if not line:
            if data:
                events.append(("\n".join(data), event))
            data, event = [], ""
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            event = value
    return events


@given(stream=streams)
@settings(max_examples=1500, deadline=None)
def test_a_stream_is_read_as_the_standard_says(stream):
    events, _ = run([stream])
    assert [(e.data.decode("utf-8", "replace"), e.event) for e in events if e.data is not None] == reference(stream)
    assert b"".join(event.raw for event in events) == stream


@given(stream=streams, cuts=st.lists(st.integers(0, 200), max_size=6))
@settings(max_examples=1000, deadline=None)
def test_slices_change_nothing(stream, cuts):
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in zip(edges, edges[1:])]
    assert run(pieces)[0] == run([stream])[0]
    assert run([stream[i : i + 1] for i in range(len(stream))])[0] == run([stream])[0]


def test_the_two_common_forms_take_the_short_way_with_the_same_result():
    for block in (b"data: {}\n\n", b"event: ping\ndata: {}\n\n"):
        parser = SseParser()
        parser.feed(b": begin\n\n")
        assert parser.feed(block) == [SseEvent(block, b"{}", "ping" if b"ping" in block else "")]
        assert run([b": begin\n\n" + block])[0][1:] == parser.feed(block)


def test_an_id_with_nul_and_an_absurd_retry_are_ignored():
    _, parser = run(
        [b"id: 7\nretry: 30\ndata: x\n\n", b"id: a\0b\nretry: 999999999999\ndata: y\n\nretry: -1\ndata: z\n\n"]
    )
    assert (parser.last_event_id, parser.retry_ms) == ("7", 30)


def test_an_event_without_its_blank_line_is_none():
    events, _ = run([b"data: a\n\ndata: [DONE]\n"])
    assert [event.data for event in events] == [b"a", None]


@pytest.mark.parametrize("head", [b"", b": c\r\n\r\n"], ids=["lf", "crlf"])
def test_byte_by_byte_costs_linear_time(head):
    def seconds(size):
        stream = head + b"data: " + b"x" * size + b"\n\n"
        parser = SseParser()
        began = time.perf_counter()
        for i in range(len(stream)):
            parser.feed(stream[i : i + 1])
        return time.perf_counter() - began

    small, large = min(seconds(50_000) for _ in range(3)), seconds(400_000)
    assert large < 8 * small * 3


def test_an_event_is_bounded_whole_or_in_pieces():
    block = b"data: " + b"x" * SSE_EVENT_BYTES_MAX
    for pieces in ([block], [block + b"\n\n"], [block[i : i + 65536] for i in range(0, len(block), 65536)]):
        with pytest.raises(UpstreamError) as caught:
            run(pieces)
        assert caught.value.code is Code.UPSTREAM_TOO_LARGE


def test_a_stream_of_nothing_is_ended():
    with pytest.raises(UpstreamError) as caught:
        run([b"\n" * (SSE_EMPTY_EVENTS_MAX + 1)])
    assert caught.value.code is Code.UPSTREAM_PROTOCOL
    run([(b": ping\n\n" * 100 + b"data: x\n\n") * 200])


def test_an_encoded_event_reads_back():
    assert run([encode_event(b"{}"), encode_event(b"[1]", b"name")])[0] == [
        SseEvent(b"data: {}\n\n", b"{}"),
        SseEvent(b"event: name\ndata: [1]\n\n", b"[1]", "name"),
    ]
