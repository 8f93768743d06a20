"""What every place of kept answers must do, in memory or in files."""

import asyncio

import pytest

from ostiary.core.error import UpstreamError
from ostiary.core.limit import REPLAY_BYTES_MAX, REPLAY_SECONDS
from ostiary.gateway.ports import ReplayHead
from ostiary.store.replay.files import FileReplays
from ostiary.testing.clock import FakeClock
from ostiary.testing.replay import MemoryReplays

HEAD = ReplayHead(200, ((b"content-type", b"application/json"),), streamed=False)
STREAM = ReplayHead(200, ((b"content-type", b"text/event-stream"),), streamed=True, keepalive=b":\n\n")
SEAL = b"s" * 32


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["files", "memory"])
def replays(request, tmp_path, clock):
    return FileReplays(tmp_path / "replay", clock) if request.param == "files" else MemoryReplays(clock)


async def claim(replays, name="place", fingerprint="f"):
    return await replays.claim(name, SEAL, fingerprint)


async def read(replay, after=0):
    return [piece async for piece in replay.pieces(after)]


async def test_the_first_call_gets_the_place_and_the_next_its_answer(replays):
    recording, replay = await claim(replays)
    assert replay is None
    recording.begin(HEAD)
    recording.piece(b"{}")
    recording.finish()
    recording, replay = await claim(replays, fingerprint="other")
    assert recording is None
    assert (replay.running, replay.fingerprint) == (False, "f")
    assert await replay.head() == HEAD
    assert await read(replay) == [b"{}"]
    replay.close()


async def test_places_of_other_names_are_other_places(replays):
    one, _ = await claim(replays, "one")
    two, _ = await claim(replays, "two")
    assert None not in (one, two)
    one.drop()
    two.drop()


async def test_a_place_that_is_dropped_is_free_again(replays):
    recording, _ = await claim(replays)
    recording.begin(HEAD)
    recording.piece(b"half")
    recording.drop()
    recording, replay = await claim(replays)
    assert replay is None
    recording.drop()


async def test_an_answer_in_the_making_is_followed_to_its_end(replays):
    recording, _ = await claim(replays)
    _, replay = await claim(replays)
    assert replay.running
    following = asyncio.ensure_future(read(replay))
    recording.begin(STREAM)
    for number in range(3):
        recording.piece(b"%d" % number)
        await asyncio.sleep(0)
    recording.finish()
    assert await following == [b"0", b"1", b"2"]
    assert await replay.head() == STREAM
    replay.close()


async def test_pieces_that_were_seen_are_left_out(replays):
    recording, _ = await claim(replays)
    recording.begin(STREAM)
    for number in range(5):
        recording.piece(b"%d" % number)
    recording.finish()
    _, replay = await claim(replays)
    assert await read(replay, 3) == [b"3", b"4"]
    assert await read(replay, 9) == []
    replay.close()


async def test_who_follows_an_answer_that_is_dropped_is_told(replays):
    recording, _ = await claim(replays)
    recording.begin(STREAM)
    recording.piece(b"0")
    _, replay = await claim(replays)
    following = asyncio.ensure_future(read(replay))
    await asyncio.sleep(0)
    recording.drop()
    with pytest.raises(UpstreamError):
        await following
    replay.close()


@pytest.mark.parametrize("forbid", [True, False])
async def test_an_answer_that_must_not_or_cannot_be_kept_leaves_only_that_it_was_given(replays, forbid):
    recording, _ = await claim(replays)
    if forbid:
        recording.forbid()
    recording.begin(HEAD)
    recording.piece(b"secret" if forbid else b"x" * (REPLAY_BYTES_MAX + 1))
    recording.finish()
    recording, replay = await claim(replays)
    assert recording is None
    assert (await replay.head(), replay.running) == (None, False)
    replay.close()


async def test_an_answer_is_forgotten_after_its_time(replays, clock):
    recording, _ = await claim(replays)
    recording.begin(HEAD)
    recording.finish()
    clock.advance(REPLAY_SECONDS - 1)
    _, replay = await claim(replays)
    replay.close()
    clock.advance(2)
    recording, replay = await claim(replays)
    assert replay is None
    recording.drop()


async def test_of_many_at_once_one_gets_the_place(replays):
    found = await asyncio.gather(*(claim(replays) for _ in range(50)))
    assert sum(recording is not None for recording, _ in found) == 1
    for recording, replay in found:
        recording.drop() if recording is not None else replay.close()
