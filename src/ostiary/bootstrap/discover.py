"""What there is without a configuration file: providers whose usual key stands in the environment, and servers that
answer on this machine. Each becomes an ordinary entry of the settings, so that nothing later knows a difference.
"""

import http.client
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ostiary.control.catalogue import SELF_HOSTED, CatalogueRow, catalogue, listed_models
from ostiary.settings import (
    Loaded,
    ModelSettings,
    ProviderSettings,
    Settings,
    TargetSettings,
)

_PROBE_SECONDS: Final = 0.5
_ANSWER_BYTES_MAX: Final = 1024 * 1024


class Found(msgspec.Struct, frozen=True):
    """One provider that was found, and a sentence on how."""

    name: str
    how: str
    models: tuple[str, ...]


class _Listed(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Listed]


def discover(loaded: Loaded, own_ports: frozenset[int]) -> tuple[Loaded, tuple[Found, ...]]:
    """`loaded` with what was found as its providers and models.

    `own_ports` are left alone: a gateway does not offer itself.
    """
    rows = catalogue()
    found = [
        _hosted(name, row)
        for name, row in rows.items()
        if row.env and row.discover and not row.wanted() and os.environ.get(row.env)
    ]
    local = [(name, row) for name, row in rows.items() if row.local_port and row.local_port not in own_ports]
    with ThreadPoolExecutor(max_workers=max(len(local), 1)) as pool:
        found += [one for one in pool.map(lambda pair: _local(*pair), local) if one is not None]
    return msgspec.structs.replace(loaded, settings=_settings(loaded.settings, rows, found)), tuple(found)


def _settings(base: Settings, rows: dict[str, CatalogueRow], found: list[Found]) -> Settings:
    providers: dict[str, ProviderSettings] = {}
    models: dict[str, ModelSettings] = {}
    for one in found:
        row = rows[one.name]
        providers[one.name] = ProviderSettings(
            catalogue=one.name, prices=row.prices or (SELF_HOSTED if row.local_port else "")
        )
        models[f"{one.name}/*"] = ModelSettings(targets=[TargetSettings(provider=one.name, model="*")])
        for model in one.models:
            if model not in models and "*" not in model:
                models[model] = ModelSettings(targets=[TargetSettings(provider=one.name, model=model)])
    return msgspec.structs.replace(base, providers=providers, models=models)


def _hosted(name: str, row: CatalogueRow) -> Found:
    return Found(name, f"{row.env} is set", listed_models(row.prices))


def _local(name: str, row: CatalogueRow) -> Found | None:
    """A server that lists its models in OpenAI's form, within half a second; anything else is not offered."""
    port = row.local_port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", urlsplit(row.base_url).path + "/models", headers={"accept": "application/json"})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            return None
        listed = msgspec.json.decode(answer.read(_ANSWER_BYTES_MAX), type=_Models)
    except (OSError, http.client.HTTPException, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    finally:
        connection.close()
    return Found(name, f"answers on 127.0.0.1:{port}", tuple(one.id for one in listed.data))
