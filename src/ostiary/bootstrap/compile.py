"""The operator's file into rows of a snapshot. Every mistake is told with file, line, reason and the nearest name."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ostiary.bootstrap.address import address_of
from ostiary.bootstrap.answers_url import check_answers
from ostiary.bootstrap.authentication import auth_row
from ostiary.bootstrap.channels import callbacks_of, doubts
from ostiary.bootstrap.checks import checks_row, doubts_of
from ostiary.bootstrap.counters import check_extra, shared_url, warnings_of
from ostiary.bootstrap.degraded import degraded_row
from ostiary.bootstrap.expression import refused
from ostiary.bootstrap.known import (
    begins_like,
    decided_by_callers,
    known_models,
    operations_of,
    price_row,
    profile_of,
    rates_of,
    traits_of,
)
from ostiary.bootstrap.near import near
from ostiary.bootstrap.overload import gate_row, overload_row
from ostiary.bootstrap.scopes import FALLBACK_ON, cache_row, hedge_row
from ostiary.bootstrap.server_url import is_local
from ostiary.bootstrap.storage import storage_doubts
from ostiary.bootstrap.tenants import Tenants
from ostiary.control.catalogue import (
    CatalogueRow,
    catalogue,
    filled,
    placeholders,
    price_lists,
    price_rows,
    price_version,
)
from ostiary.control.publisher import write_atomically
from ostiary.control.reference import reference, resolve
from ostiary.core.call import DialectName
from ostiary.core.error import Code, OperatorError
from ostiary.core.http import Origin
from ostiary.settings import (
    AuthSettings,
    FallbackSettings,
    Loaded,
    ModelSettings,
    ProviderSettings,
    ShadowSettings,
)
from ostiary.snapshot import codec
from ostiary.snapshot.keys import KeyEntry
from ostiary.snapshot.tables import (
    AuthRow,
    BudgetedRow,
    FallbackRow,
    JournalRow,
    KnownModelRow,
    LimitedRow,
    ModelRow,
    OverloadRow,
    PriceRow,
    PricingRow,
    ProviderRow,
    Residency,
    SecretRef,
    ServerRow,
    ShadowRow,
    Snapshot,
    Subject,
    TargetRow,
    TeamRow,
    TimeoutsRow,
    TlsRow,
    UnknownPrice,
)

_COUNTING = ("anthropic", "gemini", "openai-responses")
"""The dialects with an endpoint that counts tokens."""
_STATIC = ("bearer", "x-api-key", "header")
_PLACED = ("region", "resource", "project", "account", "api_version")
_PLACED_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

Path_ = tuple[str | int, ...]


class Declared(msgspec.Struct, frozen=True):
    """What the file declares: rows, the keys with their credentials, and what an operator should know."""

    providers: tuple[ProviderRow, ...]
    models: tuple[ModelRow, ...]
    teams: tuple[TeamRow, ...]
    pricing: PricingRow
    journal: JournalRow
    server: ServerRow
    limits: tuple[LimitedRow, ...]
    budgets: tuple[BudgetedRow, ...]
    known_models: tuple[KnownModelRow, ...]
    overload: OverloadRow
    keys: tuple[tuple[str, KeyEntry], ...]
    literals: tuple[tuple[SecretRef, str], ...]
    warnings: tuple[str, ...]


def compile_file(loaded: Loaded, secrets_dir: Path) -> Declared:
    """The rows of a file. Raises OperatorError config.invalid at the first mistake, whatever the file holds: a running
    installation must outlive what nobody foresaw."""
    try:
        return _Compiler(loaded, secrets_dir).run()
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise OperatorError(
            Code.CONFIG_INVALID,
            f"{loaded.file}: something in it is not foreseen ({type(error).__name__}: {error}); please report it",
        ) from error


def snapshot_of(declared: Declared, teams: Iterable[TeamRow], now_ns: int) -> Snapshot:
    """The sealed snapshot of what the file declares and the teams of the database."""
    return codec.seal(
        Snapshot(
            format=codec.FORMAT,
            id="",
            created_ns=now_ns,
            providers=declared.providers,
            models=declared.models,
            teams=(*declared.teams, *teams),
            pricing=declared.pricing,
            journal=declared.journal,
            server=declared.server,
            limits=declared.limits,
            budgets=declared.budgets,
            known_models=declared.known_models,
            overload=declared.overload,
        )
    )


def write_literals(declared: Declared) -> None:
    """Put secrets that stand in the file itself where workers can read them: one file each, for the owner only."""
    for ref, text in declared.literals:
        path = Path(ref.name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, text.encode("utf-8"))


class _Compiler:
    def __init__(self, loaded: Loaded, secrets_dir: Path) -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.secrets_dir = secrets_dir
        # When a model was first offered is not known; when the file was last changed is, and is no lie of 1970.
        self.created = 0 if loaded.file is None else int(loaded.file.stat().st_mtime)
        self.warnings: list[str] = []
        self.literals: list[tuple[SecretRef, str]] = []
        self.members = Tenants(loaded)

    def run(self) -> Declared:
        settings = self.settings
        providers = tuple(self.provider(name, row) for name, row in settings.providers.items())
        known = {row.name: row for row in providers}
        models = tuple(self.model(name, row, known) for name, row in settings.models.items())
        teams, keys = self.members.run()
        if not settings.server.tls:
            self.listener(("server",), settings.server.host, insecure=settings.server.insecure)
        check_extra(self.loaded)
        self.warnings += warnings_of(self.loaded) + check_answers(self.loaded)
        if (
            settings.server.workers > 1
            and (self.members.limits or self.members.budgets)
            and not shared_url(self.loaded)
        ):
            raise self.error(
                ("server", "workers"),
                "limits and budgets are counted in the memory of one worker; with several each would let through its own "
                "share: set `workers: 1`, keep them in Redis (`counters.url`), or take the limits and budgets out",
            )
        self.listener(("admin",), settings.admin.host, insecure=settings.admin.insecure)
        self.warnings += (*storage_doubts(self.loaded), *doubts(self.loaded))
        callbacks_of(self.loaded)
        return Declared(
            providers=providers,
            models=models,
            teams=teams,
            pricing=self.pricing(providers),
            journal=JournalRow(durability=settings.journal.durability, on_failure=settings.journal.on_failure),
            server=ServerRow(show_target=settings.server.show_target, cache_bytes=settings.cache.memory_bytes),
            limits=tuple(self.members.limits),
            budgets=tuple(self.members.budgets),
            known_models=known_models(models, known),
            overload=overload_row(settings),
            keys=keys,
            literals=tuple(self.literals),
            warnings=tuple(self.warnings),
        )

    def error(self, path: Path_, reason: str) -> OperatorError:
        return self.loaded.error(path, reason)

    def listener(self, path: Path_, host: str, *, insecure: bool) -> None:
        if is_local(host):
            return
        if not insecure:
            raise self.error(
                (*path, "host"),
                f"listening on {host} without TLS sends keys and prompts in clear; add `tls` or, behind something that "
                "does TLS, `insecure: true`",
            )
        self.warnings.append(f"{'.'.join(map(str, path))}: listens on {host} without TLS (insecure: true)")

    # --- providers ----------------------------------------------------------------------------------------

    def provider(self, name: str, row: ProviderSettings) -> ProviderRow:
        path: Path_ = ("providers", name)
        known = self.catalogue_row(path, name, row)
        dialect = row.dialect or (known.dialect if known else None)
        base_url = row.base_url or (known.base_url if known else None)
        if dialect is None:
            raise self.error(
                path, "`dialect` is missing (openai, anthropic, gemini ...), and the catalogue has no such provider"
            )
        if base_url is None:
            raise self.error(path, "`base_url` is missing, and the catalogue has no such provider")
        origin, prefix = self.url((*path, "base_url"), self.fill(path, row, known, base_url))
        query = row.query or (known.query if known and not row.base_url else "")
        if dialect == "anthropic":
            prefix = prefix.removesuffix("/v1")  # its SDKs leave the version to the path of each endpoint
        if dialect == "cohere":
            prefix = prefix.removesuffix("/v2")  # the same
        tls = row.tls
        if origin.scheme == "https" and tls.minimum_version == "1.2":
            self.warnings.append(f"{'.'.join(map(str, path))}: TLS 1.2 is allowed towards this provider")
        if origin.scheme == "http" and not is_local(origin.host):
            self.warnings.append(f"providers.{name}: prompts go to {origin.host} without TLS")
        return ProviderRow(
            name=name,
            dialect=DialectName(dialect),
            origin=origin,
            path=prefix,
            auth=self.auth(path, row, known, origin),
            residency=Residency(row.residency or (known.residency if known else Residency.HOSTED)),
            tls=TlsRow(
                ca_file=self.file((*path, "tls", "ca_file"), tls.ca_file),
                certificate_file=self.file((*path, "tls", "certificate_file"), tls.certificate_file),
                key_file=self.file((*path, "tls", "key_file"), tls.key_file),
                minimum_version=tls.minimum_version,
            ),
            proxy=None if row.proxy is None else self.url((*path, "proxy"), row.proxy)[0],
            headers=tuple(sorted(row.headers.items())),
            price_provider=self.price_list(path, row, known),
            profile=profile_of(row, known),
            query=self.fill(path, row, known, query),
            operations=operations_of(row, known),
            also=tuple(DialectName(one) for one in row.also)
            or (known.also if known and dialect == known.dialect else ()),
            region=self.region(path, row, known),
            count_tokens=row.count_tokens if row.count_tokens is not None else dialect in _COUNTING,
            gate=gate_row(row.capacity, self.settings.server.workers),
            embedding_inputs_max=row.embedding_inputs_max or (known.embedding_inputs_max if known else None),
        )

    def catalogue_row(self, path: Path_, name: str, row: ProviderSettings) -> CatalogueRow | None:
        rows = catalogue()
        if row.catalogue:
            if row.catalogue not in rows:
                raise self.error((*path, "catalogue"), f"no such row{near(row.catalogue, rows)}")
            return rows[row.catalogue]
        if row.base_url is not None:
            try:
                host = urlsplit(row.base_url).netloc
            except ValueError as error:
                raise self.error((*path, "base_url"), f"not a URL: {error}") from error
            found = [one for one in rows.values() if one.serves(host)]
            # One host may have several rows: the one whose path the URL has, in the dialect it is to be spoken to in.
            url = row.base_url
            found.sort(key=lambda one: (one.dialect != row.dialect, not begins_like(url, one.base_url)))
            return found[0] if found else None
        return rows.get(name) or (rows.get(row.dialect) if row.dialect else None)

    def fill(self, path: Path_, row: ProviderSettings, known: CatalogueRow | None, text: str) -> str:
        """A URL's or query's text with its placeholders replaced by what the settings, or else the catalogue, say."""
        values: dict[str, str] = {}
        for name in placeholders(text):
            if name not in _PLACED:
                raise self.error(path, f"nothing fills `{{{name}}}`; known: {', '.join(_PLACED)}")
            given: str = getattr(row, name)
            try:
                given = resolve(given, self.loaded.base) or (known.defaults.get(name, "") if known else "")
            except ValueError as error:
                raise self.error((*path, name), str(error)) from error
            if not given:
                raise self.error(path, f"`{name}` is missing: its address is {text}")
            if _PLACED_TEXT.fullmatch(given) is None:
                raise self.error((*path, name), "must be letters, digits, dots, dashes and underscores")
            values[name] = given
        return filled(text, values)

    def region(self, path: Path_, row: ProviderSettings, known: CatalogueRow | None) -> str:
        """Where a provider runs: as its settings say, or the catalogue, or the address it fills in."""
        try:
            given = resolve(row.region, self.loaded.base)
        except ValueError as error:
            raise self.error((*path, "region"), str(error)) from error
        if not given and known is not None:
            given = known.region or known.defaults.get("region", "")
        return given.lower()

    def price_list(self, path: Path_, row: ProviderSettings, known: CatalogueRow | None) -> str:
        if row.prices and row.prices not in price_lists():
            raise self.error(
                (*path, "prices"), f"no price list `{row.prices}` is shipped{near(row.prices, price_lists())}"
            )
        return row.prices or (known.prices if known else "")

    def auth(self, path: Path_, row: ProviderSettings, known: CatalogueRow | None, origin: Origin) -> AuthRow:
        here: Path_ = (*path, "auth")
        settings = row.auth or AuthSettings()
        if row.auth is None and (known is None or known.auth == "none"):
            return AuthRow()
        # A provider of the catalogue has its own scheme; `bearer` is only the default where nothing is known.
        if known is not None and known.auth != "none" and "scheme" not in self.given(here):
            settings = msgspec.convert({**msgspec.structs.asdict(settings), "scheme": known.auth}, AuthSettings)
        if known is not None and settings.scheme == "header" and not settings.header:
            settings = msgspec.structs.replace(settings, header=known.header)
        if (
            settings.secret is None
            and not settings.secrets
            and known is not None
            and known.env
            and settings.scheme in _STATIC
        ):
            settings = msgspec.structs.replace(settings, secret=f"${{env:{known.env}}}")
        return auth_row(
            settings,
            origin,
            refuse=lambda name, reason: self.error((*here, name) if name else here, reason),
            refer=lambda name, text: self.secret((*here, name), text),
        )

    def given(self, path: Path_) -> set[str | int]:
        return {
            found[len(path)]
            for found in self.loaded.lines
            if len(found) == len(path) + 1 and found[: len(path)] == path
        }

    def secret(self, path: Path_, text: str) -> SecretRef:
        found = reference(text)
        if found is not None:
            kind, name = found
            return SecretRef(kind, name if kind == "env" else str((self.loaded.base / name).resolve()))
        if "${" in text:
            raise self.error(path, "a secret is one reference, such as ${env:NAME} or ${file:path}")
        self.warnings.append(
            f"{'.'.join(map(str, path))}: the secret stands in the file itself; use ${{env:NAME}} or ${{file:path}}"
        )
        own = path[:2] if path[-1] == "secret" else (*path[:2], path[-1])
        ref = SecretRef("file", str(self.secrets_dir / "-".join(map(str, own))))
        self.literals.append((ref, text))
        return ref

    def url(self, path: Path_, text: str) -> tuple[Origin, str]:
        try:
            return address_of(resolve(text, self.loaded.base))
        except ValueError as error:
            raise self.error(path, str(error)) from error

    def file(self, path: Path_, text: str) -> str:
        if not text:
            return ""
        found = (self.loaded.base / text).resolve()
        if not found.is_file():
            raise self.error(path, f"the file {found} is not there")
        return str(found)

    # --- models -------------------------------------------------------------------------------------------

    def model(self, name: str, row: ModelSettings, providers: Mapping[str, ProviderRow]) -> ModelRow:
        path: Path_ = ("models", name)
        wild = name.endswith("/*")
        if not name or len(name.encode()) > 256 or not name.isprintable() or (("*" in name) and not wild):
            raise self.error(
                path, "a model's name is printable text; `prefix/*` offers a provider's models by their names"
            )
        for i, target in enumerate(row.targets):
            here = (*path, "targets", i)
            if target.provider not in providers:
                raise self.error(
                    (*here, "provider"), f"no provider `{target.provider}`{near(target.provider, providers)}"
                )
            if target.model == "*" and not wild:
                raise self.error((*here, "model"), "the target `*` needs a model named `prefix/*`")
            if target.capacity is not None and target.model == "*":
                raise self.error((*here, "capacity"), "many models stand behind `*`; bound their provider")
            problem = refused(target.when) if target.when else None
            if problem is not None:
                raise self.error((*here, "when"), problem)
        self.warnings += decided_by_callers(path, row, providers)
        if row.hedge is not None and len(row.targets) < 2:
            raise self.error((*path, "hedge"), "there is no second target")
        regions = self.regions(path, row, providers)
        if not any(target.weight for target in row.targets):
            raise self.error((*path, "targets"), "every target has weight 0")
        fallbacks: list[FallbackRow] = []
        for i, entry in enumerate(row.fallbacks):
            other = entry if isinstance(entry, FallbackSettings) else FallbackSettings(model=entry)
            if other.model not in self.settings.models:
                raise self.error(
                    (*path, "fallbacks", i), f"no model `{other.model}`{near(other.model, self.settings.models)}"
                )
            if other.model == name:
                raise self.error((*path, "fallbacks", i), "a model is not its own fallback")
            fallbacks.append(FallbackRow(other.model, tuple(code for word in other.on for code in FALLBACK_ON[word])))
        callbacks = [one.name for one in self.settings.reviews.callbacks]
        stand_in = degraded_row(path, row.degraded, self.error, providers, callbacks)
        self.warnings += doubts_of(path, tuple(fallbacks), stand_in)
        timeouts = row.timeouts
        self.members.scope(("models", name), f"model/{name}", row.limits, None)
        return ModelRow(
            name=name,
            targets=tuple(
                TargetRow(
                    target.provider,
                    target.model,
                    target.weight,
                    traits_of(target, target.model, row, providers[target.provider].price_provider),
                    target.when,
                    gate_row(target.capacity, self.settings.server.workers),
                )
                for target in row.targets
            ),
            timeouts=TimeoutsRow(
                connect_seconds=timeouts.connect_seconds,
                first_token_seconds=timeouts.first_token_seconds,
                idle_seconds=timeouts.idle_seconds,
                total_seconds=timeouts.total_seconds,
            ),
            strategy=row.strategy,
            attempts=row.retries.attempts,
            fallbacks=tuple(fallbacks),
            default_max_tokens=row.default_max_tokens,
            max_tokens=row.max_tokens,
            drop_unsupported=row.drop_unsupported,
            environments=tuple(row.environments),
            regions=regions,
            subject=Subject(row.subject),
            shadow=self.shadow(path, name, row.shadow),
            degraded=stand_in,
            checks=checks_row(path, row.quality, tuple(fallbacks), stand_in, self.error),
            hedge=hedge_row(row.hedge),
            created=self.created,
            cache=cache_row(self.loaded, name, row.cache),
            prompt_cache=row.prompt_cache or "",
        )

    def shadow(self, path: Path_, name: str, row: ShadowSettings | None) -> ShadowRow | None:
        """The model that mirrors another one's calls."""
        if row is None:
            return None
        if row.model not in self.settings.models:
            raise self.error(
                (*path, "shadow", "model"), f"no model `{row.model}`{near(row.model, self.settings.models)}"
            )
        if row.model == name:
            raise self.error((*path, "shadow", "model"), "a model is not its own shadow")
        return ShadowRow(row.model, row.share)

    def regions(self, path: Path_, row: ModelSettings, providers: Mapping[str, ProviderRow]) -> tuple[str, ...]:
        """The regions a model is bound to, of which at least one must be a target's."""
        regions = tuple(one.lower() for one in row.regions)
        there = [providers[target.provider].region for target in row.targets]
        if regions and not set(regions) & set(there):
            known = {one for one in there if one}
            raise self.error((*path, "regions"), f"no target is known to run there{near(regions[0], known)}")
        if regions and "" in there:
            provider = row.targets[there.index("")].provider
            self.warnings.append(
                f"{'.'.join(map(str, path))}: where the provider {provider} runs is not known, so `regions` leaves it out; "
                "say it with `region`"
            )
        return regions

    # --- prices -------------------------------------------------------------------------------------------

    def pricing(self, providers: tuple[ProviderRow, ...]) -> PricingRow:
        settings = self.settings.pricing
        rows: list[PriceRow] = []
        names = {row.name for row in providers}
        for i, price in enumerate(settings.prices):
            if price.provider not in names and price.provider not in price_lists():
                raise self.error(
                    ("pricing", "prices", i, "provider"),
                    f"no provider `{price.provider}`{near(price.provider, names)}",
                )
            try:
                rows.append(price_row(price))
            except ValueError as error:
                raise self.error(("pricing", "prices", i, "valid_from"), str(error)) from error
        for name in sorted({row.price_provider for row in providers if row.price_provider}):
            rows += price_rows(name)
        return PricingRow(
            rows=tuple(rows),
            unknown=UnknownPrice(settings.unknown),
            ceiling=rates_of(settings.ceiling),
            version=price_version(),
        )
