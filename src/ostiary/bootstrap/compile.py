"""The operator's file into rows of a snapshot. Every mistake is told with file, line, reason and the nearest name."""

import datetime as dt
import difflib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ostiary.control.catalogue import CatalogueRow, catalogue, price_lists, price_rows, price_version
from ostiary.control.publisher import write_atomically
from ostiary.core.call import DialectName
from ostiary.core.error import OperatorError
from ostiary.core.http import Origin
from ostiary.core.principal import Deployment
from ostiary.core.usage import NANO_PER_UNIT
from ostiary.settings import (
    KeySettings,
    Loaded,
    ModelSettings,
    ProviderSettings,
    RateSettings,
    TeamSettings,
    check_supplied_key,
    reference,
    resolve,
)
from ostiary.snapshot import codec
from ostiary.snapshot.keys import KeyEntry
from ostiary.snapshot.tables import (
    AuthRow,
    JournalRow,
    ModelRow,
    PriceRow,
    PricingRow,
    ProviderRow,
    Rates,
    Residency,
    SecretRef,
    ServerRow,
    Snapshot,
    TargetRow,
    TeamRow,
    TimeoutsRow,
    TlsRow,
    UnknownPrice,
)

Path_ = tuple[str | int, ...]


class Declared(msgspec.Struct, frozen=True):
    """What the file declares: rows, the keys with their credentials, and what an operator should know."""

    providers: tuple[ProviderRow, ...]
    models: tuple[ModelRow, ...]
    teams: tuple[TeamRow, ...]
    pricing: PricingRow
    journal: JournalRow
    server: ServerRow
    keys: tuple[tuple[str, KeyEntry], ...]
    literals: tuple[tuple[SecretRef, str], ...]
    warnings: tuple[str, ...]


