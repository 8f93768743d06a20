"""How much memory a control group has left (FD-36)."""

import pytest

from ostiary.bootstrap.memory import Memory, give_back
from ostiary.core.limit import (
    BODIES_BYTES_MAX,
    BODIES_BYTES_MIN,
    BODY_COPIES_COUNT,
    MEMORY_RESET_SHARE_MAX,
    MEMORY_SHARE_MAX,
)

MIB = 1024 * 1024


def group(folder, limit, current, inactive=0, own=""):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 1\nfile 2\ninactive_file {inactive}\n")


def group_v1(folder, limit, current, inactive=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"inactive_file 5\ntotal_inactive_file {inactive}\n")


def seen(groups, own="0::/\n"):
    file = groups / "own"
    file.write_text(own)
    one = Memory(groups, file)
    one.look()
    return one


@pytest.mark.parametrize(
    ("used", "inactive", "short"),
    [(100, 0, False), (230, 0, True), (250, 100, False), (10, 100, False)],
)
@pytest.mark.parametrize("version", [1, 2])
def test_new_calls_are_refused_before_the_limit_and_pages_of_files_do_not_count(
    tmp_path, version, used, inactive, short
):
    if version == 2:
        group(tmp_path, 256 * MIB, used * MIB, inactive * MIB)
    else:
        group_v1(tmp_path / "memory", 256 * MIB, used * MIB, inactive * MIB)
    one = seen(tmp_path)
    assert one.limit_bytes == 256 * MIB
    assert one.used_bytes == max(used - inactive, 0) * MIB
    assert one.short is short
    assert (one.used_bytes > MEMORY_SHARE_MAX * 256 * MIB) is short


def test_without_a_limit_nothing_is_short_and_bodies_have_their_usual_room(tmp_path):
    group(tmp_path, "max", 10**12)
    group_v1(tmp_path / "memory", 2**63 - 4096, 10**12)
    for one in (seen(tmp_path), Memory(tmp_path / "not there", tmp_path / "nor this")):
        assert not one.short
        assert one.excess_bytes == 0
        assert one.bodies_bytes_max(0, 4) == BODIES_BYTES_MAX


def test_a_service_of_the_host_is_bounded_by_its_own_group_or_the_tightest_around_it(tmp_path):
    group(tmp_path / "system.slice", 512 * MIB, 400 * MIB)
    group(tmp_path / "system.slice" / "ostiary.service", 1024 * MIB, 100 * MIB)
    one = seen(tmp_path, "0::/system.slice/ostiary.service\n")
    assert (one.limit_bytes, one.used_bytes) == (512 * MIB, 400 * MIB)
    group(tmp_path / "system.slice" / "ostiary.service", 256 * MIB, 100 * MIB)
    assert seen(tmp_path, "0::/system.slice/ostiary.service\n").used_bytes == 100 * MIB
    assert seen(tmp_path, "0::/../elsewhere\n").limit_bytes == 0
    group_v1(tmp_path / "memory" / "docker" / "x", 128 * MIB, 7 * MIB)
    assert seen(tmp_path, "9:pids:/docker/x\n4:cpu,memory:/docker/x\n").used_bytes == 7 * MIB


def test_what_cannot_be_read_refuses_no_call(tmp_path):
    group(tmp_path, 256 * MIB, 255 * MIB)
    one = seen(tmp_path)
    (tmp_path / "memory.current").unlink()
    one.look()
    assert not one.short
    (tmp_path / "memory.current").write_text(str(255 * MIB))
    (tmp_path / "memory.stat").write_bytes(b"\xff\xfe")
    one.look()
    assert one.short


def test_what_is_beyond_the_last_reserve_has_to_be_given_up(tmp_path):
    group(tmp_path, 1000 * MIB, 930 * MIB)
    assert seen(tmp_path).excess_bytes == 930 * MIB - int(1000 * MIB * MEMORY_RESET_SHARE_MAX)
    group(tmp_path, 1000 * MIB, 900 * MIB)
    assert (seen(tmp_path).excess_bytes, seen(tmp_path).short) == (0, True)


@pytest.mark.parametrize(
    ("used", "held", "workers"), [(100, 0, 1), (100, 0, 2), (140, 40, 2), (920, 0, 1), (990, 1, 1)]
)
def test_bodies_with_all_their_copies_fit_into_what_is_free_whatever_the_other_workers_take(
    tmp_path, used, held, workers
):
    group(tmp_path, 1000 * MIB, used * MIB)
    room = seen(tmp_path).bodies_bytes_max(held * MIB, workers)
    free = MEMORY_RESET_SHARE_MAX * 1000 * MIB - (used - held) * MIB
    assert room == BODIES_BYTES_MIN or room * BODY_COPIES_COUNT * workers <= free
    assert room >= BODIES_BYTES_MIN


def test_giving_back_harms_nothing():
    give_back()
