"""What origins need of a store."""

from collections.abc import Sequence
from typing import Protocol

from ostiary.govern.change import Change
from ostiary.govern.origins.model import Origin, Retirement
from ostiary.govern.usage.model import OpenCall


class OriginStore(Protocol):
    """OperatorError store.unavailable where the store cannot be used."""

    def seen(self, names: Sequence[str], at_ns: int) -> None:
        """The replica that has these journals runs."""
        ...

    def retire(self, name: str, retirement: Retirement, silent_since_ns: int, change: Change) -> Origin | None:
        """Retire it, with the record of the change, unless it was before: the first retirement stays. What it is then.

        None, and nothing done, where it is not known or was seen after `silent_since_ns`, also where that happens at
        the same moment."""
        ...

    def open_calls(self, name: str) -> list[OpenCall]:
        """The calls projected as opened and not as closed."""
        ...

    def list(self) -> list[Origin]:
        """Every origin that was seen or of which anything was projected, by name."""
        ...
