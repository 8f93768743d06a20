"""When a call that waits for its first target is put to a second one as well, and how often that may be. Pure.

The delay is the operator's, or the time within which 95 of 100 calls of the model had their first content, once enough were
seen. Of all calls of a model no more than a share are hedged, a small burst aside.
"""

from typing import Final

from ostiary.core.limit import HEDGES_REQUESTS_SAVED, MODELS_HEDGED_ENTRIES_MAX
from ostiary.snapshot.tables import HedgeRow

_QUANTILE: Final = 0.95
_STEP: Final = 0.1
_SEEN_MIN: Final = 20
"""How many calls must have been seen before a delay is learned from them."""


class Hedging:
    """What one worker knows of one model."""

    __slots__ = ("_seen", "allowance", "slow_seconds")

    def __init__(self) -> None:
        self.allowance = 0.0
        """How many calls may be hedged now."""

        self.slow_seconds = 0.0
        """Follows the 95th percentile of the time to the first content."""

        self._seen = 0

    def called(self, row: HedgeRow) -> None:
        """A call to the model begins, which gives a part of a hedge."""
        self.allowance = min(self.allowance + row.share, max(HEDGES_REQUESTS_SAVED, row.share))

    def delay_seconds(self, row: HedgeRow) -> float | None:
        """After how long a call is put to a second target; None where that is not known yet."""
        if row.after_seconds is not None:
            return row.after_seconds
        return self.slow_seconds if self._seen >= _SEEN_MIN else None

    def take(self) -> bool:
        """Take one hedge, if there is one."""
        if self.allowance < 1.0:
            return False
        self.allowance -= 1.0
        return True

    def learn(self, seconds: float) -> None:
        """A first target took so long, or longer, to its first content."""
        self._seen += 1
        slow = self.slow_seconds
        if not slow:
            self.slow_seconds = seconds
        elif seconds > slow:
            self.slow_seconds += min(_STEP * slow * _QUANTILE, seconds - slow)
        else:
            self.slow_seconds -= min(_STEP * slow * (1 - _QUANTILE), slow - seconds)


class Hedges:
    """All models of one worker."""

    def __init__(self) -> None:
        self._models: dict[str, Hedging] = {}

    def of(self, model: str) -> Hedging:
        """What is known of a model. At most MODELS_HEDGED_ENTRIES_MAX are remembered."""
        found = self._models.get(model)
        if found is None:
            if len(self._models) >= MODELS_HEDGED_ENTRIES_MAX:
                self._models.clear()
            found = self._models[model] = Hedging()
        return found
