import asyncio
import shutil

import msgspec
import pytest

from ostiary.core.error import Code, OperatorError
from ostiary.core.event import Closed, Kind, Outcome, Recovered, Timings, Unauthenticated
from ostiary.core.usage import Cost, Nano, Usage
from ostiary.gateway.audit import record
from ostiary.govern.usage.model import CallRow, Dimension, Place, UsageQuery
from ostiary.projector import step
from ostiary.projector.loop import Projector
from ostiary.projector.step import CONSUMER, day_of, fold, project_origin
from ostiary.store.journal.layout import START, Position, segment_path
from ostiary.store.journal.reader import Entry, JournalFiles
from ostiary.testing.disk import FaultDisk
from tests.contract.backends import Sqlite
from tests.unit.store.journal.chain import ORIGIN, Client, opened, start, stop


def requests(stores):
    return sum(line.requests for line in stores.usage.report(UsageQuery((Dimension.TEAM,))))


def open_calls(stores):
    with stores.database.read() as tx:
        return [int(row[0]) for row in tx.rows("SELECT sequence FROM open_calls ORDER BY sequence")]


@pytest.fixture
def stores(tmp_path):
    stores = Sqlite(tmp_path)
    yield stores
    stores.close()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "journal"


def journal(root, calls, left_open=0, **options):
    started = start(root, **options)
    client = Client(started.writer)
    for _ in range(calls):
        started.writer.work()
        client.call()
    for number in range(left_open):
        client.append(Kind.OPENED, opened(1_000 + number))
    started.writer.work()
    return started


def test_everything_on_the_device_is_projected_once(root, stores):
    started = journal(root, 40, left_open=2)
    source = JournalFiles(root)
    assert source.origins() == [ORIGIN]
    assert project_origin(source, stores.usage, ORIGIN) >= 82
    assert requests(stores) == 40
    assert open_calls(stores) == [80, 81]
    assert project_origin(source, stores.usage, ORIGIN) == 0
    started.journal.close()
    start(root).journal.close()
    project_origin(source, stores.usage, ORIGIN)
    assert requests(stores) == 42
    assert open_calls(stores) == []


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 1_000])
def test_batches_of_any_size_give_the_same(root, stores, batch, monkeypatch):
    monkeypatch.setattr(step, "PROJECTOR_BATCH_RECORDS", batch)
    journal(root, 25, left_open=1)
    project_origin(JournalFiles(root), stores.usage, ORIGIN)
    assert requests(stores) == 25
    assert open_calls(stores) == [50]


def test_killed_at_any_commit_nothing_is_lost_or_doubled(root, stores, monkeypatch):
    """Before each commit, and after each, in turn: the process dies, another goes on (FD-27)."""
    monkeypatch.setattr(step, "PROJECTOR_BATCH_RECORDS", 4)
    started = journal(root, 3)

    class Died(Exception):
        pass

    for number in range(14):
        real = stores.usage.apply

        def dying(*words, real=real, after=bool(number % 2)):
            if after:
                real(*words)
            raise Died

        stores.usage.apply = dying
        Client(started.writer).call()
        started.writer.work()
        with pytest.raises(Died):
            project_origin(JournalFiles(root), stores.usage, ORIGIN)
        stores.reopen()
    project_origin(JournalFiles(root), stores.usage, ORIGIN)
    assert requests(stores) == 17
    assert open_calls(stores) == []


def test_two_projectors_at_once_count_once(root, stores):
    journal(root, 5)
    source = JournalFiles(root)

    class Slow:
        """Another projector gets in between this one's look and its commit."""

        place = stores.usage.place

        def apply(self, *words):
            assert project_origin(source, stores.usage, ORIGIN) > 0
            return stores.usage.apply(*words)

    assert project_origin(source, Slow(), ORIGIN) == 0
    assert requests(stores) == 5


def test_an_abandoned_file_is_passed_as_the_chain_does(root, stores):
    disk = FaultDisk(root.parent / "none")
    started = start(root, disk)
    client = Client(started.writer)
    client.call()
    started.writer.work()
    project_origin(JournalFiles(root), stores.usage, ORIGIN)
    client.call()
    started.writer._fail("told to")
    started.writer.work()
    client.call()
    started.writer.work()
    project_origin(JournalFiles(root), stores.usage, ORIGIN)
    assert requests(stores) == 3


