"""A region dies and another takes over: from a backup and the journal that was shipped after it. The drill of docs/recovery.md,
with two instances; it prints what was lost and how long it took."""

import shutil
import threading
import time

import pytest

from tests.process.house import until
from tests.process.test_backup import Load, agree, back_up, first, installation, restore

SHIP_SECONDS = 2.0


class Shipping:
    """Ships the journal again and again, each time in place of the one before."""

    def __init__(self, house, target, keys):
        self.house, self.target, self.keys = house, target, keys
        self.stop = threading.Event()
        self.shipped = []
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.stop.is_set():
            began = time.monotonic()
            words = ["--to", str(self.target), "--keys", str(self.keys), "--journal-only", "--json"]
            self.house.command("backup", *words)
            self.shipped.append(time.monotonic() - began)
            self.stop.wait(max(SHIP_SECONDS - self.shipped[-1], 0.0))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(60)


@pytest.mark.drill
@pytest.mark.parametrize("seconds", [20])
def test_region_b_takes_over_from_a_backup_and_the_shipped_journal(tmp_path, provider, place, seconds):
    a = first(tmp_path / "a", provider, place)
    shared = tmp_path / "region-b"
    shared.mkdir()
    base, shipped, keys = shared / "base.backup", shared / "journal.backup", tmp_path / "safe.keys"
    a.start()
    load = Load(a, 8)
    with load:
        until(lambda: len(load.answered) > 200, 30, "calls")
        taken = back_up(a, base)
        with Shipping(a, shipped, keys) as shipping:
            until(lambda: shipping.shipped, 30, "the first journal")
            threading.Event().wait(seconds)
        # Region A dies with calls under way, and nothing of it is ever seen again.
        load.stop.set()
        died = time.time_ns()
        a.kill()
    shutil.rmtree(a.data)
    answered = [(at, request) for at, request in load.answered if at <= died]
    began = time.monotonic()
    b = installation(tmp_path / "b", provider, place())
    restored = restore(b, base, keys, "--newer", str(shipped))
    with b.start():
        assert b.chat().status == 200
        serving = time.monotonic() - began
        assert b.stop() == 0
    calls = agree(b)
    lost = [at for at, request in answered if request not in calls]
    # Nothing that was answered before the recovery point is lost.
    assert not [at for at in lost if at < restored["point_ns"]]
    behind = (died - restored["point_ns"]) / 1e9
    print(
        f"\n{restored['database']}: {len(answered)} calls answered in region A, {len(lost)} of them not in region B; recovery point "
        f"{behind:.1f} s before the end (journal shipped every {SHIP_SECONDS:.0f} s, {max(shipping.shipped):.2f} s each at most); "
        f"backup of {taken['records']} records {taken['bytes']} bytes in {taken['seconds']:.2f} s; restored {restored['records']} "
        f"records in {restored['seconds']:.2f} s, serving after {serving:.2f} s"
    )
