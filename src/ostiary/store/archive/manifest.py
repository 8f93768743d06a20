"""What a backup says of itself."""

from typing import Final

import msgspec

FORMAT: Final = 1
MANIFEST_NAME: Final = "manifest.json"


class Member(msgspec.Struct, frozen=True):
    """One file in it."""

    name: str
    size: int
    sha256: str


class Table(msgspec.Struct, frozen=True):
    """One table of a database that is copied by rows: its columns, in the order in which they stand."""

    name: str
    columns: tuple[str, ...]


class Covered(msgspec.Struct, frozen=True):
    """How far an origin of the journal is in it: the place after its last record, their number, the link up to it."""

    segment: int
    offset: int
    records: int
    link: str


class Manifest(msgspec.Struct, frozen=True):
    """`at_ns` is the recovery point: every call that was answered before it is in the backup, by its record.
    `database` is sqlite or postgresql, empty where the database was left out; `schema` its version; of one that is copied by rows `tables`, and `days` those of
    which there are calls."""

    format: int
    id: str
    at_ns: int
    version: str
    replica: str
    database: str
    schema: int
    pepper_id: str
    digest_key_id: str
    origins: dict[str, Covered]
    tables: tuple[Table, ...]
    days: tuple[str, ...]
    members: tuple[Member, ...]
