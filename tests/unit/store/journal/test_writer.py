import pytest

from ostiary.core.error import Code, GatewayError, OperatorError
from ostiary.core.event import Gap, Kind
from ostiary.core.limit import JOURNAL_STALL_SECONDS_MAX
from ostiary.gateway.audit import record
from ostiary.store.journal.layout import START, load_mark
from ostiary.store.journal.reader import read
from ostiary.testing.clock import FakeClock
from ostiary.testing.disk import FaultDisk, Mode
from tests.unit.store.journal.chain import ORIGIN, Client, closed, everything, opened, start, stop


def test_a_reader_sees_what_was_synced_and_not_more(tmp_path):
    started = start(tmp_path)
    client = Client(started.writer)
    client.call()
    assert everything(tmp_path) == []
    assert started.writer.work() is None
    assert everything(tmp_path) == client.acknowledged
    client.call()
    assert everything(tmp_path) == client.acknowledged[:2]
    assert started.journal.close()
    assert everything(tmp_path) == client.acknowledged


def test_sequences_count_from_zero_and_go_on_over_epochs(tmp_path):
    started = start(tmp_path)
    client = Client(started.writer)
    client.call()
    started.journal.close()
    again = start(tmp_path)
    second = Client(again.writer)
    second.call()
    again.journal.close()
    assert [one[0] for one in everything(tmp_path)] == [0, 1, 2, 3]
    assert (again.aborted, again.bytes_cut) == (0, 0)
    headers = [record.decode(one.kind, one.payload) for one in read(tmp_path / ORIGIN, START) if one.sequence < 0]
    assert [one.epoch for one in headers] == [1, 2]


def test_rotation_goes_on_in_the_prepared_file(tmp_path):
    started = start(tmp_path)
    client = Client(started.writer)
    for _ in range(60):
        started.writer.work()
        client.call()
    started.writer.work()
    assert load_mark(tmp_path / ORIGIN).segment >= 3
    assert len(client.acknowledged) == 120
    assert everything(tmp_path) == client.acknowledged


def test_without_a_prepared_file_appends_are_refused_until_there_is_one(tmp_path):
    started = start(tmp_path)
    client = Client(started.writer)
    while client.append(Kind.OPENED, opened(len(client.acknowledged))) is not None:
        pass
    assert len(client.acknowledged) > 5
    with pytest.raises(GatewayError) as caught:
        started.writer.append(Kind.OPENED, opened(1))
    assert caught.value.code is Code.AUDIT_UNAVAILABLE
    assert not started.writer.healthy()
    started.writer.work()
    assert started.writer.healthy()
    client.call()
    started.writer.work()
    assert everything(tmp_path) == client.acknowledged


def test_the_next_file_is_allocated_before_it_is_needed(tmp_path):
    disk = FaultDisk(tmp_path)
    started = start(tmp_path, disk)
    started.writer.work()
    before = len(disk.calls)
    client = Client(started.writer)
    for _ in range(12):
        client.call()
    assert {call.method for call in disk.calls[before:]} == {"pwrite"}
    assert started.writer._segment.number == 1


def test_a_stalled_device_refuses_and_recovers_by_itself(tmp_path):
    clock = FakeClock()
    started = start(tmp_path, clock=clock)
    client = Client(started.writer)
    started.writer.work()
    client.call()
    clock.advance(JOURNAL_STALL_SECONDS_MAX + 0.1)
    assert not started.writer.healthy()
    client.call()
    assert len(client.acknowledged) == 2
    started.writer.work()
    assert started.writer.healthy()
    client.call()
    started.writer.work()
    assert everything(tmp_path) == client.acknowledged


def test_an_idle_journal_never_counts_as_stalled(tmp_path):
    clock = FakeClock()
    started = start(tmp_path, clock=clock)
    started.writer.work()
    clock.advance(10_000)
    assert started.writer.healthy()
    assert Client(started.writer).append(Kind.OPENED, opened(1)) == 0


def test_steady_traffic_during_syncs_never_counts_as_stalled(tmp_path):
    """What arrives during a sync is as old as that sync's start, however long the traffic lasts."""
    clock = FakeClock()
    disk = FaultDisk(tmp_path)
    started = start(tmp_path, disk, clock, segment_bytes=1 << 20)
    client = Client(started.writer)
    started.writer.work()
    disk.before = lambda call: client.call() if call.method == "fdatasync" else None
    for _ in range(40):
        clock.advance(JOURNAL_STALL_SECONDS_MAX / 4)
        client.call()
        assert started.writer.healthy()
        started.writer.work()
    assert len(client.acknowledged) == 160


def test_too_many_unsynced_bytes_are_refused(tmp_path):
    started = start(tmp_path, segment_bytes=1 << 20)
    object.__setattr__(
        started.writer,
        "_plan",
        started.writer._plan.__class__(
            **{
                **{name: getattr(started.writer._plan, name) for name in started.writer._plan.__struct_fields__},
                "unsynced_bytes_max": 2_000,
            }
        ),
    )
    client = Client(started.writer)
    started.writer.work()
    for _ in range(20):
        client.call()
    assert 5 < len(client.acknowledged) < 15
    started.writer.work()
    client.call()
    started.writer.work()
    assert everything(tmp_path) == client.acknowledged


