"""A snapshot arranged for look-ups. Built once per snapshot, then only read; a request holds one from start to end."""

import hashlib
import re
from typing import Final
from urllib.parse import quote

import msgspec

from ostiary.core.call import Operation
from ostiary.core.limit import CONNECT_SECONDS, FIRST_BYTE_SECONDS, IDLE_SECONDS, TOTAL_SECONDS
from ostiary.snapshot.tables import (
    BudgetedRow,
    GateRow,
    LimitedRow,
    Match,
    ModelRow,
    PriceRow,
    ProviderRow,
    Snapshot,
    TargetRow,
    TeamRow,
    TimeoutsRow,
    TraitsRow,
)

_MODEL: Final = "{model}"
_DOTS: Final = frozenset((".", "..", ""))
_DATE: Final = re.compile(r"[-@](?:20\d\d-[01]\d-[0-3]\d|20\d\d[01]\d[0-3]\d)$")
_KEPT_MAX: Final = 4_096
"""How many names that callers made up (through wildcard entries) are remembered at once, of each kind."""

_OPERATIONS: Final[dict[str, frozenset[Operation]]] = {
    "openai": frozenset(
        {
            Operation.CHAT,
            Operation.EMBEDDINGS,
            Operation.COUNT_TOKENS,
            Operation.MODERATION,
            Operation.IMAGE_GENERATION,
            Operation.IMAGE_EDIT,
            Operation.IMAGE_VARIATION,
            Operation.SPEECH,
            Operation.TRANSCRIPTION,
            Operation.TRANSLATION,
            Operation.RERANK,
            Operation.REALTIME,
        }
    ),
    "anthropic": frozenset({Operation.CHAT, Operation.COUNT_TOKENS}),
    "openai-responses": frozenset({Operation.CHAT, Operation.COUNT_TOKENS}),
    "gemini": frozenset({Operation.CHAT, Operation.EMBEDDINGS, Operation.COUNT_TOKENS}),
    "bedrock": frozenset({Operation.CHAT, Operation.EMBEDDINGS, Operation.COUNT_TOKENS}),
    "cohere": frozenset({Operation.CHAT, Operation.EMBEDDINGS, Operation.COUNT_TOKENS, Operation.RERANK}),
    "openai-completions": frozenset({Operation.CHAT}),
}


class Target(msgspec.Struct, frozen=True):
    """A target of a model with all that a call needs of it: the row of its provider and of the model, the model's name
    there (`request_model`), its share, its name in headers, logs and records (provider/model), its prices, newest
    first, what is known that could keep a call away (`traits`; None: nothing), and the condition for the calls it takes
    (`when`; empty: all). `gate` names the bound on calls in flight it falls under (empty: none)."""

    provider: ProviderRow
    model: ModelRow
    request_model: str
    weight: int
    name: str
    base_path: bytes
    query: bytes
    prices: tuple[PriceRow, ...]
    traits: TraitsRow | None = None
    when: str = ""
    gate: str = ""

    def address(self, path: bytes) -> bytes:
        """Where a dialect's path stands at this target, as it goes on the wire."""
        whole = self.base_path + path
        if not self.query:
            return whole
        return whole + (b"&" if b"?" in path else b"?") + self.query

    def price(self, at_seconds: int) -> PriceRow | None:
        """The price that holds at a time (seconds since 1970): the operator's own before the shipped list's."""
        for row in self.prices:
            if row.valid_from <= at_seconds:
                return row
        return None


_PASSTHROUGH_TIMEOUTS: Final = TimeoutsRow(CONNECT_SECONDS, FIRST_BYTE_SECONDS, IDLE_SECONDS, TOTAL_SECONDS)


def allows(patterns: frozenset[str] | tuple[str, ...], model: str) -> bool:
    """Whether an allow-list names `model`: exactly, by "*", or by "prefix/*". Case and spelling must match."""
    if "*" in patterns or model in patterns:
        return True
    prefix, slash, _ = model.partition("/")
    return bool(slash) and f"{prefix}/*" in patterns


def undated(model: str) -> str:
    """A model's name without the date of its release at the end: what is known of it holds for every one of them."""
    return _DATE.sub("", model)


