"""Backups of a gateway that serves, put back elsewhere: what is there, what it took, and what is refused."""

import http.client
import io
import json
import shutil
import subprocess
import tarfile
import threading
import time
import zlib

from ostiary.core.event import Kind
from ostiary.gateway.audit import record
from ostiary.store.journal.layout import START, origins
from ostiary.store.journal.reader import read
from tests import postgresql
from tests.process.house import APP_KEY, OSTIARY, SIM_SECRET, House, until

BUDGET = '    budget: {amount: "1000", currency: USD, period: month}\n'


def installation(folder, provider, url, **options):
    folder.mkdir()
    house = House(folder, provider.port, top=f'storage: {{url: "{url}"}}', tenants=BUDGET, **options)
    if url != "sqlite":
        house.url = url
    return house


def first(folder, provider, place):
    house = installation(folder, provider, place())
    house.command("migrate")
    return house


class Load:
    """Calls without an end, on so many threads; the request ids of those that were answered, and when."""

    def __init__(self, house, threads=4):
        self.house = house
        self.answered = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._call, daemon=True) for _ in range(threads)]

    def _call(self):
        while not self.stop.is_set():
            try:
                answer = self.house.chat(text="x" * 50)
            except (OSError, http.client.HTTPException):
                assert self.stop.is_set(), "the gateway is gone"
                return
            assert answer.status == 200
            self.answered.append((time.time_ns(), answer.headers["x-request-id"]))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(20)


def back_up(house, target, **options):
    return json.loads(house.command("backup", "--to", str(target), "--json", **options))


def restore(house, archive, keys=None, *more, code=0):
    given = () if keys is None else ("--keys", str(keys))
    out = house.command("restore", str(archive), *given, "--json", *more, code=code)
    return json.loads(out) if code == 0 else out


def journal_of(house):
    """What the journal says: cost, and the outcome of every call by its request id."""
    root, nano, calls = house.data / "journal", 0, {}
    for origin in origins(root):
        for entry in read(root / origin, START):
            if entry.kind == Kind.CLOSED:
                value = record.decode(entry.kind, entry.payload)
                nano += 0 if value.cost is None else value.cost.nano
                calls[value.request_id] = str(value.outcome)
    return nano, calls


def usage_of(house):
    lines = json.loads(house.command("usage", "--by", "team", "--json"))
    return sum(line["cost_nano"].get("USD", 0) for line in lines), sum(line["requests"] for line in lines)


def ledger_of(house):
    """What the budget of the team has spent, as a worker told at its end."""
    spent = json.loads((house.data / "ledger.json").read_bytes())["spent"]
    return next(iter(spent.values()))["nano"]


def agree(house):
    """Usage, ledger and journal say the same to the billionth, and the journal holds."""
    assert not any(report["problems"] for report in house.verify())
    nano, calls = journal_of(house)
    assert usage_of(house) == (nano, len(calls))
    assert ledger_of(house) == nano
    return calls


def test_fd50_a_backup_under_load_is_restored_elsewhere(tmp_path, provider, place):
    house = first(tmp_path / "a", provider, place)
    archive, keys = tmp_path / "kept" / "b.backup", tmp_path / "safe" / "b.keys"
    archive.parent.mkdir()
    with house.start():
        made = json.loads(house.command("keys", "create", "minted", "--tenant", "acme", "--team", "search", "--json"))
        until(lambda: house.models(made["secret"]) == 200, 5, "a new key")
        with Load(house) as load:
            until(lambda: len(load.answered) > 40, 20, "calls")
            said = json.loads(house.command("backup", "--to", str(archive), "--keys", str(keys), "--json"))
            after = len(load.answered)
            until(lambda: len(load.answered) > after + 20, 20, "more calls")
        assert house.stop() == 0
    before = {request for at, request in load.answered if at < said["covers_until_ns"]}
    other = installation(tmp_path / "b", provider, place())
    # The keys are kept apart: without them nothing is restored, and nothing is left behind.
    assert "kept apart" in restore(other, archive, code=2)
    restored = restore(other, archive, keys)
    assert restored["point_ns"] == said["covers_until_ns"]
    assert restored["age_seconds"] > 0
    assert restored["seconds"] > 0
    with other.start():
        assert other.models(made["secret"]) == 200
        assert other.chat().status == 200
        assert other.stop() == 0
    calls = agree(other)
    # Whoever had an answer before the recovery point is in it; what was open then is closed as aborted.
    assert before <= {request for request, outcome in calls.items() if outcome == "succeeded"}
    assert set(calls.values()) <= {"succeeded", "aborted"}


