"""Where a call goes: an ordered, finite list of steps, decided once; pure.

Each target of the model stands in it at most once, then one chosen target of the fallback model. A target that
the label forbids or whose dialect lacks the operation never enters the plan.
"""

from typing import Protocol

import msgspec

from ostiary.core.call import Operation
from ostiary.core.label import Sensitivity
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import ModelRow, ProviderRow, Residency, TargetRow


class Draw(Protocol):
    """Uniform numbers in [0, 1)."""

    def random(self) -> float: ...


class Strategy(Protocol):
    """Orders the targets of one model; each file in `strategies/` has one."""

    def __call__(self, targets: tuple[TargetRow, ...], draw: Draw) -> tuple[TargetRow, ...]: ...


class Step(msgspec.Struct, frozen=True):
    """One target to try. `fallback` is true where it belongs to the fallback model."""

    provider: ProviderRow
    model: ModelRow
    request_model: str
    fallback: bool = False

    @property
    def target(self) -> str:
        """The step's name in headers, logs and records: provider/model."""
        return f"{self.provider.name}/{self.request_model}"


class Plan(msgspec.Struct, frozen=True):
    """Steps in order. Empty where no target can take the call."""

    steps: tuple[Step, ...]


def plan(
    index: Index,
    model: ModelRow,
    fallback: ModelRow | None,
    *,
    operation: Operation,
    label: Sensitivity,
    strategies: dict[str, Strategy],
    draw: Draw,
) -> Plan:
    """The plan for a call to `model`, whose fallback, if any, policy has already allowed."""

    def steps(row: ModelRow, *, is_fallback: bool) -> tuple[Step, ...]:
        targets = row.targets if len(row.targets) == 1 else strategies[row.strategy](row.targets, draw)
        found = []
        for target in targets:
            provider = index.providers[target.provider]
            if label is Sensitivity.REGULATED and provider.residency is not Residency.PRIVATE:
                continue
            if index.offers(provider, operation):
                found.append(Step(provider=provider, model=row, request_model=target.model, fallback=is_fallback))
        return tuple(found)

    first = steps(model, is_fallback=False)
    return Plan(first if fallback is None else first + steps(fallback, is_fallback=True)[:1])