def compile_file(loaded: Loaded, secrets_dir: Path) -> Declared:
    """The rows of a file. Raises OperatorError config.invalid at the first mistake."""
    return _Compiler(loaded, secrets_dir).run()


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

    def run(self) -> Declared:
        settings = self.settings
        providers = tuple(self.provider(name, row) for name, row in settings.providers.items())
        known = {row.name: row for row in providers}
        models = tuple(self.model(name, row, known) for name, row in settings.models.items())
        teams, keys = self.tenants()
        if not settings.server.tls:
            self.listener(("server",), settings.server.host, insecure=settings.server.insecure)
        self.listener(("admin",), settings.admin.host, insecure=settings.admin.insecure)
        return Declared(
            providers=providers,
            models=models,
            teams=teams,
            pricing=self.pricing(providers),
            journal=JournalRow(durability=settings.journal.durability, on_failure=settings.journal.on_failure),
            server=ServerRow(show_target=settings.server.show_target),
            keys=keys,
            literals=tuple(self.literals),
            warnings=tuple(self.warnings),
        )

    def error(self, path: Path_, reason: str) -> OperatorError:
        return self.loaded.error(path, reason)

    def listener(self, path: Path_, host: str, *, insecure: bool) -> None:
        if host in ("127.0.0.1", "::1", "localhost"):
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
            raise self.error(path, "`dialect` is missing (openai or anthropic), and the catalogue has no such provider")
        if base_url is None:
            raise self.error(path, "`base_url` is missing, and the catalogue has no such provider")
        origin, prefix = self.url((*path, "base_url"), base_url)
        if dialect == "anthropic":
            prefix = prefix.removesuffix("/v1")  # its SDKs leave the version to the path of each endpoint
        tls = row.tls
        if origin.scheme == "https" and tls.minimum_version == "1.2":
            self.warnings.append(f"{'.'.join(map(str, path))}: TLS 1.2 is allowed towards this provider")
        if origin.scheme == "http" and not _is_local(origin.host):
            self.warnings.append(f"providers.{name}: prompts go to {origin.host} without TLS")
        return ProviderRow(
            name=name,
            dialect=DialectName(dialect),
            origin=origin,
            path=prefix,
            auth=self.auth(path, row, known),
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
            stream_usage=row.stream_usage and (known.stream_usage if known else True),
            max_tokens_field=row.max_tokens_field or (known.max_tokens_field if known else "max_tokens"),
            count_tokens=row.count_tokens if row.count_tokens is not None else dialect == "anthropic",
        )

    def catalogue_row(self, path: Path_, name: str, row: ProviderSettings) -> CatalogueRow | None:
        rows = catalogue()
        if row.catalogue:
            if row.catalogue not in rows:
                raise self.error((*path, "catalogue"), f"no such row{_near(row.catalogue, rows)}")
            return rows[row.catalogue]
        if row.base_url is not None:
            host = urlsplit(row.base_url).netloc
            return next(
                (one for one in rows.values() if urlsplit(one.base_url).netloc == host and not one.local_port), None
            )
        return rows.get(name) or (rows.get(row.dialect) if row.dialect else None)

    def price_list(self, path: Path_, row: ProviderSettings, known: CatalogueRow | None) -> str:
        if row.prices and row.prices not in price_lists():
            raise self.error(
                (*path, "prices"), f"no price list `{row.prices}` is shipped{_near(row.prices, price_lists())}"
            )
        return row.prices or (known.prices if known else "")

    def auth(self, path: Path_, row: ProviderSettings, known: CatalogueRow | None) -> AuthRow:
        if row.auth is None:
            if known is None or known.auth == "none":
                return AuthRow()
            return AuthRow(known.auth, SecretRef("env", known.env))
        scheme = row.auth.scheme
        # A provider of the catalogue has its own scheme; `bearer` is only the default where nothing is known.
        if known is not None and known.auth != "none" and "scheme" not in self.given((*path, "auth")):
            scheme = known.auth
        if scheme == "none":
            return AuthRow()
        if row.auth.secret is None:
            if known is None or not known.env:
                raise self.error((*path, "auth"), "`secret` is missing")
            return AuthRow(scheme, SecretRef("env", known.env))
        return AuthRow(scheme, self.secret((*path, "auth", "secret"), row.auth.secret))

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
        ref = SecretRef("file", str(self.secrets_dir / "-".join(map(str, path[:2]))))
        self.literals.append((ref, text))
        return ref

    def url(self, path: Path_, text: str) -> tuple[Origin, str]:
        try:
            text = resolve(text, self.loaded.base)
            parts = urlsplit(text)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise self.error(path, str(error)) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise self.error(path, "a URL has the form http(s)://host[:port][/path]")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise self.error(path, "a base URL has no user, query or fragment")
        if not parts.path.isascii() or any(char in parts.path for char in " %\\;") or ".." in parts.path.split("/"):
            raise self.error(path, "a base URL's path is plain ASCII without escapes")
        return Origin(parts.scheme, parts.hostname, port), parts.path.rstrip("/")

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
                    (*here, "provider"), f"no provider `{target.provider}`{_near(target.provider, providers)}"
                )
            if target.model == "*" and not wild:
                raise self.error((*here, "model"), "the target `*` needs a model named `prefix/*`")
        if not any(target.weight for target in row.targets):
            raise self.error((*path, "targets"), "every target has weight 0")
        for i, other in enumerate(row.fallbacks):
            if other not in self.settings.models:
                raise self.error((*path, "fallbacks", i), f"no model `{other}`{_near(other, self.settings.models)}")
            if other == name:
                raise self.error((*path, "fallbacks", i), "a model is not its own fallback")
        timeouts = row.timeouts
        return ModelRow(
            name=name,
            targets=tuple(TargetRow(target.provider, target.model, target.weight) for target in row.targets),
            timeouts=TimeoutsRow(
                connect_seconds=timeouts.connect_seconds,
                first_token_seconds=timeouts.first_token_seconds,
                idle_seconds=timeouts.idle_seconds,
                total_seconds=timeouts.total_seconds,
            ),
            strategy=row.strategy,
            fallbacks=tuple(row.fallbacks),
            default_max_tokens=row.default_max_tokens,
            max_tokens=row.max_tokens,
            drop_unsupported=row.drop_unsupported,
            environments=tuple(row.environments),
            created=self.created,
        )

    # --- tenants ------------------------------------------------------------------------------------------

    def tenants(self) -> tuple[tuple[TeamRow, ...], tuple[tuple[str, KeyEntry], ...]]:
        teams: list[TeamRow] = []
        keys: list[tuple[str, KeyEntry]] = []
        seen: set[tuple[str, str]] = set()
        names: set[str] = set()
        secrets: dict[str, Path_] = {}
        for i, tenant in enumerate(self.settings.tenants):
            if tenant.name in names:
                raise self.error(("tenants", i, "name"), f"the tenant `{tenant.name}` is there twice")
            names.add(tenant.name)
            for j, team in enumerate(tenant.teams):
                path: Path_ = ("tenants", i, "teams", j)
                if (tenant.name, team.name) in seen:
                    raise self.error((*path, "name"), f"the team `{team.name}` is there twice")
                seen.add((tenant.name, team.name))
                self.model_names((*path, "models"), team.models)
                teams.append(
                    TeamRow(
                        tenant=tenant.name,
                        name=team.name,
                        environment=team.environment,
                        models=tuple(team.models),
                        max_tokens=team.max_tokens,
                        tool_depth=team.tool_depth,
                    )
                )
                for k, key in enumerate(team.keys):
                    here = (*path, "keys", k)
                    text, entry = self.key(here, tenant.name, team, key)
                    if text in secrets:
                        raise self.error((*here, "secret"), "the same key is used twice")
                    secrets[text] = here
                    keys.append((text, entry))
        return tuple(teams), tuple(keys)

    def key(self, path: Path_, tenant: str, team: TeamSettings, key: KeySettings) -> tuple[str, KeyEntry]:
        try:
            text = resolve(key.secret, self.loaded.base)
        except ValueError as error:
            raise self.error((*path, "secret"), str(error)) from error
        problem = check_supplied_key(text)
        if problem is not None:
            raise self.error((*path, "secret"), problem)
        if key.models is not None:
            self.model_names((*path, "models"), key.models)
        deployment = key.deployment
        return text, KeyEntry(
            key_id=f"file.{tenant}.{team.name}.{key.name}",
            key_name=key.name,
            tenant=tenant,
            team=team.name,
            environment=team.environment,
            models=None if key.models is None else tuple(key.models),
            deployment=Deployment(deployment.service, deployment.version, deployment.commit),
        )

    def model_names(self, path: Path_, names: list[str]) -> None:
        known = self.settings.models
        for i, name in enumerate(names):
            wild = f"{name.partition('/')[0]}/*"
            if name != "*" and name not in known and wild not in known and not name.endswith("/*"):
                raise self.error((*path, i), f"no model `{name}`{_near(name, known)}")

    # --- prices -------------------------------------------------------------------------------------------

    def pricing(self, providers: tuple[ProviderRow, ...]) -> PricingRow:
        settings = self.settings.pricing
        rows: list[PriceRow] = []
        names = {row.name for row in providers}
        for i, price in enumerate(settings.prices):
            if price.provider not in names and price.provider not in price_lists():
                raise self.error(
                    ("pricing", "prices", i, "provider"),
                    f"no provider `{price.provider}`{_near(price.provider, names)}",
                )
            day = dt.date.fromisoformat(price.valid_from)
            start = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
            rows.append(
                PriceRow(
                    provider=price.provider,
                    model=price.model,
                    rates=_rates(price),
                    valid_from=int(start.timestamp()),
                    version=f"file/{price.valid_from}",
                )
            )
        for name in sorted({row.price_provider for row in providers if row.price_provider}):
            rows += price_rows(name)
        return PricingRow(
            rows=tuple(rows),
            unknown=UnknownPrice(settings.unknown),
            ceiling=_rates(settings.ceiling),
            version=price_version(),
        )


def _rates(row: RateSettings) -> Rates:
    return Rates(
        input=_nano(row.input),
        output=_nano(row.output),
        cached=_nano_or_none(row.cached),
        cache_write=_nano_or_none(row.cache_write),
        cache_write_1h=_nano_or_none(row.cache_write_1h),
        reasoning=_nano_or_none(row.reasoning),
        input_audio=_nano_or_none(row.input_audio),
        output_audio=_nano_or_none(row.output_audio),
    )


def _nano(text: str) -> int:
    return int(Decimal(text) * NANO_PER_UNIT)


def _nano_or_none(text: str | None) -> int | None:
    return None if text is None else _nano(text)


def _near(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; known: {', '.join(names[:12])}" if names else ""


def _is_local(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1") or host.startswith("127.")