def test_damage_holds_the_origin_and_only_it(root, stores):
    for slot, calls in ((0, 4), (1, 2)):
        one = root / "x" if slot else root
        journal(one, calls).journal.close()
    (root / "x" / ORIGIN).rename(root / "r1.1")
    path = segment_path(root / ORIGIN, 0)
    good = path.read_bytes()
    bad = bytearray(good)
    bad[-40] ^= 1
    path.write_bytes(bad)
    told = []
    projector = Projector(JournalFiles(root), stores.usage, lambda origin, error: told.append((origin, error.code)))
    projector.run_once()
    projector.run_once()
    assert told == [(ORIGIN, Code.JOURNAL_CORRUPT)] * 2
    assert set(projector.faults) == {ORIGIN}
    assert requests(stores) == 5
    path.write_bytes(good)
    projector.run_once()
    assert projector.faults == {}
    assert requests(stores) == 6


def test_a_file_removed_before_it_was_read_is_told(root, stores):
    journal(root, 40).journal.close()
    project_origin(JournalFiles(root), stores.usage, ORIGIN)
    place = stores.usage.place(CONSUMER, ORIGIN)
    assert place.segment > 1
    shutil.rmtree(root / ORIGIN)
    journal(root, 1).journal.close()
    assert project_origin(JournalFiles(root), stores.usage, ORIGIN) == 0
    with stores.database.write() as tx:
        tx.run("UPDATE offsets SET segment = 0, offset = 9999")
    segment_path(root / ORIGIN, 0).unlink()
    journal(root / "y", 1)
    with pytest.raises(OperatorError):
        list(JournalFiles(root).read(ORIGIN, Position(0, 10, 0)))


def entry(sequence, kind, payload):
    return Entry(sequence, kind, 1, payload, 0, 1, sequence + 1)


def test_a_record_becomes_a_row():
    closed = Closed(
        request_id="r",
        at_ns=86_400 * 10**9 * 3 + 5,
        opened=-1,
        outcome=Outcome.DENIED,
        tenant="acme",
        team="search",
        environment="production",
        original_model="chat",
        usage=Usage(1, 2, 3, 4, 5, 6),
        cost=Cost(Nano(9), "EUR", estimated=True),
    )
    (row,) = fold("r1.0", [entry(7, Kind.DENIED, record.encode(closed))]).calls
    assert (row.day, row.sequence, row.outcome, row.cost_nano, row.currency) == ("1970-01-04", 7, "denied", 9, "EUR")
    assert (row.input_tokens, row.cached_tokens, row.cache_write_tokens, row.reasoning_tokens) == (1, 3, 4, 6)
    assert row.estimated


def test_what_is_unknown_is_passed_over_and_what_is_unreadable_counted():
    made = fold(
        "r1.0",
        [
            entry(-1, Kind.SEGMENT, b"{}"),
            entry(0, 99, b"\x00"),
            entry(1, Kind.CLOSED, b"{}"),
            entry(2, Kind.UNAUTHENTICATED, record.encode(Unauthenticated(1, "s", "c", 2))),
            entry(3, Kind.RECOVERED, record.encode(Recovered(1, 2, 3))),
        ],
    )
    assert made.unreadable == [(1, Kind.CLOSED)]
    assert made.refusals == [Unauthenticated(1, "s", "c", 2)]
    assert made.recoveries == [(3, Recovered(1, 2, 3))]
    assert made.calls == []


def test_a_provider_that_lies_about_tokens_cannot_overflow_a_sum():
    closed = Closed(
        request_id="r",
        at_ns=1,
        opened=0,
        outcome=Outcome.SUCCEEDED,
        usage=Usage(10**18, -5),
        cost=Cost(Nano(10**18)),
    )
    (row,) = fold("r1.0", [entry(1, Kind.CLOSED, record.encode(closed))]).calls
    assert (row.input_tokens, row.output_tokens, row.cost_nano) == (2**40, 0, 2**53)


@pytest.mark.parametrize("lie", [-1, 2**40 + 1, 2**63, 2**64, 10**30])
def test_any_kind_of_usage_may_be_the_lie(lie):
    """The record is read in another way then: the rest of it is what it would have been."""
    kinds = msgspec.structs.fields(Usage)
    for number, field in enumerate(kinds):
        usage = Usage(*(lie if place == number else place + 1 for place in range(len(kinds))))
        honest = Usage(*(place + 1 for place in range(len(kinds))))
        told, plain = (
            fold("r1.0", [entry(1, Kind.CLOSED, record.encode(whole_closing(usage=one)))]).calls[0]
            for one in (usage, honest)
        )
        known = {field.name: min(max(lie, 0), 2**40)} if hasattr(plain, field.name) else {}
        assert told == msgspec.structs.replace(plain, **known)


