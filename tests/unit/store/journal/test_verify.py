import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostiary.core.error import OperatorError
from ostiary.core.event import Kind
from ostiary.gateway.audit import frame
from ostiary.gateway.audit.frame import Walk
from ostiary.store.journal import checkpoint
from ostiary.store.journal.layout import MARK_NAME, encode_mark, load_mark, segment_numbers, segment_path
from ostiary.store.journal.retention import removable, remove
from ostiary.store.journal.verify import verify
from ostiary.testing.disk import FaultDisk
from tests.unit.store.journal.chain import ORIGIN, Client, closed, everything, start


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """A small journal of several files, closed cleanly."""
    root = tmp_path_factory.mktemp("journal")
    started = start(root, segment_bytes=1_200)
    client = Client(started.writer)
    for _ in range(8):
        started.writer.work()
        client.call()
    started.writer.work()
    started.journal.close()
    assert len(segment_numbers(root / ORIGIN)) >= 3
    assert verify(root)[0].problems == ()
    return root


def files(root):
    return [segment_path(root / ORIGIN, number) for number in segment_numbers(root / ORIGIN)]


def problems(root, anchors=None):
    return [problem for report in verify(root, anchors) for problem in report.problems]


def test_every_flipped_byte_of_every_file_is_found_and_named(journal, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(journal, copy)
    for path in [*files(copy), copy / ORIGIN / MARK_NAME]:
        data = path.read_bytes()
        ends = [one.end for one in Walk(data)] if path.suffix == ".seg" else []
        for index in range(len(data)):
            changed = bytearray(data)
            changed[index] ^= 0x10
            path.write_bytes(changed)
            found = problems(copy)
            assert found, (path.name, index)
            if ends and index >= ends[0]:
                begin = max(end for end in [0, *ends] if end <= index)
                begin = index if index >= ends[-1] else begin  # in the zeros allocated ahead
                assert (found[0].file, found[0].offset) == (str(path), begin), (path.name, index, found)
            else:
                assert any(path.name in problem.file + problem.reason for problem in found), (path.name, index, found)
        path.write_bytes(data)
    assert problems(copy) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_records_removed_repeated_swapped_or_moved_are_found(journal, tmp_path, data):
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(journal, copy)
    path = data.draw(st.sampled_from(files(copy)))
    whole = path.read_bytes()
    frames = [whole[one.offset : one.end] for one in Walk(whole)]
    at = data.draw(st.integers(0, len(frames) - 1))
    other = data.draw(st.integers(0, len(frames) - 1))
    match data.draw(st.sampled_from(["delete", "repeat", "swap", "truncate"])):
        case "delete":
            frames = frames[:at] + frames[at + 1 :]
        case "repeat":
            frames = [*frames[: at + 1], frames[at], *frames[at + 1 :]]
        case "swap":
            if at == other:
                return
            frames[at], frames[other] = frames[other], frames[at]
        case "truncate":
            frames = frames[:at]
    path.write_bytes(b"".join(frames))
    found = problems(copy)
    assert found
    assert any(path.name in problem.file for problem in found) or not frames


def test_files_removed_or_exchanged_are_found(journal, tmp_path):
    paths = [path.name for path in files(journal)]
    for index, name in enumerate(paths):
        copy = tmp_path / f"without-{index}"
        shutil.copytree(journal, copy)
        (copy / ORIGIN / name).unlink()
        assert problems(copy), name
    copy = tmp_path / "exchanged"
    shutil.copytree(journal, copy)
    first, second = (copy / ORIGIN / name for name in paths[:2])
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    assert problems(copy)


def test_two_origins_exchanged_are_found(tmp_path):
    for slot in (0, 1):
        root = tmp_path / str(slot)
        started = start(root)
        Client(started.writer).call()
        started.journal.close()
    (tmp_path / "1" / ORIGIN).rename(tmp_path / "0" / "r1.1")
    assert any("r1.0" in problem.reason for problem in problems(tmp_path / "0"))


def cut_back(directory, records):
    """What someone who can write everything does: cut the chain after some records and move the mark there."""
    mark = load_mark(directory)
    count, link = 0, frame.FIRST_LINK
    for number in segment_numbers(directory):
        path = segment_path(directory, number)
        walk = Walk(path.read_bytes())
        for one in walk:
            link = one.link
            count += one.kind != Kind.SEGMENT
            if count == records:
                path.write_bytes(path.read_bytes()[: one.end])
                for later in range(number + 1, mark.segment + 1):
                    segment_path(directory, later).unlink()
                moved = type(mark)(mark.epoch, number, one.end, records, link)
                (directory / MARK_NAME).write_bytes(encode_mark(moved).ljust(512, b"\x00") + encode_mark(moved))
                return


def test_a_chain_cut_back_with_its_mark_is_found_only_by_a_checkpoint(journal, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(journal, copy)
    kept = checkpoint.decode(checkpoint.encode(checkpoint.take(verify(copy), 7)))
    assert kept.at_ns == 7
    assert problems(copy, kept.origins) == []
    cut_back(copy / ORIGIN, 5)
    assert problems(copy) == []
    (problem,) = problems(copy, kept.origins)
    assert "checkpoint" in problem.reason


def test_a_chain_written_anew_is_found_only_by_a_checkpoint(journal, tmp_path):
    kept = checkpoint.take(verify(journal), 7)
    forged = tmp_path / "forged"
    started = start(forged, segment_bytes=1_200)
    client = Client(started.writer)
    client.calls = 1
    for _ in range(8):
        started.writer.work()
        client.call()
    started.journal.close()
    assert problems(forged) == []
    assert problems(forged, kept.origins)


def test_an_origin_that_vanished_is_found_by_a_checkpoint(journal, tmp_path):
    kept = checkpoint.take(verify(journal), 7)
    (problem,) = problems(tmp_path, kept.origins)
    assert "gone" in problem.reason


def test_a_checkpoint_holds_while_the_journal_grows(tmp_path):
    started = start(tmp_path)
    client = Client(started.writer)
    client.call()
    started.writer.work()
    kept = checkpoint.take(verify(tmp_path), 7)
    for _ in range(30):
        client.call()
        started.writer.work()
    assert problems(tmp_path, kept.origins) == []
    (report,) = verify(tmp_path, kept.origins)
    assert (report.records, report.open_calls, report.notes) == (62, 0, ())


def test_no_checkpoint_is_taken_of_a_journal_that_does_not_hold(journal, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(journal, copy)
    files(copy)[0].write_bytes(b"garbage" * 20)
    with pytest.raises(OperatorError):
        checkpoint.take(verify(copy), 1)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format":2,"at_ns":0,"origins":{}}', b"\xff"])
def test_what_is_no_checkpoint_is_refused(data):
    with pytest.raises(OperatorError):
        checkpoint.decode(data)


def test_a_call_closed_twice_or_never_opened_is_found(tmp_path):
    started = start(tmp_path)
    client = Client(started.writer)
    client.call()
    client.append(Kind.CLOSED, closed(1, 0))
    started.journal.close()
    (problem,) = problems(tmp_path)
    assert "closes call 0" in problem.reason


def test_an_unfinished_last_record_beyond_the_mark_is_counted_not_blamed(tmp_path):
    started = start(tmp_path)
    Client(started.writer).call()
    started.journal.close()
    mark = load_mark(tmp_path / ORIGIN)
    with segment_path(tmp_path / ORIGIN, mark.segment).open("ab") as file:
        file.write(b"\x00\x00\x00\x10torn")
    (report,) = verify(tmp_path)
    assert report.problems == ()
    assert report.unfinished_bytes == 8


def test_files_removed_by_retention_are_known(tmp_path):
    started = start(tmp_path, segment_bytes=1_200)
    client = Client(started.writer)
    for _ in range(20):
        started.writer.work()
        client.call()
    started.writer.work()
    directory = tmp_path / ORIGIN
    mark = load_mark(directory)
    now = 1_800_000_000_000_000_000
    assert removable(directory, [mark.position], now) == []
    assert removable(directory, [type(mark.position)(1, 0, 0)], now + 1) == [0]
    numbers = removable(directory, [mark.position], now + 1)
    assert numbers == list(range(mark.segment - 1))
    last = everything(tmp_path)[-3:]
    remove(directory, numbers, FaultDisk(tmp_path))
    assert problems(tmp_path) == []
    assert everything(tmp_path)[-3:] == last
    client.call()
    started.journal.close()
    start(tmp_path).journal.close()
    assert problems(tmp_path) == []
    segment_path(directory, numbers[-1] + 1).unlink()
    assert problems(tmp_path)
