"""Time that stands still until a test moves it."""


class FakeClock:
    """Implements ports.Clock. `advance` is the only way time passes; `set_wall` changes what the wall shows."""

    def __init__(self, monotonic: float = 1_000.0, now_ns: int = 1_800_000_000_000_000_000) -> None:
        self._monotonic = monotonic
        self._now_ns = now_ns

    def monotonic(self) -> float:
        """Seconds."""
        return self._monotonic

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self._now_ns

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic += seconds
        self._now_ns += int(seconds * 1e9)

    def set_wall(self, seconds: float) -> None:
        """Set the clock on the wall forward, or back where negative, as an administrator or a time service does.
        No time passes."""
        self._now_ns += int(seconds * 1e9)
