"""Time, identity and chance: what every part needs of the world and none may take by itself."""

from typing import Protocol


class Clock(Protocol):
    """Time. `monotonic` seconds never go back; `now_ns` is wall-clock nanoseconds since 1970 and may jump."""

    def monotonic(self) -> float: ...
    def now_ns(self) -> int: ...


class Ids(Protocol):
    """Fresh identifiers: UUIDv7 in its usual text form."""

    def new(self) -> str: ...


class Random(Protocol):
    """Uniform in [0, 1). Not for secrets."""

    def random(self) -> float: ...
