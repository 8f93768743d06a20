"""Changes on their way from the outbox into the journal: each recorded once, in order, whatever fails in between."""

import itertools
import subprocess
import sys

import pytest

from ostiary.bootstrap.recorder import Recorder
from ostiary.core.error import Code, OperatorError
from ostiary.core.event import Changed, Kind
from ostiary.core.limit import CHANGES_BATCH_COUNT, CHANGES_CLAIM_SECONDS
from ostiary.gateway.audit import record
from ostiary.govern.change import Change
from ostiary.govern.tenants.model import Tenant
from ostiary.store.journal.changes import ChangeJournal
from ostiary.store.journal.layout import SET_ASIDE_NAME, START, origins
from ostiary.store.journal.reader import read
from ostiary.store.journal.verify import verify
from ostiary.testing.clock import FakeClock
from ostiary.testing.disk import FaultDisk, Killed, Mode
from tests.contract.backends import BACKENDS, Sqlite, backend


class House:
    """A database and the journals of its replicas."""

    def __init__(self, folder, store="sqlite"):
        self.folder = folder
        self.stores = backend(store, folder)
        self.clock = FakeClock()
        self.disks = {}

    def root(self, replica="r0"):
        return self.folder / replica

    def recorder(self, replica="r0", outbox=None):
        """As a process that has just started: one before it is gone."""
        if replica in self.disks:
            self.disks[replica].release()
        self.root(replica).mkdir(exist_ok=True)
        disk = self.disks[replica] = FaultDisk(self.root(replica))
        journal = ChangeJournal(self.root(replica), replica, disk, self.clock)
        return Recorder(outbox or self.stores.outbox, journal, replica, self.clock)

    def change(self, *numbers, detail=None):
        for number in numbers:
            made = Change(f"c{number}", number, "someone", "tenant.create", f"t{number}", f"t{number}", detail or {})
            self.stores.tenants.create(Tenant(f"t{number}", 1), made)

    def recorded(self, replica="r0"):
        root = self.root(replica)
        found = [entry for origin in origins(root) for entry in read(root / origin, START)]
        return [record.decode(one.kind, one.payload) for one in found if one.kind == Kind.CHANGE]

    def ids(self, replica="r0"):
        return [one.id for one in self.recorded(replica)]


@pytest.fixture(params=BACKENDS)
def house(tmp_path, request):
    made = House(tmp_path, request.param)
    yield made
    made.stores.end()


class Losing:
    """An outbox whose store is lost before a delivery is marked."""

    def __init__(self, outbox):
        self._outbox = outbox

    def __getattr__(self, name):
        return getattr(self._outbox, name)

    def delivered(self, *_):
        raise OperatorError(Code.STORE_UNAVAILABLE, "gone")


def test_changes_are_recorded_in_their_order_once(house):
    house.change(1, 2)
    recorder = house.recorder()
    assert recorder.run_once() == 2
    assert house.recorded() == [
        Changed(f"c{n}", n, n, "someone", "tenant.create", f"t{n}", f"t{n}", {}) for n in (1, 2)
    ]
    assert recorder.run_once() == 0
    house.change(3)
    assert recorder.run_once() == 1
    assert house.recorder().run_once() == 0
    assert house.ids() == ["c1", "c2", "c3"]
    assert origins(house.root()) == ["r0.999"]
    assert [report.problems for report in verify(house.root())] == [()]


def test_nothing_is_opened_or_written_while_nothing_changed(house):
    assert house.recorder().run_once() == 0
    assert origins(house.root()) == []


def test_what_was_recorded_and_not_marked_is_not_recorded_again(house):
    house.change(1, 2)
    recorder = house.recorder(outbox=Losing(house.stores.outbox))
    assert recorder.run_once() == 0
    assert recorder.fault == "gone"
    assert house.ids() == ["c1", "c2"]
    assert recorder.run_once() == 0, "the same process asks again"
    house.change(3)
    again = house.recorder()
    assert again.run_once() == 3
    assert (again.fault, house.ids()) == ("", ["c1", "c2", "c3"])


KILLED = """
import os, pathlib, signal, sys
from ostiary.bootstrap.recorder import Recorder
from ostiary.bootstrap.system import SystemClock
from ostiary.store.journal.changes import ChangeJournal
from ostiary.store.journal.disk import OsDisk
folder, url = pathlib.Path(sys.argv[1]), sys.argv[2]
if url:
    from ostiary.store.postgresql.database import Database
    from ostiary.store.postgresql.outbox import PostgresqlOutbox
    outbox = PostgresqlOutbox(Database(url, SystemClock()))
else:
    from ostiary.store.sqlite.database import Database
    from ostiary.store.sqlite.outbox import SqliteOutbox
    outbox = SqliteOutbox(Database.open(folder / "test.db"))
class Dying:
    def __getattr__(self, name):
        return getattr(outbox, name)
    def delivered(self, *_):
        os.kill(os.getpid(), signal.SIGKILL)
Recorder(Dying(), ChangeJournal(folder / "r0", "r0", OsDisk(), SystemClock()), "r0", SystemClock()).run_once()
"""


