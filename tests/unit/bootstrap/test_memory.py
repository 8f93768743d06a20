"""How much memory a control group has left (FD-36)."""

import pytest

from ostiary.bootstrap.memory import Memory
from ostiary.core.limit import MEMORY_SHARE_MAX

MIB = 1024 * 1024


def group(folder, limit, current, inactive=0):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 1\nfile 2\ninactive_file {inactive}\n")
    return Memory(folder)


@pytest.mark.parametrize(
    ("used", "inactive", "short"),
    [(100, 0, False), (230, 0, True), (250, 100, False), (10, 100, False)],
)
def test_new_calls_are_refused_before_the_limit_and_pages_of_files_do_not_count(tmp_path, used, inactive, short):
    one = group(tmp_path, 256 * MIB, used * MIB, inactive * MIB)
    assert one.short() is short
    assert (one.used_share() > MEMORY_SHARE_MAX) is short


def test_without_a_limit_nothing_is_short(tmp_path):
    assert not group(tmp_path, "max", 10**12).short()
    assert not Memory(tmp_path / "not there").short()


def test_what_cannot_be_read_refuses_no_call(tmp_path):
    one = group(tmp_path, 256 * MIB, 255 * MIB)
    (tmp_path / "memory.current").unlink()
    assert not one.short()
    (tmp_path / "memory.current").write_text(str(255 * MIB))
    (tmp_path / "memory.stat").write_bytes(b"\xff\xfe")
    assert one.short()
