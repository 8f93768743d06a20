"""A snapshot arranged for look-ups. Built once per snapshot, then only read; a request holds one from start to end."""

from ostiary.core.call import Operation
from ostiary.snapshot.tables import ModelRow, PriceRow, ProviderRow, Snapshot, TargetRow, TeamRow

_OPERATIONS: dict[str, frozenset[Operation]] = {
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
        for row in snapshot.pricing.rows:
            self._prices.setdefault((row.provider, row.model), []).append(row)
        for rows in self._prices.values():
            rows.sort(key=lambda row: row.valid_from, reverse=True)

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
        """The price row of a provider's model valid at a time, by the model's own name or its dateless family."""
        name = provider.price_provider
        for candidate in (model, *_families(model)):
            for key in ((provider.name, candidate), (name, candidate)):
                for row in self._prices.get(key, ()):
                    if row.valid_from <= at_seconds:
                        return row
        return None

    def offers(self, provider: ProviderRow, operation: Operation) -> bool:
        """Whether a provider's dialect has an endpoint for the operation."""
        return operation in _OPERATIONS[provider.dialect]


def _families(model: str) -> tuple[str, ...]:
    """Names under which a dated model is listed: `gpt-4o-2024-08-06` → `gpt-4o`, `claude-x-20250101` → `claude-x`."""
    parts = model.split("-")
    if len(parts) > 3 and all(part.isdigit() for part in parts[-3:]) and len(parts[-3]) == 4:
        return ("-".join(parts[:-3]),)
    if len(parts) > 1 and parts[-1].isdigit() and len(parts[-1]) == 8:
        return ("-".join(parts[:-1]),)
    return ()
