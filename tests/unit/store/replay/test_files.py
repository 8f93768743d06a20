"""Kept answers in files: readable by nobody else, and no place is lost to a process that died."""

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.limit import REPLAY_SECONDS
from ostiary.gateway.ports import ReplayHead
from ostiary.store.replay import files
from ostiary.store.replay.files import FileReplays
from ostiary.store.replay.sealed import Claimed, End, Opener, Piece, Sealer, SealError
from ostiary.testing.clock import FakeClock

HEAD = ReplayHead(200, ((b"x-canary", b"head-canary"),), streamed=True)
SEAL = b"s" * 32
CONTENTS = [Claimed("f", 7), Piece(b"one"), Piece(b""), Piece(b"x" * 5_000), End(kept=True)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "replay"


@pytest.fixture
def clock():
    return FakeClock()


async def keep(replays, name="place", data=b"body-canary"):
    recording, _ = await replays.claim(name, SEAL, "fingerprint-canary")
    recording.begin(HEAD)
    recording.piece(data)
    recording.finish()


async def test_at74_nothing_of_an_answer_stands_in_clear(folder, clock):
    await keep(FileReplays(folder, clock))
    (file,) = folder.iterdir()
    data = file.read_bytes()
    assert b"canary" not in data
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_another_seal_opens_nothing_and_frees_the_place(folder, clock):
    replays = FileReplays(folder, clock)
    await keep(replays)
    recording, replay = await replays.claim("place", b"t" * 32, "f")
    assert replay is None
    recording.drop()


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:60] + b"?" + data[61:], lambda _: b""])
async def test_a_damaged_file_frees_the_place(folder, clock, damage):
    replays = FileReplays(folder, clock)
    await keep(replays)
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    recording, replay = await replays.claim("place", SEAL, "f")
    assert replay is None
    recording.drop()
    assert list(folder.iterdir()) == []


CRASH = """
import asyncio, os, sys
from pathlib import Path
from ostiary.gateway.ports import ReplayHead
from ostiary.store.replay.files import FileReplays
from ostiary.testing.clock import FakeClock
async def main():
    recording, _ = await FileReplays(Path(sys.argv[1]), FakeClock()).claim("place", b"s" * 32, "f")
    recording.begin(ReplayHead(200, (), streamed=True))
    recording.piece(b"half")
    print("there", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_the_place_of_a_process_that_died_is_free_again(folder, clock):
    process = subprocess.Popen([sys.executable, "-c", CRASH, str(folder)], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"there\n"
        replays = FileReplays(folder, clock)
        _, replay = await replays.claim("place", SEAL, "f")
        assert replay.running
        replay.close()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    recording, _ = await replays.claim("place", SEAL, "f")
    assert recording is not None
    recording.drop()


async def test_a_write_that_fails_gives_the_place_up_and_disturbs_nobody(folder, clock, monkeypatch):
    replays = FileReplays(folder, clock)
    recording, _ = await replays.claim("place", SEAL, "f")
    recording.begin(HEAD)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "write", lambda fd, data: len(data) // 2)
        recording.piece(b"data")
    recording.piece(b"more")
    recording.finish()
    recording.drop()
    assert list(folder.iterdir()) == []


async def test_sweeping_removes_what_is_old_or_too_much_and_nothing_that_is_being_made(folder, clock, monkeypatch):
    replays = FileReplays(folder, clock)
    now = clock.now_ns() / 1e9
    for number in range(6):
        await keep(replays, f"kept-{number}", b"x" * 1_000)
        os.utime(folder / f"kept-{number}", (now + number, now + number))
    (folder / ".stray.abc").touch()
    os.utime(folder / ".stray.abc", (now - 100, now - 100))
    os.utime(folder / "kept-0", (now - REPLAY_SECONDS - 1,) * 2)
    recording, _ = await replays.claim("making", SEAL, "f")
    os.utime(folder / "making", (now - 10, now - 10))
    monkeypatch.setattr(files, "REPLAYS_BYTES_MAX", 4_000)
    assert replays.sweep() == 4
    assert sorted(path.name for path in folder.iterdir()) == ["kept-3", "kept-4", "kept-5", "making"]
    recording.drop()


async def test_sweeping_where_nothing_was_ever_kept_is_nothing(folder, clock):
    assert FileReplays(folder, clock).sweep() == 0


def sealed():
    sealer = Sealer(SEAL, b"n" * 32)
    return sealer.preamble + b"".join(sealer.frame(one) for one in CONTENTS)


@given(st.lists(st.integers(0, len(sealed())), max_size=20))
def test_the_frames_come_out_however_the_bytes_are_split(cuts):
    data = sealed()
    opener = Opener(SEAL)
    found = []
    last = 0
    for cut in [*sorted(cuts), len(data)]:
        found += opener.feed(data[last:cut])
        last = cut
    assert found == CONTENTS


@given(st.integers(0, len(sealed()) - 1), st.integers(1, 255))
def test_a_byte_changed_anywhere_is_noticed(place, flip):
    data = bytearray(sealed())
    data[place] ^= flip
    opener = Opener(SEAL)
    try:
        found = opener.feed(bytes(data))
    except SealError:
        return
    assert len(found) < len(CONTENTS), "a length that now reaches beyond the end"


def test_frames_cannot_be_left_out_or_rearranged():
    sealer = Sealer(SEAL, b"n" * 32)
    frames = [sealer.frame(one) for one in CONTENTS]
    for order in ([0, 2], [1, 0], [0, 0]):
        with pytest.raises(SealError):
            Opener(SEAL).feed(sealer.preamble + b"".join(frames[place] for place in order))
