"""FD-49: two versions at once, each its own code. The older one is that before the newest migration of the database, taken
from this repository's history."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from tests import postgresql
from tests.process.house import House, until
from tests.redis import any_server, forget, prefix

ROOT = Path(__file__).resolve().parents[2]
MIGRATIONS = "src/ostiary/store/postgresql/migrations"
BUDGET_KEY = "a-key-of-the-budgeted-team-0123456789"
PLENTY_KEY = "a-key-of-another-team-0123456789-abc"
RUN = "import sys; from ostiary.cli.main import app; sys.argv[0] = 'ostiary'; app()"
TOP = """\
storage: {url: "${env:DB}"}
counters: {url: "${env:COUNTERS_URL}", prefix: %s}
"""
TEAMS = """\
      - name: thrifty
        models: ["*"]
        budget: {amount: "0.0004"}
        keys: [{name: app, secret: "${env:BUDGET_KEY}"}]
      - name: plenty
        models: ["*"]
        budget: {amount: "100"}
        keys: [{name: app, secret: "${env:PLENTY_KEY}"}]
"""


def git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)


@pytest.fixture
def older(tmp_path):
    """The folder with the sources of the older version."""
    found = git("log", "--diff-filter=A", "--format=%H", "-1", "--", MIGRATIONS)
    commit = found.stdout.decode().strip()
    if found.returncode or not commit or git("rev-parse", f"{commit}^").returncode:
        pytest.skip("this checkout has no history to take an older version from")
    packed = git("archive", f"{commit}^", "src")
    assert packed.returncode == 0, packed.stderr
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(tmp_path / "older", filter="data")
    source = tmp_path / "older" / "src"
    assert {path.name for path in (source / "ostiary/store/postgresql/migrations").iterdir()} < {
        path.name for path in (ROOT / MIGRATIONS).iterdir()
    }
    return source


class Versions:
    """An installation that is started with the code of either version."""

    def __init__(self, house, source):
        self.house, self.source = house, source

    def words(self, *more):
        return [
            "env", f"PYTHONPATH={self.source}", sys.executable, "-c", RUN, *more, "--config", str(self.house.file),
        ]  # fmt: skip

    def start(self, source):
        self.source = source
        self.house.start(*self.words("serve"))
        for pid in self.house.pids():
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert f"PYTHONPATH={source}".encode() in environment, "the code that is meant"

    def command(self, *words):
        done = subprocess.run(
            self.words(*words), env=self.house.environment, cwd=self.house.folder, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def create(self, name):
        made = self.command("keys", "create", name, "--tenant", "acme", "--team", "plenty", "--json")
        return json.loads(made)


class Load:
    """Callers who go to whichever replica is ready, as behind a balancer; each call must be answered well."""

    def __init__(self, *houses):
        self.serving = list(houses)
        self.over = threading.Event()
        self.statuses = []
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(4)]

    def run(self, i):
        while not self.over.is_set():
            i += 1
            houses = list(self.serving)
            self.statuses.append(houses[i % len(houses)].chat(key=PLENTY_KEY).status)

    def some(self, count=40):
        """Wait for so many more."""
        target = len(self.statuses) + count
        until(lambda: len(self.statuses) >= target, 30, "calls")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(30)


def usage(house):
    return sum(line["requests"] for line in json.loads(house.command("usage", "--by", "team", "--json")))


def sound(house):
    """Whether its journals are without fault: one of each worker, and one of the changes that a newer version records."""
    problems = [report["problems"] for report in house.verify()]
    return 2 <= len(problems) <= 3 and not any(problems)


def spent(*houses):
    """Of the small budget, by the journals."""
    records = [line["record"] for house in houses for line in house.records("closed")]
    return sum(one["cost"]["nano"] for one in records if one["team"] == "thrifty" and "cost" in one)


def spending(houses):
    """Statuses of calls on the small budget, until it has no room at either replica."""
    found = [houses[i % 2].chat(key=BUDGET_KEY, max_tokens=50).status for i in range(60)]
    assert set(found) <= {200, 402}
    assert found[-2:] == [402, 402]
    return found


@pytest.fixture
def place(tmp_path):
    """Where a database and counters are."""
    postgresql.need()
    schema, names = postgresql.new_schema(), prefix()
    with any_server(tmp_path) as url:
        yield {"DB": postgresql.url(schema), "COUNTERS_URL": url, "names": names}
        forget(url, names)
    postgresql.drop_schema(schema)


def replica(folder, provider, place, name):
    folder.mkdir()
    environment = {**place, "BUDGET_KEY": BUDGET_KEY, "PLENTY_KEY": PLENTY_KEY, "OSTIARY_REPLICA": name}
    house = House(folder, provider.port, workers=2, top=TOP % place["names"], tenants=TEAMS, environment=environment)
    house.environment["OSTIARY_REPLICA"] = name
    return house


@pytest.mark.drill
def test_fd49_replicas_are_upgraded_one_after_the_other_under_load_and_both_versions_serve_meanwhile(
    tmp_path, provider, older, place
):
    new = ROOT / "src"
    houses = [replica(tmp_path / name, provider, place, name) for name in ("ra", "rb")]
    a, b = (Versions(house, older) for house in houses)
    try:
        a.command("migrate")
        a.start(older)
        for name in ("pepper.key", "digest.key"):
            b.house.data.mkdir(exist_ok=True, mode=0o700)
            shutil.copy(a.house.data / name, b.house.data / name)
        b.start(older)
        with Load(*houses) as load:
            load.some()
            # The schema first, while the older version runs on it.
            b.source = new
            assert "done" in b.command("migrate")
            load.some()
            load.serving = [a.house]
            load.some(8)
            assert b.house.stop() == 0
            b.start(new)
            load.serving = houses
            load.some()
            # Mixed: what either does holds for the other.
            for maker, other in ((a, b), (b, a)):
                made = maker.create(f"by-{maker.house.folder.name}")
                for house in houses:
                    until(lambda house=house, made=made: house.models(made["secret"]) == 200, 5, "a new key")
                other.command("keys", "revoke", made["id"])
                for house in houses:
                    until(lambda house=house, made=made: house.models(made["secret"]) == 401, 5, "the end of a key")
            statuses = spending(houses)
            load.serving = [b.house]
            load.some(8)
            assert a.house.stop() == 0
            a.start(new)
            load.serving = houses
            load.some()
            # What idle workers had leased came back, so there may be room for some; what is spent stays spent.
            statuses += spending(houses)
        assert set(load.statuses) == {200}, "no call has failed"
        for house in houses:
            assert house.stop() == 0
        for house in houses:
            assert sound(house)
        assert usage(houses[0]) == len(load.statuses) + len(statuses)
        assert 200_000 < spent(*houses) <= 400_000, "one budget for both versions"
    finally:
        for house in houses:
            if house.process is not None and house.process.poll() is None:
                house.kill()


@pytest.mark.drill
def test_fd49_processes_that_come_back_with_newer_code_serve_beside_those_of_the_older(tmp_path, provider, older):
    """The package is replaced under a running installation: whatever dies comes back as the new version."""
    current = tmp_path / "current"
    current.symlink_to(older)
    house = House(tmp_path, provider.port, workers=2)
    one = Versions(house, current)
    try:
        one.start(current)
        assert [house.chat().status for _ in range(20)] == [200] * 20
        made = json.loads(one.command("keys", "create", "k", "--tenant", "acme", "--team", "search", "--json"))
        until(lambda: house.models(made["secret"]) == 200, 5, "a new key")
        beside = tmp_path / "next"
        beside.symlink_to(ROOT / "src")
        beside.replace(current)
        for number, dies in enumerate((house.worker(0), house.ops), 1):
            os.kill(dies, signal.SIGKILL)
            until(lambda dies=dies: dies not in house.pids() and len(house.pids()) == 3, 20, "a successor")
            until(lambda: all(house.models() == 200 for _ in range(20)), 20, "both workers")
            assert [house.chat(key=made["secret"]).status for _ in range(40)] == [200] * 40
            # A change is published by whichever ops process there is, and reaches both workers.
            house.write(models=f"  added-{number}: {{targets: [{{provider: sim, model: gpt-4o}}]}}")
            until(lambda n=number: all(f"added-{n}" in house.offered() for _ in range(20)), 20, "the change")
        one.command("keys", "revoke", made["id"])
        until(lambda: all(house.models(made["secret"]) == 401 for _ in range(20)), 5, "the end of a key")
        assert house.stop() == 0
        assert sound(house)
        assert usage(house) == 20 + 80
    finally:
        if house.process is not None and house.process.poll() is None:
            house.kill()
