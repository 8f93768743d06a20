"""`ostiary demo` as a person uses it: look at what it prints, run it, press Ctrl-C."""

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.process.house import OSTIARY, alive, until


class Demo:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.lines, self.errors = [], []
        environment = {**os.environ, "TMPDIR": str(folder), "OPENAI_API_KEY": "sk-must-not-be-used"}
        self.process = subprocess.Popen(
            [OSTIARY, "demo"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.readers = [
            threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True),
            threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True),
        ]
        for reader in self.readers:
            reader.start()

    def ready(self):
        until(lambda: "removes its folder" in "".join(self.lines) or self.process.poll() is not None, 30, "the demo")
        assert self.process.poll() is None, self.errors
        return self

    @property
    def text(self):
        return "".join(self.lines)

    def printed(self, start):
        """The command line it prints that begins so."""
        return next(line.strip() for line in self.text.splitlines() if line.strip().startswith(start))

    def address(self, word):
        return re.search(rf"{word} +(http\S+)", self.text).group(1)

    def pids(self):
        """Every process of this demo but itself: they name its folder, or are its supervisor."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid:
                try:
                    words = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if str(self.folder).encode() in words:
                    found.append((int(entry.name), words))
        return found

    def end(self, number=signal.SIGINT, seconds=10):
        self.process.send_signal(number)
        status = self.process.wait(seconds)
        self.over()
        return status

    def over(self):
        until(lambda: not self.pids(), 10, "the end of all its processes")
        for reader in self.readers:
            reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()

    def left(self):
        return [path.name for path in self.folder.iterdir()]


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def run(line):
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30, check=False)


def test_the_demo_does_what_it_prints_stays_up_and_leaves_nothing(folder):
    demo = Demo(folder).ready()
    try:
        done = run(demo.printed("curl ") + " -sS --fail-with-body")
        assert done.returncode == 0, done
        assert '"chat.completion"' in done.stdout
        key = re.search(r"key +(osk_\S+)", demo.text).group(1)
        for pid, words in demo.pids():
            assert key.encode() not in words, f"process {pid} shows the key to everyone"
        lines = until(lambda: usage_rows(demo), 20, "recorded traffic")
        assert any("search" in line for line in lines), lines
        assert re.fullmatch(r"ready\nunshipped_bytes \d+\n", run(f"curl -sS {demo.address('health')}").stdout)
        assert "ostiary_requests_total" in run(f"curl -sS {demo.address('metrics')}").stdout
        assert demo.process.poll() is None
    finally:
        assert demo.end() == 0
    assert demo.left() == []
    assert demo.errors == []


def usage_rows(demo):
    done = run(demo.printed(str(Path(OSTIARY))))
    assert done.returncode == 0, done
    rows = done.stdout.splitlines()
    return rows if len(rows) > 4 else None


def test_two_demos_at_once_and_one_killed_takes_its_processes_along(folder):
    first, second = folder / "first", folder / "second"
    first.mkdir()
    second.mkdir()
    one, two = Demo(first), Demo(second)
    try:
        one.ready()
        two.ready()
        for demo in (one, two):
            assert '"chat.completion"' in run(demo.printed("curl ") + " -sS").stdout
        pids = [pid for pid, _ in one.pids()]
        assert len(pids) >= 3
        one.process.kill()
        one.process.wait(5)
        until(lambda: not any(alive(pid) for pid in pids), 15, "the end of what the killed demo had started")
        one.over()
        assert '"chat.completion"' in run(two.printed("curl ") + " -sS").stdout
    finally:
        assert two.end() == 0
    assert two.left() == []


def test_interrupted_while_it_starts_the_demo_leaves_nothing_either(folder):
    for moment in ("the folder", "the processes"):
        demo = Demo(folder)
        until(lambda: demo.left() if moment == "the folder" else demo.pids(), 20, moment)
        demo.end()
        assert demo.left() == [], (moment, demo.errors)
