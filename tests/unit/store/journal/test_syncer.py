"""The thread and the loop together, on a real disk; nothing here waits for time to pass."""

import asyncio
import threading
import time

import pytest

from ostiary.core.error import Code, GatewayError
from ostiary.core.event import Kind
from ostiary.store.journal import syncer
from ostiary.store.journal.disk import OsDisk
from ostiary.store.journal.opening import open_journal
from ostiary.testing.disk import FaultDisk, Mode
from tests.unit.store.journal.chain import Client, everything, opened


class RealClock:
    monotonic = staticmethod(time.monotonic)
    now_ns = staticmethod(time.time_ns)


def running(root, disk, durability):
    started = open_journal(
        root, "r1", disk=disk, clock=RealClock(), durability=durability, slot=0, segment_bytes=1 << 20
    )
    started.journal.start()
    return started


@pytest.mark.parametrize("durability", ["process", "disk"])
async def test_synced_returns_once_the_record_is_on_the_device(tmp_path, durability):
    started = running(tmp_path, OsDisk(), durability)
    journal = started.journal
    assert journal.durability == durability
    for number in range(20):
        receipt = journal.append(Kind.OPENED, opened(number))
        await journal.synced(receipt)
        assert started.writer.synced(receipt.sequence)
    await journal.synced(receipt)
    assert journal.close()
    assert len(everything(tmp_path)) == 20


async def test_many_waiters_share_a_sync(tmp_path):
    disk = FaultDisk(tmp_path)
    started = running(tmp_path, disk, "disk")
    receipts = [started.journal.append(Kind.OPENED, opened(number)) for number in range(500)]
    async with asyncio.TaskGroup() as group:
        for receipt in reversed(receipts):
            group.create_task(started.journal.synced(receipt))
    assert started.journal.close()
    assert sum(call.method == "fdatasync" for call in disk.calls) < 100


async def test_a_waiter_is_told_when_the_device_does_not_confirm(tmp_path, monkeypatch):
    monkeypatch.setattr(syncer, "JOURNAL_STALL_SECONDS_MAX", 0.01)
    disk = FaultDisk(tmp_path)
    started = running(tmp_path, disk, "disk")
    hang, hanging = threading.Event(), threading.Event()

    def slow(call):
        if call.method == "fdatasync":
            hanging.set()
            hang.wait()

    disk.before = slow
    receipt = started.journal.append(Kind.OPENED, opened(1))
    with pytest.raises(GatewayError) as caught:
        await started.journal.synced(receipt)
    assert caught.value.code is Code.AUDIT_UNAVAILABLE
    assert await asyncio.to_thread(hanging.wait, 10)
    hang.set()
    disk.before = None
    monkeypatch.undo()
    await started.journal.synced(receipt)
    assert started.journal.close()


async def test_a_failed_sync_is_repaired_under_the_waiter(tmp_path):
    disk = FaultDisk(tmp_path)
    started = running(tmp_path, disk, "disk")
    client = Client(started.journal)
    failed = []

    def once(call):
        if call.method == "fdatasync" and not failed and call.path.suffix == ".seg" and client.acknowledged:
            failed.append(call)
            return Mode.REFUSED
        return None

    disk.plan = once
    await started.journal.synced(started.journal.append(Kind.OPENED, opened(1)))
    client.append(Kind.OPENED, opened(2))
    receipt = None
    while receipt is None:
        try:
            receipt = started.journal.append(Kind.OPENED, opened(3))
        except GatewayError:
            await asyncio.sleep(0)
    await started.journal.synced(receipt)
    assert started.journal.close()
    assert len(everything(tmp_path)) == 3


async def test_a_cancelled_waiter_harms_nobody(tmp_path):
    started = running(tmp_path, OsDisk(), "disk")
    receipt = started.journal.append(Kind.OPENED, opened(1))
    task = asyncio.get_running_loop().create_task(started.journal.synced(receipt))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await started.journal.synced(started.journal.append(Kind.OPENED, opened(2)))
    assert started.journal.close()
