import os

import pytest

from ostiary.core.error import Code, OperatorError
from ostiary.core.event import Closed, Kind, Outcome, Recovered
from ostiary.gateway.audit import record
from ostiary.store.journal.layout import MARK_NAME, SET_ASIDE_NAME, load_mark, segment_path
from ostiary.store.journal.opening import open_journal, recover_idle
from ostiary.store.journal.verify import verify
from ostiary.testing.clock import FakeClock
from ostiary.testing.disk import FaultDisk
from tests.unit.store.journal.chain import ORIGIN, SEGMENT_BYTES, Client, closed, everything, opened, start, stop


def crashed(root, calls=3, left_open=0, *, sync=True):
    """A journal as a killed process leaves it; what was acknowledged in it."""
    started = start(root)
    client = Client(started.writer)
    started.writer.work()
    for _ in range(calls):
        client.call()
    if sync:
        started.writer.work()
    for number in range(left_open):
        client.append(Kind.OPENED, opened(100 + number))
    stop(started)
    return client.acknowledged


def test_a_clean_end_needs_no_recovery(tmp_path):
    started = start(tmp_path)
    Client(started.writer).call()
    started.journal.close()
    again = start(tmp_path)
    assert (again.aborted, again.bytes_cut) == (0, 0)
    again.journal.close()
    assert len(everything(tmp_path)) == 2


def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path):
    acknowledged = crashed(tmp_path, sync=False)
    again = start(tmp_path)
    assert (again.aborted, again.bytes_cut) == (0, 0)
    assert everything(tmp_path) == acknowledged


def test_open_calls_are_closed_as_aborted(tmp_path):
    acknowledged = crashed(tmp_path, left_open=2)
    clock = FakeClock(now_ns=777)
    again = start(tmp_path, clock=clock)
    assert again.aborted == 2
    records = everything(tmp_path)
    assert records[: len(acknowledged)] == acknowledged
    added = [record.decode(kind, payload) for _, kind, payload in records[len(acknowledged) :]]
    assert [type(one) for one in added] == [Closed, Closed, Recovered]
    opens = [sequence for sequence, kind, payload in acknowledged if b"req-10" in payload]
    assert [(one.opened, one.outcome, one.error, one.tenant) for one in added[:2]] == [
        (sequence, Outcome.ABORTED, "call.aborted", "acme") for sequence in opens
    ]
    assert added[2] == Recovered(777, 0, 2)
    stop(again)
    third = start(tmp_path)
    assert third.aborted == 0
    assert verify(tmp_path)[0].problems == ()


def test_a_call_open_over_many_files_is_found_and_closed_once(tmp_path):
    started = start(tmp_path)
    client = Client(started.writer)
    long_call = client.append(Kind.OPENED, opened(900))
    for _ in range(60):
        started.writer.work()
        client.call()
    started.writer.work()
    assert load_mark(tmp_path / ORIGIN).segment >= 3
    stop(started)
    again = start(tmp_path)
    assert again.aborted == 1
    last = [record.decode(kind, payload) for _, kind, payload in everything(tmp_path)][-2]
    assert (last.opened, last.outcome) == (long_call, Outcome.ABORTED)


@pytest.mark.parametrize("cut", [1, 20, 43, 44, 100])
def test_an_unfinished_record_is_left_out_and_said_so(tmp_path, cut):
    acknowledged = crashed(tmp_path)
    mark = load_mark(tmp_path / ORIGIN)
    path = segment_path(tmp_path / ORIGIN, mark.segment)
    whole = path.read_bytes()
    torn = whole[mark.offset - 200 : mark.offset][:cut].replace(b"\x00", b"\x01")
    with path.open("r+b") as file:
        file.seek(mark.offset)
        file.write(torn)
    again = start(tmp_path)
    assert again.bytes_cut == cut
    records = everything(tmp_path)
    assert records[:-1] == acknowledged
    assert record.decode(*records[-1][1:]) == Recovered(1_800_000_000_000_000_000, cut, 0)
    assert verify(tmp_path)[0].problems == ()
    # What was found stays as evidence.
    assert path.read_bytes()[mark.offset : mark.offset + cut] == torn


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("rebooted", [False, True])
def test_damage_below_the_mark_is_refused(tmp_path, rebooted):
    crashed(tmp_path)
    mark = load_mark(tmp_path / ORIGIN)
    path = segment_path(tmp_path / ORIGIN, mark.segment)
    flip(path, mark.offset - 10)
    before = {one: one.read_bytes() for one in (tmp_path / ORIGIN).iterdir()}
    with pytest.raises(OperatorError) as caught:
        start(tmp_path, FaultDisk(tmp_path, boot="boot-2" if rebooted else "boot-1"))
    assert caught.value.code is Code.JOURNAL_CORRUPT
    assert path.name in caught.value.message
    assert {one: one.read_bytes() for one in (tmp_path / ORIGIN).iterdir()} == before


