"""The disk fails at every call in turn, in every way (FD-27, FD-28, FD-30, FD-32, FD-40 on the journal)."""

import errno
import random
import shutil

import pytest

from ostiary.core.error import GatewayError, OperatorError
from ostiary.core.event import Kind
from ostiary.store.journal.layout import load_mark
from ostiary.store.journal.verify import verify
from ostiary.testing.clock import FakeClock
from ostiary.testing.disk import FaultDisk, Killed, Mode, fail_nth
from tests.unit.store.journal.chain import ORIGIN, Client, everything, opened, start, stop

SMALL = 1_500


def scenario(root, disk, client_of=Client):
    """Two epochs, rotations, a long call, a repair's worth of syncs. Gives the clients, the last as far as it came."""
    clients = []
    try:
        for _ in range(2):
            started = start(root, disk, segment_bytes=SMALL)
            client = client_of(started.writer)
            clients.append(client)
            client.append(
                Kind.OPENED,
                b'{"request_id":"long","at_ns":1,"tenant":"t","team":"m","environment":"e",'
                b'"key_id":"k","operation":"chat","client_dialect":"openai","original_model":"chat"}',
            )
            for _ in range(7):
                client.call()
                client.call()
                started.writer.work()
            started.journal.close()
    except (Killed, OperatorError):
        pass
    return clients


def calls_of_the_scenario(tmp_path):
    disk = FaultDisk(tmp_path / "dry")
    scenario(tmp_path / "dry", disk)
    return len(disk.calls)


def check(root, clients, boot="boot-1"):
    """A new process finds everything acknowledged, in its place; nothing else but what was refused in the failure,
    and what recovery added; the chain verifies; every call is closed."""
    disk = FaultDisk(root, boot=boot)
    again = start(root, disk)
    again.writer.work()
    records = everything(root)
    assert [sequence for sequence, _, _ in records] == list(range(len(records)))
    for client in clients:
        for sequence, kind, payload in client.acknowledged:
            assert records[sequence] == (sequence, kind, payload)
    known = {payload for client in clients for _, _, payload in client.acknowledged}
    refused = {payload for client in clients for payload in client.refused}
    for _, kind, payload in records:
        added = kind == Kind.RECOVERED or b'"outcome":"aborted"' in payload
        assert payload in known or payload in refused or added
    (report,) = verify(root)
    assert report.problems == ()
    assert report.open_calls == 0
    again.journal.close()


MODES = [Mode.KILLED, Mode.KILLED_AFTER, Mode.REFUSED, Mode.APPLIED, Mode.SHORT]


@pytest.mark.parametrize("mode", MODES)
def test_the_nth_disk_call_fails_for_every_n(tmp_path, mode):
    count = calls_of_the_scenario(tmp_path)
    assert count > 60
    for number in range(count):
        root = tmp_path / str(number)
        root.mkdir()
        disk = FaultDisk(root, fail_nth(number, mode))
        clients = scenario(root, disk)
        disk.release()
        check(root, clients)
        shutil.rmtree(root)


def test_two_failures_in_every_distance(tmp_path):
    """A second failure while the first is being repaired."""
    count = calls_of_the_scenario(tmp_path)
    chance = random.Random(7)
    for number in range(0, count, 3):
        root = tmp_path / str(number)
        root.mkdir()
        second = number + chance.randint(1, 6)
        modes = {number: chance.choice(MODES[2:]), second: chance.choice(MODES)}
        disk = FaultDisk(root, lambda call, modes=modes: modes.get(call.number))
        clients = scenario(root, disk)
        disk.release()
        check(root, clients)
        shutil.rmtree(root)


class Watched(Client):
    """Knows which of its records the writer says are on the device."""

    def durable(self):
        return [one for one in self.acknowledged if self.writer.synced(one[0])]


@pytest.mark.parametrize("seed", [None, *range(12)])
def test_power_loss_keeps_every_synced_record(tmp_path, seed):
    """Killed at every few calls, then every write that was not synced is lost, or some sectors of it are (FD-28)."""
    count = calls_of_the_scenario(tmp_path)
    for number in range(1, count, 5):
        live, image = tmp_path / f"live-{number}", tmp_path / f"image-{number}"
        live.mkdir()
        image.mkdir()
        disk = FaultDisk(live, fail_nth(number, Mode.KILLED))
        clients = scenario(live, disk, Watched)
        disk.release()
        disk.power_loss(image, None if seed is None else random.Random(seed * 1_000 + number))
        again = start(image, FaultDisk(image, boot="boot-2"))
        again.writer.work()
        records = everything(image)
        for client in clients:
            for one in client.durable():
                assert records[one[0]] == one
        (report,) = verify(image)
        assert report.problems == ()
        assert report.open_calls == 0
        shutil.rmtree(live)
        shutil.rmtree(image)


