"""The database is full, locked or only to be read (FD-24, FD-26): calls do not notice, the journal keeps what happened, the ops
process says so and tries again, and in the end each call is counted once."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from tests import postgresql
from tests.process.house import House, until

CALLS = 40


class Disk:
    """A file system of its own, of a few megabytes."""

    def __init__(self, folder, size="24m"):
        self.folder = folder
        folder.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip("mounting a small file system takes rights that this user does not have")

    def fill(self):
        with open(self.folder / "filler", "wb") as file:
            for size in (1 << 20, 512):
                with pytest.raises(OSError, match="No space left"):
                    while True:
                        os.write(file.fileno(), bytes(size))

    def free(self):
        (self.folder / "filler").unlink()

    def only_read(self, so):
        subprocess.run(["mount", "-o", f"remount,{'ro' if so else 'rw'}", str(self.folder)], check=True)

    def close(self):
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path / "disk")
    yield made
    made.close()


def on(disk, folder, provider, **options):
    return House(folder, provider.port, top=f'storage: {{url: "sqlite:///{disk.folder}/rows.db"}}', **options)


def counted(house):
    return sum(line["requests"] for line in json.loads(house.command("usage", "--by", "model", "--json")))


def called(house, count=CALLS):
    connection = house.connect()
    assert [house.chat(connection=connection).status for _ in range(count)] == [200] * count
    connection.close()


def admin_ready(house):
    return house.ask("GET", "/readyz", key=None, admin=True)


def told(house):
    """It is said everywhere what is not done, and how much that is."""
    answer = until(lambda: (found := admin_ready(house)).status == 503 and found, 20, "word of it")
    assert b"the journal is not projected" in answer.body, answer.body
    assert int(answer.body.rsplit(b" ", 1)[1]) > 0
    assert house.metric("ostiary_journal_unshipped_bytes") > 0
    assert house.ask("GET", "/readyz", key=None).status == 200, "the gateway itself serves"
    said = until(lambda: house.logged("projection_failed"), what="a line of it")
    assert len(said) == 1, "once, not at every pass"
    return said[0]["reason"]


def recovered(house, count):
    until(lambda: admin_ready(house).body == b"ready\nunshipped_bytes 0\n", 20, "the end of it")
    assert counted(house) == count
    assert house.metric("ostiary_journal_unshipped_bytes") == 0


def whole(house):
    assert [report["problems"] for report in house.verify()] == [[]]


def test_fd26_while_the_disk_of_the_rows_is_full_calls_go_on_are_kept_and_counted_later(tmp_path, provider, disk):
    house = on(disk, tmp_path, provider)
    with house.start():
        called(house)
        until(lambda: counted(house) == CALLS, 5)
        processes = house.pids()
        disk.fill()
        called(house)
        assert "full" in told(house)
        refused = house.command("keys", "create", "one-more", "--tenant", "acme", "--team", "search", code=2)
        assert "full" in refused
        assert house.pids() == processes
        disk.free()
        recovered(house, 2 * CALLS)
        assert house.stop() == 0
    whole(house)


@pytest.mark.drill
def test_fd26_while_another_process_holds_the_file_calls_go_on_are_kept_and_counted_later(tmp_path, provider, disk):
    """Longer than the time for which it is waited."""
    house = on(disk, tmp_path, provider)
    with house.start():
        called(house)
        until(lambda: counted(house) == CALLS, 5)
        processes = house.pids()
        with contextlib.closing(sqlite3.connect(disk.folder / "rows.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            called(house)
            assert "locked" in told(house)
            other.execute("ROLLBACK")
        recovered(house, 2 * CALLS)
        assert house.pids() == processes
        assert house.stop() == 0
    whole(house)


@pytest.mark.drill
def test_fd26_while_the_file_can_only_be_read_calls_go_on_are_kept_and_counted_later(tmp_path, provider, disk):
    """The file system has become read-only, and the ops process comes back to it: it cannot start, which it says each time,
    and does as soon as it can."""
    house = on(disk, tmp_path, provider)
    with house.start():
        called(house)
        until(lambda: counted(house) == CALLS, 5)
        worker, ops = house.worker(), house.ops
        house.send(
            signal.SIGSTOP
        )  # so that nothing takes the place of the ops process before the disk is as it shall be
        os.kill(ops, signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{ops}/fd/0"), 5)
        disk.only_read(so=True)
        house.send(signal.SIGCONT)
        called(house)
        said = until(lambda: [one for one in house.logged("cannot_start")], 20, "word of it")
        assert "Read-only" in said[0]["reason"] or "readonly" in said[0]["reason"], said
        called(house)
        assert house.worker() == worker
        disk.only_read(so=False)
        until(lambda: house.ops not in (None, ops), 20)
        recovered(house, 3 * CALLS)
        assert house.stop() == 0
    whole(house)


# --- PostgreSQL -----------------------------------------------------------------------------------------------


@pytest.fixture
def tablespace():
    """A small disk of the server's own: a tablespace on it, and a schema whose tables stand there."""
    postgresql.need()
    if postgresql.url("x", port=5432) != postgresql.url("x") or "OSTIARY_TEST_POSTGRESQL" in os.environ:
        pytest.skip("the server may be on another machine, whose disk cannot be filled from here")
    # Not below `tmp_path`, where the server's user may not go.
    base = Path(tempfile.mkdtemp(prefix="ostiary-tablespace-"))
    base.chmod(0o755)
    disk = Disk(base / "disk")
    name = postgresql.new_schema()
    place = disk.folder / "rows"
    made = False
    try:
        place.mkdir(mode=0o700)
        subprocess.run(["chown", "postgres", str(place)], check=True)
        with postgresql.admin() as connection:
            connection.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'")
            made = True
        yield disk, name
    finally:
        with postgresql.admin() as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
            if made:
                connection.execute(f"DROP TABLESPACE {name}")
        disk.close()
        shutil.rmtree(base)


def test_fd24_while_the_disk_of_postgresql_is_full_calls_go_on_are_kept_and_counted_later(
    tmp_path, provider, tablespace
):
    disk, name = tablespace
    (tmp_path / "a").mkdir()
    url = postgresql.url(name).replace("options=", f"options=-cdefault_tablespace%3D{name}%20")
    house = House(tmp_path / "a", provider.port, top='storage: {url: "${env:DB}"}', environment={"DB": url})
    house.command("migrate")
    with house.start():
        called(house)
        until(lambda: counted(house) == CALLS, 10)
        processes = house.pids()
        disk.fill()
        # Pages that were begun have room for some more rows.
        calls, said = CALLS, threading.Event()
        while not said.is_set():
            called(house, 200)
            calls += 200
            assert calls < 20_000, "the disk is not full"
            if house.logged("projection_failed"):
                said.set()
        assert "No space left" in told(house)
        assert house.pids() == processes
        disk.free()
        recovered(house, calls)
        assert house.stop() == 0
    whole(house)