def test_keys_and_secrets_are_not_in_the_backup_and_keys_fit_only_their_own(tmp_path, provider, place):
    house = first(tmp_path / "a", provider, place)
    archive, keys = tmp_path / "b.backup", tmp_path / "b.keys"
    with house.start():
        assert house.chat(text="canary-of-a-prompt").status == 200
        back_up(house, archive)
        assert house.stop() == 0
    secrets = [(house.data / name).read_bytes() for name in ("pepper.key", "digest.key")]
    with tarfile.open(archive) as tar:
        everything = b"".join(tar.extractfile(one).read() for one in tar)
    for secret in (*secrets, *(one.hex().encode() for one in secrets), SIM_SECRET.encode(), APP_KEY.encode()):
        assert secret not in everything
    assert b"canary-of-a-prompt" not in everything
    assert keys.stat().st_mode & 0o777 == archive.stat().st_mode & 0o777 == 0o600
    stranger = first(tmp_path / "s", provider, place)
    with stranger.start():
        assert stranger.stop() == 0
    back_up(stranger, tmp_path / "s.backup")
    other = installation(tmp_path / "b", provider, place())
    assert "was made with pepper.key" in restore(other, archive, tmp_path / "s.keys", code=2)
    assert "no file of keys" in restore(other, archive, archive, code=2)
    # Where the keys are in their place already, as in a deployment that mounts them, no file is needed.
    for name, secret in zip(("pepper.key", "digest.key"), secrets, strict=True):
        (other.data / name).write_bytes(secret)
    restore(other, archive)
    with other.start():
        assert other.stop() == 0
    assert agree(other)


def test_nothing_that_is_there_is_overwritten(tmp_path, provider, place):
    house = first(tmp_path / "a", provider, place)
    with house.start():
        assert house.chat().status == 200
        assert house.stop() == 0
    archive, keys = tmp_path / "b.backup", tmp_path / "b.keys"
    back_up(house, archive)
    before = {path: path.read_bytes() for path in house.data.rglob("*") if path.is_file()}
    assert "is not empty" in restore(house, archive, keys, code=2)
    assert {path: path.read_bytes() for path in house.data.rglob("*") if path.is_file()} == before
    # An empty folder beside a database that is in use.
    again = installation(tmp_path / "b", provider, getattr(house, "url", f"sqlite:///{house.data}/ostiary.db"))
    refused = restore(again, archive, keys, code=2)
    assert "holds tables" in refused or "there already" in refused
    assert {path.name for path in again.data.iterdir()} == {"lock"}
    # A restore that was broken off: nothing starts on what it left.
    (again.data / ".restoring").mkdir()
    assert "has not come to its end" in again.command("usage", code=2)
    assert "interrupted" in restore(again, archive, keys, code=2)
    with house.start():
        assert "is not empty" in restore(house, archive, keys, code=2)
        assert house.stop() == 0


def test_a_backup_killed_at_any_moment_leaves_the_one_before(tmp_path, provider, place):
    house = first(tmp_path / "a", provider, place)
    archive, keys = tmp_path / "b.backup", tmp_path / "b.keys"
    with house.start(), Load(house, 2) as load:
        until(lambda: len(load.answered) > 20, 20, "calls")
        back_up(house, archive)
        good = archive.read_bytes(), keys.read_bytes()
        for step in range(6):
            words = [OSTIARY, "backup", "--to", str(archive), "--config", str(house.file)]
            running = subprocess.Popen(
                words, env=house.environment, cwd=house.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            # Killed as soon as it says what it does, or a moment after: the database, then the journal.
            for _ in range(1 + step % 2):
                running.stderr.readline()
            threading.Event().wait(0.002 * step)
            running.kill()
            running.wait(10)
            running.stderr.close()
            if archive.read_bytes() != good[0]:
                good = archive.read_bytes(), keys.read_bytes()  # it had come to its end
    other = installation(tmp_path / "b", provider, place())
    restore(other, archive, keys)
    with other.start():
        assert other.stop() == 0
    assert agree(other)
    # The next one tidies up what the killed one left.
    back_up(house, archive)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "b.backup", "b.keys"}


