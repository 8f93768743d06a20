"""kill -9 of a process that writes the journal loses nothing it was told is written (FD-27, FD-34)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ostiary.core.event import Closed, Kind, Opened, Outcome
from ostiary.gateway.audit import record
from ostiary.store.journal.verify import verify
from tests.unit.store.journal.chain import Client, everything, start

ROOT = Path(__file__).resolve().parents[2]


def append_until(root, lines):
    """Run the appender until it has acknowledged so many records, kill it, and give what it acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fault.appender", str(root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )
    with process:
        said = [process.stdout.readline() for _ in range(lines + 1)]
        process.kill()
        said += process.stdout.read().splitlines(keepends=True)
    assert said[0] == "ready\n"
    # The last line may be cut, if the kill met the write to the pipe.
    return [tuple(line.split()) for line in said[1:] if line.endswith("\n")]


@pytest.mark.parametrize("lines", [1, 2, 173, 400, 1_500])
def test_everything_acknowledged_before_the_kill_is_readable(tmp_path, lines):
    acknowledged = append_until(tmp_path, lines)
    assert len(acknowledged) >= lines
    again = start(tmp_path)
    records = {sequence: (kind, payload) for sequence, kind, payload in everything(tmp_path)}
    decoded = [record.decode(kind, payload) for kind, payload in records.values()]
    # Which calls were open when the kill came is its own affair; that each of them is closed once is not.
    opened = [one for one in decoded if isinstance(one, Opened)]
    closed = [one for one in decoded if isinstance(one, Closed)]
    assert sorted(one.request_id for one in closed) == sorted(one.request_id for one in opened)
    assert again.aborted == sum(one.outcome is Outcome.ABORTED for one in closed)
    for sequence, number, kind in acknowledged:
        found_kind, payload = records[int(sequence)]
        assert found_kind == (Kind.OPENED if kind == "o" else Kind.CLOSED)
        assert record.decode(found_kind, payload).request_id == f"req-{number}"
    (report,) = verify(tmp_path)
    assert report.problems == ()
    assert report.open_calls == 0


def test_killed_again_and_again_every_call_is_closed_once(tmp_path):
    for lines in (50, 3, 120):
        append_until(tmp_path, lines)
    again = start(tmp_path)
    Client(again.writer).call()
    again.journal.close()
    decoded = [(sequence, record.decode(kind, payload)) for sequence, kind, payload in everything(tmp_path)]
    opens = [sequence for sequence, one in decoded if type(one).__name__ == "Opened"]
    closes = [one.opened for _, one in decoded if type(one).__name__ == "Closed"]
    assert sorted(closes) == opens
    outcomes = {one.outcome for _, one in decoded if type(one).__name__ == "Closed"}
    assert outcomes == {Outcome.SUCCEEDED, Outcome.ABORTED}
    assert verify(tmp_path)[0].problems == ()
