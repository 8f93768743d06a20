"""Backups as files: whole or refused, and never a way out of the folder they are put into."""

import io
import tarfile

import msgspec
import pytest

from ostiary.core.error import Code, OperatorError
from ostiary.store.archive.manifest import FORMAT, MANIFEST_NAME, Manifest
from ostiary.store.archive.reader import unpack
from ostiary.store.archive.writer import written

FILES = {
    "database/ostiary.db": b"rows" * 5_000,
    "journal/r0.0/00000000.seg": b"\0\1chain" * 9_000,
    "counters.id": b"ab",
}


def manifest(members, **changes):
    fields = {
        "format": FORMAT,
        "id": "b1",
        "at_ns": 1,
        "version": "1",
        "replica": "r0",
        "database": "sqlite",
        "schema": 1,
        "pepper_id": "p",
        "digest_key_id": "d",
        "origins": {},
        "tables": (),
        "days": (),
        "members": tuple(members),
    }
    return Manifest(**{**fields, **changes})


def make(target, files=FILES, **changes):
    with written(target) as archive:
        for name, data in files.items():
            archive.add_bytes(name, data)
        archive.seal(manifest(archive.members, **changes))
    return target


def refusal(archive, folder):
    folder.mkdir(exist_ok=True)
    with pytest.raises(OperatorError) as caught:
        unpack(archive, folder)
    assert caught.value.code is Code.CONFIG_INVALID
    return caught.value.message


def tarred(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def named(name, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def test_what_is_written_is_read(tmp_path):
    archive, out = make(tmp_path / "b"), tmp_path / "out"
    out.mkdir()
    assert unpack(archive, out).id == "b1"
    there = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert there == FILES
    assert archive.stat().st_mode & 0o777 == 0o600
    assert all(path.stat().st_mode & 0o77 == 0 for path in out.rglob("*"))


def test_cut_off_anywhere_it_is_refused(tmp_path):
    data = make(tmp_path / "b").read_bytes()
    for number, size in enumerate((0, 1, 10, len(data) // 3, len(data) // 2, len(data) - 9, len(data) - 1)):
        cut = tmp_path / f"cut{number}"
        cut.write_bytes(data[:size])
        refusal(cut, tmp_path / f"out{number}")


def test_a_changed_byte_anywhere_is_noticed(tmp_path):
    data = make(tmp_path / "b").read_bytes()
    begin = data.index(b"\0", 10) + 1  # the head of gzip has a time and a name, which say nothing of the content
    for number, place in enumerate((*range(begin, len(data), max(len(data) // 40, 1)), len(data) - 8, len(data) - 1)):
        changed = tmp_path / "changed"
        changed.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        refusal(changed, tmp_path / f"out{number}")


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/outside",
        "journal/../../outside",
        "./journal",
        "journal//x",
        ".restoring",
        "journal/.hidden",
        "a/b/c/d/e",
        "back\\slash",
        "new\nline",
        "",
    ],
)
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    hostile = tarred(tmp_path / "hostile", named(name, b"x"))
    assert "which no backup does" in refusal(hostile, tmp_path / "out")
    assert not (tmp_path / "outside").exists()
    assert list((tmp_path / "out").rglob("*")) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    hostile = tarred(tmp_path / "hostile", named("journal", type=kind, linkname="/etc/passwd"))
    assert "which no backup does" in refusal(hostile, tmp_path / "out")


def test_a_link_does_not_lead_a_later_file_elsewhere(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "journal").symlink_to(tmp_path)
    hostile = tarred(tmp_path / "hostile", named("journal", b"x"))
    refusal(hostile, tmp_path / "out")


def test_what_is_foreign_twice_missing_too_much_or_newer_is_refused(tmp_path):
    data = b"x" * 10
    sealed = msgspec.json.encode(manifest([]))
    cases = {
        "no manifest": tarred(tmp_path / "a", named("counters.id", data)),
        "which no backup does": tarred(tmp_path / "c", named("counters.id", data), named("counters.id", data)),
        "not what its manifest says": tarred(tmp_path / "d", named("counters.id", data), named(MANIFEST_NAME, sealed)),
        "after its end": tarred(tmp_path / "e", named(MANIFEST_NAME, sealed), named("counters.id", data)),
        "not one of ours": tarred(tmp_path / "f", named(MANIFEST_NAME, b'{"format":1,"else":2}')),
        "use a newer one": make(tmp_path / "g", format=FORMAT + 1),
        "gzip": tmp_path / "h",
    }
    (tmp_path / "h").write_bytes(b"no archive at all")
    for number, (why, archive) in enumerate(cases.items()):
        assert why in refusal(archive, tmp_path / f"out{number}"), why


def test_where_writing_fails_what_was_there_stays(tmp_path):
    target = make(tmp_path / "b")
    before = target.read_bytes()
    with pytest.raises(RuntimeError), written(target) as archive:
        archive.add_bytes("counters.id", b"another")
        raise RuntimeError
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_file_that_becomes_shorter_is_not_padded(tmp_path):
    source = tmp_path / "short"
    source.write_bytes(b"12345")
    with pytest.raises(OperatorError, match="shorter"), written(tmp_path / "b") as archive:
        archive.add_file("counters.id", source, 6)
    assert not (tmp_path / "b").exists()
