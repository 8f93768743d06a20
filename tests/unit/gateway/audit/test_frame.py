import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.limit import JOURNAL_RECORD_BYTES_MAX
from ostiary.gateway.audit import frame
from ostiary.gateway.audit.frame import End, Fault, Frame, Walk

RECORDS = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 65_535), st.binary(max_size=120)), max_size=12)


def chain(records):
    link, parts = frame.FIRST_LINK, []
    for kind, version, payload in records:
        data, link = frame.encode(link, kind, version, payload)
        parts.append(data)
    return b"".join(parts), link


def test_leaf_and_link_are_what_the_documentation_says():
    payload = b'{"a":1}'
    leaf = hashlib.sha256(b"\x00\x01\x00\x02" + payload).digest()
    assert frame.leaf_hash(1, 2, payload) == leaf
    data, link = frame.encode(frame.FIRST_LINK, 1, 2, payload)
    assert link == hashlib.sha256(bytes(32) + leaf).digest()
    assert data[:4] == len(payload).to_bytes(4, "big")
    assert data[8:43] == b"\x01\x00\x02" + link
    assert data[43:] == payload


@given(RECORDS, st.integers(0, 200))
def test_what_is_encoded_is_walked(records, zeros):
    data, link = chain(records)
    walk = Walk(data + bytes(zeros), 0, frame.FIRST_LINK)
    assert [(one.kind, one.version, one.payload) for one in walk] == records
    assert walk.end is End.CLEAN
    assert walk.previous == link
    assert walk.offset == len(data)


@given(RECORDS.filter(bool), st.data())
def test_a_cut_anywhere_in_the_last_record_is_a_torn_tail(records, data):
    whole, _ = chain(records)
    before, _ = chain(records[:-1])
    cut = data.draw(st.integers(len(before) + 1, len(whole) - 1))
    walk = Walk(whole[:cut] + bytes(data.draw(st.sampled_from([0, 64]))), 0, frame.FIRST_LINK)
    assert len(list(walk)) in (len(records) - 1, len(records))
    if walk.offset == len(before):
        assert walk.end is End.TORN or not any(whole[len(before) : cut])
    else:
        # The bytes cut off were zeros, and zeros follow.
        assert walk.end is End.CLEAN


def test_every_flipped_byte_is_found_and_located():
    records = [(1, 1, b"first record"), (2, 1, b""), (3, 7, b"third" * 9), (9, 1, b"last")]
    data, _ = chain(records)
    ends = [one.end for one in Walk(data)]
    for index in range(len(data)):
        for bit in (0x01, 0x80):
            flipped = bytearray(data)
            flipped[index] ^= bit
            walk = Walk(bytes(flipped), 0, frame.FIRST_LINK)
            list(walk)
            damaged = next(number for number, end in enumerate(ends) if index < end)
            assert walk.offset == (ends[damaged - 1] if damaged else 0)
            last = damaged == len(records) - 1
            assert walk.end is (End.TORN if last else End.CORRUPT), (index, walk.reason)


@given(RECORDS.filter(lambda records: len(records) > 1), st.data())
def test_reordering_duplication_and_deletion_break_the_chain(records, data):
    whole, _ = chain(records)
    frames = [whole[one.offset : one.end] for one in Walk(whole)]
    at = data.draw(st.integers(0, len(frames) - 2))
    swapped = [*frames[:at], frames[at + 1], frames[at], *frames[at + 2 :]]
    doubled = [*frames[: at + 1], frames[at], *frames[at + 1 :]]
    deleted = [*frames[:at], *frames[at + 1 :]]
    for changed in (swapped, doubled, deleted):
        walk = Walk(b"".join(changed), 0, frame.FIRST_LINK)
        found = list(walk)
        assert walk.end is End.CORRUPT
        assert len(found) in (at, at + 1)


@given(st.binary(max_size=300))
def test_any_bytes_are_walked_without_an_error(data):
    walk = Walk(data, 0, frame.FIRST_LINK)
    list(walk)
    assert 0 <= walk.offset <= len(data)


def test_zeros_are_the_end_and_never_a_record():
    for size in (0, 1, 42, 43, 44, 500):
        assert frame.decode(bytes(size), 0) is Fault.END
        assert frame.find_frame(bytes(size), 0) is None


def test_a_frame_after_zeros_is_found():
    data, _ = chain([(1, 1, b"x" * 20)])
    for zeros in (1, 42, 43, 44, 500):
        assert frame.find_frame(bytes(zeros) + data, 0) == zeros


def test_lengths_are_bounded_on_both_sides():
    with pytest.raises(ValueError, match="may have"):
        frame.encode(frame.FIRST_LINK, 1, 1, bytes(JOURNAL_RECORD_BYTES_MAX + 1))
    data, _ = frame.encode(frame.FIRST_LINK, 1, 1, bytes(JOURNAL_RECORD_BYTES_MAX))
    assert isinstance(frame.decode(data, 0), Frame)
    assert frame.decode(b"\xff" * 60, 0) is Fault.LENGTH


def test_a_limit_hides_what_lies_beyond():
    data, _ = chain([(1, 1, b"a"), (1, 1, b"b")])
    first = frame.decode(data, 0)
    walk = Walk(data, 0, frame.FIRST_LINK, first.end)
    assert [one.payload for one in walk] == [b"a"]
    assert walk.end is End.CLEAN


def test_the_encoder_moves_on_only_when_told():
    encoder = frame.Encoder()
    first = encoder.encode(1, 1, b"a")
    assert encoder.encode(1, 1, b"a") == first
    encoder.advance(first[1])
    assert encoder.encode(1, 1, b"a") != first