def test_damage_in_the_middle_above_the_mark_is_refused_within_one_boot(tmp_path):
    crashed(tmp_path, left_open=3)
    mark = load_mark(tmp_path / ORIGIN)
    flip(segment_path(tmp_path / ORIGIN, mark.segment), mark.offset + 60)
    with pytest.raises(OperatorError) as caught:
        start(tmp_path)
    assert caught.value.code is Code.JOURNAL_CORRUPT


def test_after_a_reboot_it_is_what_power_loss_does(tmp_path):
    acknowledged = crashed(tmp_path, left_open=3)
    mark = load_mark(tmp_path / ORIGIN)
    flip(segment_path(tmp_path / ORIGIN, mark.segment), mark.offset + 60)
    again = start(tmp_path, FaultDisk(tmp_path, boot="boot-2"))
    assert again.bytes_cut > 0
    assert everything(tmp_path)[:-1] == acknowledged[: mark.sequence]
    assert verify(tmp_path)[0].problems == ()


def test_a_missing_file_or_mark_is_refused(tmp_path):
    started = start(tmp_path)
    client = Client(started.writer)
    for _ in range(40):
        started.writer.work()
        client.call()
    started.journal.close()
    middle = segment_path(tmp_path / ORIGIN, 1)
    for path in (middle, tmp_path / ORIGIN / MARK_NAME):
        aside = path.rename(tmp_path / "aside")
        with pytest.raises(OperatorError) as caught:
            start(tmp_path)
        assert caught.value.code is Code.JOURNAL_CORRUPT
        aside.rename(path)
    start(tmp_path).journal.close()


def test_a_chain_cut_back_below_its_mark_is_refused(tmp_path):
    crashed(tmp_path)
    mark = load_mark(tmp_path / ORIGIN)
    os.truncate(segment_path(tmp_path / ORIGIN, mark.segment), mark.offset - 30)
    with pytest.raises(OperatorError):
        start(tmp_path)


def test_an_origin_set_aside_is_never_used_again(tmp_path):
    crashed(tmp_path)
    (tmp_path / ORIGIN / SET_ASIDE_NAME).touch()
    # A worker with a slot of its own goes on beside it, under the same name at every start.
    for _ in range(2):
        again = start(tmp_path)
        assert again.origin == "r1.1000"
        again.journal.close()
    free = open_journal(tmp_path, "r1", disk=FaultDisk(tmp_path), clock=FakeClock(), segment_bytes=SEGMENT_BYTES)
    assert free.origin == "r1.1"
    assert recover_idle(tmp_path, disk=FaultDisk(tmp_path), clock=FakeClock()) == []


def test_the_first_free_slot_is_taken(tmp_path):
    held = [
        open_journal(tmp_path, "r1", disk=FaultDisk(tmp_path), clock=FakeClock(), segment_bytes=SEGMENT_BYTES)
        for _ in range(3)
    ]
    assert [one.origin for one in held] == ["r1.0", "r1.1", "r1.2"]
    held[1].journal.close()
    again = open_journal(tmp_path, "r1", disk=FaultDisk(tmp_path), clock=FakeClock(), segment_bytes=SEGMENT_BYTES)
    assert again.origin == "r1.1"


def test_slots_nobody_takes_again_are_recovered_too(tmp_path):
    crashed(tmp_path, left_open=1)
    held = open_journal(
        tmp_path, "r1", disk=FaultDisk(tmp_path), clock=FakeClock(), slot=5, segment_bytes=SEGMENT_BYTES
    )
    done = recover_idle(tmp_path, disk=FaultDisk(tmp_path), clock=FakeClock())
    assert [(one.origin, one.aborted) for one in done] == [(ORIGIN, 1)]
    assert recover_idle(tmp_path, disk=FaultDisk(tmp_path), clock=FakeClock()) == []
    held.journal.close()


def test_a_wall_clock_that_jumps_reorders_nothing(tmp_path):
    clock = FakeClock()
    started = start(tmp_path, clock=clock)
    client = Client(started.writer)
    for hours in (1, -2, 0, 5):
        clock._now_ns += hours * 3_600_000_000_000
        started.writer.append(Kind.OPENED, opened(clock.now_ns()))
        started.writer.work()
    client.call()
    stop(started)
    clock._now_ns -= 10**15
    again = start(tmp_path, clock=clock)
    assert again.aborted == 4
    assert [one[0] for one in everything(tmp_path)] == list(range(11))
    assert verify(tmp_path)[0].problems == ()
    assert closed(1, 4) in [one[2] for one in everything(tmp_path)]
