"""What is told of a change of the database's schema, before and while it is made."""

import msgspec


class Migration(msgspec.Struct, frozen=True):
    """One step. One that `contracts` takes away what earlier programs use; any other only adds."""

    version: int
    title: str
    contracts: bool = False


class Plan(msgspec.Struct, frozen=True):
    """A database, its schema's version (0: none), the steps that are due and those that wait for a word."""

    database: str
    version: int
    due: tuple[Migration, ...]
    waiting: tuple[Migration, ...] = ()