def test_a_closing_record_that_is_none_is_unreadable_whatever_it_says_of_tokens():
    payload = record.encode(whole_closing(usage=Usage(10**18))).replace(b'"at_ns":', b'"at":')
    assert fold("r1.0", [entry(1, Kind.CLOSED, payload)]).unreadable == [(1, Kind.CLOSED)]


def whole_closing(**given):
    """A closing record with no two fields alike."""
    words = {field.name: field.name for field in msgspec.structs.fields(Closed) if field.type is str}
    return Closed(
        **words,
        **{
            "at_ns": 86_400 * 10**9,
            "opened": 7,
            "outcome": Outcome.FAILED,
            "stream": True,
            "status": 502,
            "timings": Timings(1.0, 2.0, 3.0, 4.0, 5.0),
            "usage": Usage(*range(21, 21 + len(msgspec.structs.fields(Usage)))),
            "cost": Cost(Nano(99), "EUR", "v", estimated=True),
            **given,
        },
    )


def test_each_value_of_a_closing_record_stands_in_its_place():
    closed = whole_closing()
    (row,) = fold("r1.0", [entry(8, Kind.CLOSED, record.encode(closed))]).calls
    same = {"tenant", "environment", "team", "key_id", "provider", "operation", "error", "request_id", "project"}
    same |= {"feature", "end_user", "at_ns", "outcome", "status", "stream"}
    kinds = {field.name for field in msgspec.structs.fields(Usage)} & set(CallRow.__struct_fields__)
    assert len(kinds) == 14
    assert row == CallRow(
        origin="r1.0",
        sequence=8,
        day="1970-01-02",
        asked=closed.original_model,
        served=closed.request_model,
        estimated=True,
        cost_nano=99,
        currency="EUR",
        total_ms=5.0,
        first_content_ms=4.0,
        whole=True,
        **{name: getattr(closed, name) for name in same},
        **{name: getattr(closed.usage, name) for name in kinds},
    )
    assert {type(value) for value in msgspec.structs.astuple(row)} == {str, int, float}


def test_days_are_utc():
    assert [day_of(at) for at in (0, 86_400 * 10**9 - 1, 86_400 * 10**9, 1_800_000_000 * 10**9)] == [
        "1970-01-01",
        "1970-01-01",
        "1970-01-02",
        "2027-01-15",
    ]


async def test_the_loop_projects_until_told_to_stop_and_once_more(root, stores):
    started = journal(root, 2)
    projector = Projector(JournalFiles(root), stores.usage)
    stop_event = asyncio.Event()
    task = asyncio.get_running_loop().create_task(projector.run(stop_event))
    while stores.usage.place(CONSUMER, ORIGIN) == Place():
        await asyncio.sleep(0)
    Client(started.writer).call()
    started.writer.work()
    stop_event.set()
    await task
    assert requests(stores) == 3
    stop(started)


async def test_what_is_not_shipped_is_known_to_the_byte_also_while_the_store_is_away(root, stores):
    started = journal(root, 12)
    source = JournalFiles(root)
    projector = Projector(source, stores.usage)
    whole = source.unread(ORIGIN, START)
    assert whole == sum(len(data.rstrip(b"\0")) for data in (one.read_bytes() for one in root.glob("*/*.seg")))
    assert projector.unshipped() == {ORIGIN: whole}
    projector.run_once()
    assert projector.unshipped() == {}
    place = stores.usage.place(CONSUMER, ORIGIN)
    stores.close()
    Client(started.writer).call()
    started.writer.work()
    projector.run_once()
    assert projector.faults
    left = source.unread(ORIGIN, Position(place.segment, place.offset, place.sequence))
    assert projector.unshipped() == {ORIGIN: left}
    assert 0 < left < whole
    stop(started)
    stores._open()


async def test_a_drain_ends_when_the_store_has_everything_or_its_time_is_over(root, stores):
    started = journal(root, 3)
    stop(started)

    class Away:
        """A store that is away for so many looks."""

        def __init__(self, looks):
            self.looks = looks

        def place(self, consumer, origin):
            self.looks -= 1
            if self.looks >= 0:
                raise OperatorError(Code.STORE_UNAVAILABLE, "away")
            return stores.usage.place(consumer, origin)

        def apply(self, *words):
            return stores.usage.apply(*words)

    hurry = asyncio.Event()
    away = Projector(JournalFiles(root), Away(10**9))
    assert sum((await away.drain(hurry, 0.0)).values()) > 0
    assert sum((await away.drain(hurry, 0.05)).values()) > 0
    hurry.set()
    assert sum((await away.drain(hurry, 3_600.0)).values()) > 0
    assert await Projector(JournalFiles(root), Away(2)).drain(asyncio.Event(), 60.0) == {}
    assert requests(stores) == 3