def test_a_reader_is_never_ahead_of_what_power_loss_leaves(tmp_path):
    """What any consumer has seen is still there afterwards, at the same place."""
    live, image = tmp_path / "live", tmp_path / "image"
    live.mkdir()
    disk = FaultDisk(live)
    started = start(live, disk, segment_bytes=SMALL)
    client = Client(started.writer)
    for number in range(12):
        client.call()
        if number % 3:
            started.writer.work()
        client.call()
        seen = everything(live)
        disk.power_loss(image, random.Random(number))
        again = start(image, FaultDisk(image, boot="boot-2"))
        again.writer.work()
        assert everything(image)[: len(seen)] == seen
        stop(again)
        shutil.rmtree(image)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize(
    "methods", [{"pwrite"}, {"fdatasync"}, {"allocate"}, {"pwrite", "fdatasync", "allocate", "rename"}]
)
def test_the_audit_disk_fails_and_comes_back(tmp_path, code, methods):
    """Refused while it lasts, no call unrecorded, no gap in the numbers afterwards, no restart (FD-30, FD-40)."""
    clock = FakeClock()
    disk = FaultDisk(tmp_path)
    disk.error = code
    started = start(tmp_path, disk, clock, segment_bytes=SMALL)
    started.writer.work()
    client = Client(started.writer)
    for _ in range(3):
        client.call()
    started.writer.work()
    disk.plan = lambda call: Mode.REFUSED if call.method in methods else None
    for _ in range(20):
        client.call()
        started.writer.work()
    assert not started.writer.healthy()
    with pytest.raises(GatewayError) as caught:
        started.writer.append(Kind.OPENED, opened(10))
    assert caught.value.status == 503
    disk.plan = None
    retry = started.writer.work()
    assert retry is None or retry <= 10
    started.writer.work()
    assert started.writer.healthy()
    for _ in range(3):
        client.call()
        started.writer.work()
    assert everything(tmp_path) == client.acknowledged
    assert [one[0] for one in client.acknowledged] == list(range(len(client.acknowledged)))
    started.journal.close()
    assert verify(tmp_path)[0].problems == ()


def test_want_of_space_is_met_before_it_hurts(tmp_path):
    """A full disk refuses the next file while the present one still takes records."""
    disk = FaultDisk(tmp_path)
    disk.error = errno.ENOSPC
    disk.plan = lambda call: Mode.REFUSED if call.method == "allocate" and call.number > 5 else None
    started = start(tmp_path, disk)
    assert started.writer.work() is not None
    client = Client(started.writer)
    client.call()
    assert len(client.acknowledged) == 2
    assert not (tmp_path / ORIGIN / "next.tmp").exists()
    disk.plan = None
    assert started.writer.work() is None


def test_a_slow_disk_refuses_until_it_answers(tmp_path):
    clock = FakeClock()
    disk = FaultDisk(tmp_path)
    started = start(tmp_path, disk, clock)
    started.writer.work()
    client = Client(started.writer)
    client.call()
    seen = []

    def slow(call):
        """The sync hangs; meanwhile the loop goes on appending."""
        if call.method == "fdatasync":
            client.call()
            clock.advance(6)
            seen.append(started.writer.healthy())
            client.call()

    disk.before = slow
    started.writer.work()
    disk.before = None
    assert seen == [False]
    assert len(client.acknowledged) == 4
    started.writer.work()
    assert started.writer.healthy()
    client.call()
    started.writer.work()
    assert everything(tmp_path) == client.acknowledged


def test_recovery_itself_may_be_killed_at_every_call(tmp_path):
    first = tmp_path / "first"
    first.mkdir()
    started = start(first, segment_bytes=SMALL)
    client = Client(started.writer)
    started.writer.work()
    client.call()
    client.append(
        Kind.OPENED,
        b'{"request_id":"long","at_ns":1,"tenant":"t","team":"m","environment":"e",'
        b'"key_id":"k","operation":"chat","client_dialect":"openai","original_model":"chat"}',
    )
    stop(started)
    number = 0
    while True:
        root = tmp_path / str(number)
        shutil.copytree(first, root)
        disk = FaultDisk(root, fail_nth(number, Mode.KILLED_AFTER))
        try:
            start(root, disk, segment_bytes=SMALL)
        except Killed:
            disk.release()
            check(root, [client])
            number += 1
        else:
            break
    assert number > 8
    assert load_mark(first / ORIGIN).epoch == 1