class Index:
    """Look-ups over one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.id = snapshot.id
        self.providers: dict[str, ProviderRow] = {row.name: row for row in snapshot.providers}
        self.models: dict[str, ModelRow] = {row.name: row for row in snapshot.models}
        self.teams: dict[tuple[str, str], TeamRow] = {(row.tenant, row.name): row for row in snapshot.teams}
        self.limits: dict[str, LimitedRow] = {row.scope: row for row in snapshot.limits}
        self.budgets: dict[str, BudgetedRow] = {row.scope: row for row in snapshot.budgets}
        self.gates: dict[str, GateRow] = {row.name: row.gate for row in snapshot.providers if row.gate is not None}
        for model in snapshot.models:
            self.gates |= {f"{one.provider}/{one.model}": one.gate for one in model.targets if one.gate is not None}
        self._gated = frozenset(
            model.name
            for model in snapshot.models
            if any(one.gate is not None or one.provider in self.gates for one in model.targets)
        )
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
        self._known = {(row.provider, row.model): row.traits for row in snapshot.known_models}
        self._targets: dict[tuple[str, Operation], tuple[Target, ...]] = {}
        self._rules: dict[tuple[str, str], str] = {}
        self._apart: dict[tuple[str, str], bool] = {}

    def model(self, name: str) -> ModelRow | None:
        """The entry for a requested name: its own, or "prefix/*" with the rest of the name put in its targets."""
        row = self.models.get(name)
        if row is not None:
            return None if name.endswith("/*") else row
        prefix, slash, rest = name.partition("/")
        wild = self.models.get(f"{prefix}/*") if slash and rest else None
        # A name may become part of a path, where dots would lead to another one (RFC 3986 section 5.2.4).
        if wild is None or not _DOTS.isdisjoint(rest.split("/")):
            return None
        targets = tuple(
            msgspec.structs.replace(target, model=rest, traits=self._traits_behind(target, rest))
            if target.model == "*"
            else target
            for target in wild.targets
        )
        return msgspec.structs.replace(wild, name=name, targets=targets)

    def gated(self, model: ModelRow) -> bool:
        """Whether a target of the model has a bound on its calls in flight."""
        name = model.name
        return name in self._gated or ("/" in name and f"{name.partition('/')[0]}/*" in self._gated)

    def passthrough(self, provider: str, model: str) -> ModelRow | None:
        """What stands for a provider's own paths, with the model a request names (empty: none); None where there is no
        such provider. Its name cannot be a configured model's."""
        if provider not in self.providers:
            return None
        return ModelRow(
            name=f"\0{provider}\0{model}", targets=(TargetRow(provider, model),), timeouts=_PASSTHROUGH_TIMEOUTS
        )

    def targets(self, model: ModelRow, operation: Operation) -> tuple[Target, ...]:
        """The targets of a model whose provider has an endpoint for the operation, in the file's order."""
        key = (model.name, operation)
        found = self._targets.get(key)
        if found is None:
            if len(self._targets) >= _KEPT_MAX:
                self._targets.clear()
            found = self._targets[key] = tuple(
                self._target(model, row)
                for row in model.targets
                if self.offers(self.providers[row.provider], operation)
            )
        return found

    def rules(self, tenant: str, model: ModelRow) -> str:
        """A digest of all that decides which of a tenant's calls to a model are let through and what is made of them: the
        model itself, the providers of its targets, and the tenant's teams. Keys, limits, budgets, prices and everything
        of other tenants and models are not in it."""
        place = (tenant, model.name)
        found = self._rules.get(place)
        if found is None:
            if len(self._rules) >= _KEPT_MAX:
                self._rules.clear()
            providers = {row.provider: self.providers[row.provider] for row in model.targets}
            teams = [row for row in self.snapshot.teams if row.tenant == tenant]
            told = msgspec.msgpack.encode((model, providers, teams))
            found = self._rules[place] = hashlib.sha256(told).hexdigest()[:32]
        return found

    def _target(self, model: ModelRow, row: TargetRow) -> Target:
        provider = self.providers[row.provider]
        return Target(
            provider=provider,
            model=model,
            request_model=row.model,
            weight=row.weight,
            name=f"{provider.name}/{row.model}" if row.model else provider.name,
            base_path=_base_path(provider.path, row.model),
            query=provider.query.encode("ascii"),
            traits=row.traits if row.traits is not None and row.traits.known() else None,
            prices=(*self._matching(provider.name, row.model), *self._matching(provider.price_provider, row.model)),
            when=row.when,
            gate=f"{provider.name}/{row.model}" if row.gate is not None else provider.name if provider.gate else "",
        )

    def sells_apart(self, target: Target, told: str) -> bool:
        """Whether a provider that calls the model of its answer `told` sells that at another price than the one asked for.
        Of names that have no price here nothing is known: a deployment's, a file's, an alias."""
        place = (target.name, told)
        found = self._apart.get(place)
        if found is None:
            if len(self._apart) >= _KEPT_MAX:
                self._apart.clear()
            asked, provider = target.request_model, target.provider.price_provider
            theirs = [] if undated(told) == undated(asked) else self._matching(provider, told)
            ours = self._matching(provider, asked)
            found = self._apart[place] = bool(theirs and ours and theirs[0].rates != ours[0].rates)
        return found

    def _traits_behind(self, target: TargetRow, model: str) -> TraitsRow | None:
        """What is known of a model that the target `*` stands for: the operator's word before the shipped one."""
        provider = self.providers[target.provider].price_provider
        known = self._known.get((provider, model)) or self._known.get((provider, undated(model)))
        if known is None or target.traits is None:
            return known or target.traits
        return target.traits.over(known)

    def _matching(self, provider: str, model: str) -> list[PriceRow]:
        exact = self._prices.get((provider, model))
        if exact is not None:
            return exact
        found, plain = self._by_pattern(provider, model), undated(model)
        if plain != model and not (found and len(found[0].model) > len(plain)):
            return self._prices.get((provider, plain), found)  # a release without a price of its own has its model's
        return found

    def _by_pattern(self, provider: str, model: str) -> list[PriceRow]:
        name = model.lower()
        for row in self._patterns.get(provider, ()):
            if name.startswith(row.model) if row.match is Match.PREFIX else row.model in name:
                return [
                    other for other in self._patterns[provider] if (other.model, other.match) == (row.model, row.match)
                ]
        return []

    def offers(self, provider: ProviderRow, operation: Operation) -> bool:
        """Whether a provider has an endpoint for the operation: as its row says, or else as its dialect does."""
        return operation is Operation.PASSTHROUGH or operation in (provider.operations or _OPERATIONS[provider.dialect])


def _base_path(path: str, model: str) -> bytes:
    """A provider's base path with the model's name where `{model}` stands: one URL-encoded segment. For a call that
    names no model it is what goes before that segment."""
    before, placed, after = path.partition(_MODEL)
    if not placed:
        return path.encode("ascii")
    if not model:
        return before.rpartition("/")[0].encode("ascii")
    # A dot is safe in URLs and so never encoded, but a segment of dots alone means another folder.
    segment = quote(model, safe="") if model.strip(".") else "%2E" * len(model)
    return f"{before}{segment}{after}".encode("ascii")