def test_killed_between_the_record_and_its_mark_a_change_is_recorded_once(house):
    house.change(1, 2)
    house.root().mkdir()
    url = "" if isinstance(house.stores, Sqlite) else house.stores.url
    done = subprocess.run([sys.executable, "-c", KILLED, str(house.folder), url], check=False, timeout=60)
    assert done.returncode == -9
    assert house.stores.outbox.waiting(), "it was killed before it could mark them"
    recorder = house.recorder()
    assert recorder.run_once() == 2
    assert house.ids() == ["c1", "c2"]
    assert not house.stores.outbox.waiting()
    assert [report.problems for report in verify(house.root())] == [()]


def test_more_changes_than_a_file_of_the_journal_holds_are_recorded(house):
    """Longer than a file together, and one longer than a record may be."""
    words = ["x" * 1_000] * 100
    house.change(*range(1, 26), detail={"models": words})
    house.change(26, detail={"models": words * 3})
    assert house.recorder().run_once() == 26
    assert house.ids() == [f"c{n}" for n in range(1, 27)]
    assert house.recorded()[0].detail == {"models": words}
    assert "left_out" in house.recorded()[-1].detail
    assert len(list((house.root() / "r0.999").glob("*.seg"))) > 2


def test_more_changes_than_are_taken_at_once_are_all_taken(house):
    with house.stores.database.write() as tx:
        for n in range(1, 2 * CHANGES_BATCH_COUNT + 2):
            tx.changed(Change(f"c{n}", n, "someone", "test", "", ""))
    assert house.recorder().run_once() == 2 * CHANGES_BATCH_COUNT + 1
    assert house.ids() == [f"c{n}" for n in range(1, 2 * CHANGES_BATCH_COUNT + 2)]


def test_of_two_replicas_each_change_is_in_the_journal_of_one(house):
    first, second = house.recorder("r0"), house.recorder("r1")
    house.change(1, 2)
    assert (first.run_once(), second.run_once()) == (2, 0)
    house.change(3)
    assert (second.run_once(), first.run_once()) == (1, 0)
    assert (house.ids("r0"), house.ids("r1")) == (["c1", "c2"], ["c3"])


def test_a_replica_that_died_with_its_claim_holds_changes_up_until_the_claim_ends(house):
    house.change(1)
    assert house.recorder("r0", outbox=Losing(house.stores.outbox)).run_once() == 0
    second = house.recorder("r1")
    assert second.run_once() == 0
    house.clock.advance(CHANGES_CLAIM_SECONDS + 1)
    assert second.run_once() == 1
    assert house.ids("r0") == house.ids("r1") == ["c1"], "the same change, told by its id"
    assert house.recorder("r0").run_once() == 0


@pytest.mark.parametrize("mode", list(Mode))
def test_wherever_the_disk_fails_or_the_process_dies_each_change_is_recorded_once(tmp_path, mode):
    for number in itertools.count():
        folder = tmp_path / str(number)
        folder.mkdir()
        house = House(folder)
        house.change(1, 2)
        recorder = house.recorder()
        disk = house.disks["r0"]
        disk.plan = lambda call, number=number: mode if call.number == number else None
        try:
            recorder.run_once()
            recorder.run_once()
        except Killed:
            recorder = house.recorder()
        reached = len(disk.calls) > number
        disk.plan = None
        house.change(3)
        recorder.run_once()
        assert recorder.fault == ""
        assert house.ids() == ["c1", "c2", "c3"], (mode, number)
        assert [report.problems for report in verify(house.root())] == [()]
        assert not house.stores.outbox.waiting()
        house.stores.close()
        if not reached:
            break
    assert number > 10


def test_what_one_replica_cannot_write_another_takes_at_once(house):
    first, second = house.recorder("r0"), house.recorder("r1")
    house.change(1)
    assert first.run_once() == 1
    house.change(2)
    house.disks["r0"].plan = lambda call: Mode.REFUSED if call.method in ("pwrite", "fdatasync", "allocate") else None
    assert first.run_once() == 0
    assert first.fault
    assert second.run_once() == 1
    house.change(3)
    assert first.run_once() == 0
    house.disks["r0"].plan = None
    assert first.run_once() == 1
    assert (first.fault, house.ids("r0"), house.ids("r1")) == ("", ["c1", "c3"], ["c2"])


def test_a_chain_that_was_set_aside_still_tells_what_was_recorded(house):
    house.change(1)
    recorder = house.recorder(outbox=Losing(house.stores.outbox))
    recorder.run_once()
    (house.root() / "r0.999" / SET_ASIDE_NAME).touch()
    house.change(2)
    assert house.recorder().run_once() == 2
    assert origins(house.root()) == ["r0.1999", "r0.999"]
    assert sorted(house.ids()) == ["c1", "c2"]
