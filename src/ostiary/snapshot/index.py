"""A snapshot arranged for look-ups. Built once per snapshot, then only read; a request holds one from start to end."""

from typing import Final

from ostiary.core.call import Operation
from ostiary.snapshot.tables import Match, ModelRow, PriceRow, ProviderRow, Snapshot, TargetRow, TeamRow

_PRICES_KEPT_MAX: Final = 4_096
_OPERATIONS: Final[dict[str, frozenset[Operation]]] = {
    "openai": frozenset({Operation.CHAT, Operation.EMBEDDINGS, Operation.COUNT_TOKENS}),
    "anthropic": frozenset({Operation.CHAT, Operation.COUNT_TOKENS}),
}


def allows(patterns: frozenset[str] | tuple[str, ...], model: str) -> bool:
    """Whether an allow-list names `model`: exactly, by "*", or by "prefix/*". Case and spelling must match."""
    if "*" in patterns or model in patterns:
        return True
    prefix, slash, _ = model.partition("/")
    return bool(slash) and f"{prefix}/*" in patterns


class Index:
    """Look-ups over one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.id = snapshot.id
        self.providers: dict[str, ProviderRow] = {row.name: row for row in snapshot.providers}
        self.models: dict[str, ModelRow] = {row.name: row for row in snapshot.models}
        self.teams: dict[tuple[str, str], TeamRow] = {(row.tenant, row.name): row for row in snapshot.teams}
        self._prices: dict[tuple[str, str], list[PriceRow]] = {}
        self._patterns: dict[str, list[PriceRow]] = {}
        for row in sorted(snapshot.pricing.rows, key=lambda row: row.valid_from, reverse=True):
            if row.match is Match.EQUALS:
                self._prices.setdefault((row.provider, row.model), []).append(row)
            else:
                self._patterns.setdefault(row.provider, []).append(row)
        for patterns in self._patterns.values():
            # The longest beginning wins, then what is merely contained; newer rows of the same pattern come first.
            patterns.sort(key=lambda row: (row.match is Match.CONTAINS, -len(row.model)))
        self._found: dict[tuple[str, str], list[PriceRow]] = {}

    def model(self, name: str) -> ModelRow | None:
        """The entry for a requested name: its own, or "prefix/*" with the rest of the name put in its targets."""
        row = self.models.get(name)
        if row is not None:
            return None if name.endswith("/*") else row
        prefix, slash, rest = name.partition("/")
        wild = self.models.get(f"{prefix}/*") if slash and rest else None
        if wild is None:
            return None
        targets = tuple(
            TargetRow(
                provider=target.provider, model=rest if target.model == "*" else target.model, weight=target.weight
            )
            for target in wild.targets
        )
        return ModelRow(
            name=name,
            targets=targets,
            timeouts=wild.timeouts,
            strategy=wild.strategy,
            fallbacks=wild.fallbacks,
            default_max_tokens=wild.default_max_tokens,
            max_tokens=wild.max_tokens,
            drop_unsupported=wild.drop_unsupported,
            environments=wild.environments,
            created=wild.created,
        )

    def price(self, provider: ProviderRow, model: str, at_seconds: int) -> PriceRow | None:
        """The price row of a provider's model valid at a time: the operator's own before the shipped list's."""
        key = (provider.name, model)
        rows = self._found.get(key)
        if rows is None:
            rows = [*self._matching(provider.name, model), *self._matching(provider.price_provider, model)]
            if len(self._found) >= _PRICES_KEPT_MAX:
                self._found.clear()
            self._found[key] = rows
        for row in rows:
            if row.valid_from <= at_seconds:
                return row
        return None

    def _matching(self, provider: str, model: str) -> list[PriceRow]:
        exact = self._prices.get((provider, model))
        if exact is not None:
            return exact
        name = model.lower()
        for row in self._patterns.get(provider, ()):
            if name.startswith(row.model) if row.match is Match.PREFIX else row.model in name:
                return [
                    other for other in self._patterns[provider] if (other.model, other.match) == (row.model, row.match)
                ]
        return []

    def offers(self, provider: ProviderRow, operation: Operation) -> bool:
        """Whether a provider's dialect has an endpoint for the operation."""
        return operation in _OPERATIONS[provider.dialect]
