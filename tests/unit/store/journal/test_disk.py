"""The disk there is, where files are written through a mapping of them."""

import os

import pytest

from ostiary.store.journal import disk
from ostiary.store.journal.disk import OsDisk

_SIZE = 5 * disk._WINDOW_BYTES


@pytest.fixture
def mapped(monkeypatch):
    monkeypatch.setattr(disk, "_file_system", lambda device: "ext4")
    return OsDisk()


def test_what_is_written_through_a_mapping_stands_in_the_file_and_the_memory_behind_it_is_let_go(tmp_path, mapped):
    fd = mapped.open(tmp_path / "file", fresh=True)
    mapped.allocate(fd, _SIZE)
    piece = bytes(range(256)) * 400
    wrote = 0
    while wrote + len(piece) <= _SIZE:
        assert mapped.pwrite(fd, piece, wrote) == len(piece)
        wrote += len(piece)
        assert wrote <= mapped._maps[fd].full_at <= wrote + 2 * disk._WINDOW_BYTES
    data = (tmp_path / "file").read_bytes()
    assert data[:wrote] == piece * (wrote // len(piece))
    assert len(data) == _SIZE
    mapped.close(fd)


def test_what_does_not_fit_into_a_mapping_goes_to_the_file_behind_it(tmp_path, mapped):
    fd = mapped.open(tmp_path / "file", fresh=True)
    mapped.allocate(fd, 4096)
    assert mapped.pwrite(fd, b"beyond", 4094) == 6
    assert os.fstat(fd).st_size == 4100
    mapped.close(fd)
    assert (tmp_path / "file").read_bytes()[4094:] == b"beyond"