@pytest.mark.parametrize("mode", [Mode.REFUSED, Mode.APPLIED, Mode.SHORT])
def test_a_failed_write_acknowledges_nothing_and_leaves_nothing(tmp_path, mode):
    disk = FaultDisk(tmp_path)
    started = start(tmp_path, disk)
    client = Client(started.writer)
    client.call()
    started.writer.work()
    client.call()
    disk.plan = lambda call: mode if call.method == "pwrite" else None
    assert client.append(Kind.OPENED, b'{"failed":1}') is None
    assert not started.writer.healthy()
    assert client.append(Kind.OPENED, b'{"failed":2}') is None
    disk.plan = None
    assert started.writer.work() is None
    assert started.writer.healthy()
    client.call()
    started.writer.work()
    assert everything(tmp_path) == client.acknowledged
    assert [one[0] for one in client.acknowledged] == list(range(6))


def test_a_failed_sync_is_never_tried_again_on_the_same_file(tmp_path):
    disk = FaultDisk(tmp_path)
    started = start(tmp_path, disk)
    started.writer.work()
    client = Client(started.writer)
    client.call()
    poisoned = started.writer._segment
    disk.plan = lambda call: Mode.REFUSED if call.method == "fdatasync" else None
    assert started.writer.work() is not None
    disk.plan = None
    before = len(disk.calls)
    assert not started.writer.healthy()
    assert client.append(Kind.OPENED, b"{}") is None
    started.writer.work()
    synced = [call.path.name for call in disk.calls[before:] if call.method == "fdatasync"]
    assert f"{poisoned.number:08d}.seg" not in synced
    client.call()
    started.writer.work()
    assert everything(tmp_path) == client.acknowledged


def test_repair_is_tried_until_the_disk_is_well(tmp_path):
    disk = FaultDisk(tmp_path)
    started = start(tmp_path, disk)
    client = Client(started.writer)
    client.call()
    disk.plan = lambda call: Mode.REFUSED
    started.writer.work()
    for _ in range(5):
        retry = started.writer.work()
        assert retry is not None
        assert retry <= 10
    disk.plan = None
    assert started.writer.work() is None
    assert everything(tmp_path) == client.acknowledged
    assert started.writer.healthy()


def test_a_failed_sync_right_after_rotation_keeps_both_files(tmp_path):
    disk = FaultDisk(tmp_path)
    started = start(tmp_path, disk)
    started.writer.work()
    client = Client(started.writer)
    while started.writer._segment.number == 0:
        client.call()
    client.call()
    disk.plan = lambda call: Mode.REFUSED if call.method == "fdatasync" else None
    started.writer.work()
    disk.plan = None
    started.writer.work()
    client.call()
    started.writer.work()
    assert everything(tmp_path) == client.acknowledged


def test_closing_records_wait_for_the_disk_to_come_back(tmp_path):
    disk = FaultDisk(tmp_path)
    started = start(tmp_path, disk)
    client = Client(started.writer)
    sequence = client.append(Kind.OPENED, opened(1))
    disk.plan = lambda call: Mode.REFUSED
    assert client.append(Kind.OPENED, opened(2)) is None
    started.writer.defer(Kind.CLOSED, closed(1, sequence))
    assert started.writer.open_calls == 1
    started.writer.work()
    disk.plan = None
    started.writer.work()
    started.writer.work()
    assert started.writer.open_calls == 0
    assert everything(tmp_path)[-1] == (1, Kind.CLOSED, closed(1, sequence))


def test_a_gap_is_a_record(tmp_path):
    started = start(tmp_path)
    started.writer.gap(1, 2, 3, "disk full")
    started.writer.work()
    ((_, kind, payload),) = everything(tmp_path)
    assert record.decode(kind, payload) == Gap(1, 2, 3, "disk full")


def test_a_closed_journal_refuses(tmp_path):
    started = start(tmp_path)
    started.journal.close()
    with pytest.raises(GatewayError):
        started.writer.append(Kind.OPENED, b"{}")
    assert not started.writer.healthy()


def test_closing_gives_back_the_space_allocated(tmp_path):
    started = start(tmp_path, segment_bytes=1 << 20)
    Client(started.writer).call()
    started.writer.work()
    started.journal.close()
    assert sum(path.stat().st_size for path in (tmp_path / ORIGIN).iterdir()) < 4_096


def test_two_writers_never_share_an_origin(tmp_path):
    started = start(tmp_path)
    with pytest.raises(OperatorError) as caught:
        start(tmp_path)
    assert caught.value.code is Code.STORE_UNAVAILABLE
    started.journal.close()
    start(tmp_path).journal.close()


def test_modes_of_files_and_folders(tmp_path):
    started = start(tmp_path / "journal", FaultDisk(tmp_path))
    started.writer.work()
    for path in (tmp_path / "journal").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    stop(started)