def test_what_is_damaged_newer_or_of_another_database_is_refused_and_nothing_is_left(tmp_path, provider, place):
    house = first(tmp_path / "a", provider, place)
    with house.start():
        assert house.chat().status == 200
        assert house.stop() == 0
    archive, keys = tmp_path / "b.backup", tmp_path / "b.keys"
    back_up(house, archive)
    other = installation(tmp_path / "b", provider, place())
    other.data.mkdir(mode=0o700)
    data = archive.read_bytes()
    cases = {"cut": data[: len(data) // 2], "changed": changed(data)}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        assert "is not used" in restore(other, tmp_path / name, keys, code=2)
    for changes, why in (
        ({"schema": 999}, "schema 999"),
        ({"database": "another"}, "one is not turned into the other"),
        ({"origins": {}}, "not hold"),
    ):
        rewritten(archive, tmp_path / "rewritten", **changes)
        assert why in restore(other, tmp_path / "rewritten", keys, code=2)
    assert {path.name for path in other.data.iterdir()} == {"lock"}
    restore(other, archive, keys)


def changed(data):
    """The archive with one bit turned, the last before its end's 400 bytes that changes what it says: in a run of zeros
    one reference back may say the same as another."""
    for place in range(len(data) - 400, 0, -1):
        other = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        if unzipped(other) != unzipped(data):
            return other
    raise AssertionError("nothing in it says anything")


def unzipped(data):
    try:
        return zlib.decompressobj(wbits=31).decompress(data)
    except zlib.error as error:
        return error


def rewritten(archive, target, **changes):
    """The same files under a manifest that says something else."""
    with tarfile.open(archive) as given, tarfile.open(target, "w:gz") as made:
        for one in given:
            source = given.extractfile(one)
            if one.name == "manifest.json":
                data = json.dumps({**json.load(source), **changes}).encode()
                one.size, source = len(data), io.BytesIO(data)
            made.addfile(one, source)


def test_a_repeated_call_gets_its_answer_from_the_restored_one(tmp_path, provider, place):
    house = first(tmp_path / "a", provider, place)
    archive, keys = tmp_path / "b.backup", tmp_path / "b.keys"
    with house.start():
        answer = house.chat(headers={"idempotency-key": "once-and-for-all"})
        assert answer.status == 200
        back_up(house, archive)
        assert house.stop() == 0
    other = installation(tmp_path / "b", provider, place())
    restore(other, archive, keys)
    with other.start():
        again = other.chat(headers={"idempotency-key": "once-and-for-all"})
        assert again.json["id"] == answer.json["id"]
        assert other.stop() == 0


def test_two_replicas_are_restored_each_with_its_own_and_never_behind_the_database(tmp_path, provider):
    postgresql.need()
    names = [postgresql.new_schema() for _ in range(2)]
    try:
        url = postgresql.url(names[0])
        houses = [
            installation(tmp_path / name, provider, url, environment={"OSTIARY_REPLICA": name}) for name in ("r0", "r1")
        ]
        houses[0].command("migrate")
        with houses[0].start():
            houses[1].data.mkdir(mode=0o700)
            for name in ("pepper.key", "digest.key"):
                shutil.copy(houses[0].data / name, houses[1].data / name)
            with houses[1].start():
                assert [house.chat().status for house in houses for _ in range(3)] == [200] * 6
                until(lambda: usage_of(houses[0])[1] == 6, 10, "projection")
                back_up(houses[1], tmp_path / "early.backup")
                assert houses[1].chat().status == 200
                until(lambda: usage_of(houses[0])[1] == 7, 10, "projection")
                back_up(houses[0], tmp_path / "r0.backup")
                assert houses[1].chat().status == 200
                back_up(houses[1], tmp_path / "r1.backup")
                assert houses[1].stop() == 0
            assert houses[0].stop() == 0
        elsewhere = postgresql.url(names[1])
        new = [
            installation(tmp_path / f"new-{name}", provider, elsewhere, environment={"OSTIARY_REPLICA": name})
            for name in ("r0", "r1")
        ]
        keys = tmp_path / "r0.keys"
        restore(new[0], tmp_path / "r0.backup", keys)
        # Its journal ends before what the database has: gone on with, its next records would never be counted.
        assert "may not be gone on with" in restore(new[1], tmp_path / "early.backup", keys, "--journal-only", code=2)
        restore(new[1], tmp_path / "r1.backup", keys, "--journal-only")
        with new[0].start(), new[1].start():
            assert [house.chat().status for house in new] == [200] * 2
            assert [house.stop() for house in new] == [0] * 2
        assert usage_of(new[0])[1] == 3 + 5 + 2
        assert sum(journal_of(house)[0] for house in new) == usage_of(new[0])[0]
    finally:
        for name in names:
            postgresql.drop_schema(name)


def test_a_later_journal_brings_an_older_backup_up_to_now(tmp_path, provider, place):
    house = first(tmp_path / "a", provider, place)
    keys = tmp_path / "keys"
    archives = [tmp_path / name for name in ("base", "later", "latest")]
    with house.start():
        for number, archive in enumerate(archives):
            assert [house.chat().status for _ in range(3)] == [200] * 3
            words = ["--journal-only"] if number else []
            house.command("backup", "--to", str(archive), "--keys", str(keys), *words)
        assert house.stop() == 0
    other = installation(tmp_path / "b", provider, place())
    assert "holds no database" in restore(other, archives[2], keys, code=2)
    assert "no database" in restore(other, archives[1], keys, "--newer", str(archives[2]), code=2)
    restored = restore(other, archives[0], keys, "--newer", str(archives[2]))
    with other.start():
        assert other.stop() == 0
    calls = agree(other)
    assert len(calls) == 9
    assert restored["records"] == 18
    stranger = first(tmp_path / "s", provider, place)
    with stranger.start():
        assert stranger.chat().status == 200
        stranger.command("backup", "--to", str(tmp_path / "strange"), "--keys", str(tmp_path / "strange-keys"))
        assert stranger.stop() == 0
    third = installation(tmp_path / "c", provider, place())
    for newer in (tmp_path / "strange", archives[1]):
        base = archives[2] if newer == archives[1] else archives[0]
        refused = restore(third, base, keys, "--newer", str(newer), code=2)
        assert "not a later backup" in refused
    assert {path.name for path in third.data.iterdir()} == {"lock"}
