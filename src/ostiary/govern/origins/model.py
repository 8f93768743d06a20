"""An origin of the journal, as the database knows it."""

import msgspec


class Retirement(msgspec.Struct, frozen=True):
    """Who declared an origin lost, when (wall-clock nanoseconds) and why."""

    at_ns: int
    by: str
    reason: str


class Origin(msgspec.Struct, frozen=True):
    """`<replica>.<slot>`: when its replica last said that it has the journal (0: never), the number of the next record
    that the database wants of it, and its retirement, if it was declared lost."""

    name: str
    seen_ns: int
    records: int
    retirement: Retirement | None = None
