"""Whether the shared counters are asked; pure. One failure opens it, so that a dead server costs the calls of one exchange
their wait and no other; one attempt at a time, after a growing and random pause, finds out when it is back."""

from ostiary.core.limit import RECONNECT_SECONDS, RECONNECT_SECONDS_MAX
from ostiary.core.port import Random


class Circuit:
    """`away` says that calls must not wait for the counters; `attempt_at` is when they may be tried again."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._pause = RECONNECT_SECONDS
        self.away = False
        self.attempt_at = 0.0

    def failed(self, now: float) -> None:
        """An exchange failed."""
        self._pause = min(self._pause * 2, RECONNECT_SECONDS_MAX) if self.away else RECONNECT_SECONDS
        self.away = True
        # Between a half and the whole of the pause: workers that lost the server together do not come back together.
        self.attempt_at = now + self._pause * (0.5 + self._random.random() / 2)

    def succeeded(self) -> bool:
        """An exchange succeeded; whether the counters were away before it."""
        was, self.away = self.away, False
        return was
