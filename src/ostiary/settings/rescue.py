"""What a file that is wrong elsewhere still says of where the installation is: for what must be possible all the same, as
revoking a key. Nothing else of such a file is believed."""

import re
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from ostiary.control.located import compose
from ostiary.core.error import OperatorError
from ostiary.settings.file import FILE_BYTES_MAX, Loaded, Settings
from ostiary.settings.installation import StorageSettings

_SECTION: Final = re.compile(r"(data_dir|storage)[ \t]*:")
T = TypeVar("T")


class Place(msgspec.Struct, frozen=True):
    """`data_dir` and `storage` as the file has them, None where it has them wrong or not at all: of a file that is not whole
    nobody knows which."""

    data_dir: str | None
    storage: StorageSettings | None

    def loaded(self, file: Path, storage: StorageSettings) -> Loaded:
        """As settings that hold nothing else. Where the data folder is not known, it is the one that is usual."""
        usual = Settings().data_dir
        settings = Settings(data_dir=self.data_dir or usual, storage=storage)
        return Loaded(settings, file, {}, file.resolve().parent)


def place_in(file: Path) -> Place:
    """What `file` says of where the installation is. A file that cannot be read says nothing: nothing is raised."""
    try:
        data = file.read_bytes()[: FILE_BYTES_MAX + 1]
    except OSError:
        return Place(None, None)
    try:
        tree, _ = compose(file, data)
    except OperatorError:
        tree = _sections(file, data.decode("utf-8", "replace"))
    if not isinstance(tree, dict):
        return Place(None, None)
    return Place(
        _value(tree.get("data_dir"), str),
        _value(tree.get("storage"), StorageSettings),
    )


def _sections(file: Path, text: str) -> dict[str, object]:
    """The two sections of a file that is no YAML as a whole: from where each begins in the first column to where something
    else does. One that is there and is no YAML itself, or is there twice, is given as nothing that can be valid."""
    blocks: list[tuple[str, list[str]]] = []
    inside = False
    for line in text.splitlines():
        begins = _SECTION.match(line)
        if begins is not None:
            blocks.append((begins[1], [line]))
            inside = True
        elif line[:1] not in ("", " ", "\t", "#"):
            inside = False
        elif inside:
            blocks[-1][1].append(line)
    found: dict[str, object] = {}
    for name, lines in blocks:
        try:
            tree, _ = compose(file, "\n".join(lines).encode())
        except OperatorError:
            tree = None
        known = tree.get(name) if isinstance(tree, dict) else None
        found[name] = None if name in found else known
    return found


def _value(value: object, kind: type[T]) -> T | None:
    try:
        return msgspec.convert(value, kind, str_keys=True)
    except msgspec.ValidationError:
        return None
