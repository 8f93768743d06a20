"""The import contracts hold, and each is there for a reason: what it forbids, written into a copy, is refused by it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT

VIOLATIONS = {
    "a stage imports a stage": ("gateway/policy/access.py", "from ostiary.gateway.route import plan", "stages"),
    "a stage imports the exchange": ("gateway/meter/price.py", "from ostiary.gateway import exchange", "stages"),
    "a stage imports the edge": ("gateway/admit/bounds.py", "from ostiary.gateway.edge import route", "stages"),
    "wire imports a stage": ("gateway/wire/sse.py", "from ostiary.gateway.meter import price", "stages"),
    "the relay imports the exchange": ("gateway/relay.py", "from ostiary.gateway import exchange", "stages"),
    "a stray module in the gateway": ("gateway/helpers.py", "", "stages"),
    "a dialect imports a dialect": (
        "gateway/dialect/openai/reply.py",
        "from ostiary.gateway.dialect.anthropic import reply",
        "dialects",
    ),
    "a store imports a store": (
        "store/published/reader.py",
        "from ostiary.store.sqlite import database",
        "stores",
    ),
    "a database imports the other": (
        "store/postgresql/keys.py",
        "from ostiary.store.sqlite import keys",
        "stores",
    ),
    "asyncio in a dialect": ("gateway/dialect/openai/text.py", "import asyncio", "pure"),
    "a socket in the policy": ("gateway/policy/access.py", "import socket", "pure"),
    "chance in a routing strategy": ("gateway/route/strategies/weighted.py", "import random", "pure"),
    "a database in the snapshot": ("snapshot/codec.py", "import sqlite3", "pure"),
    "SQL in the gateway": ("gateway/identity/credential.py", "import sqlite3", "ports"),
    "a database server in a domain": ("govern/keys/service.py", "import psycopg", "ports"),
    "a logger in the gateway": ("gateway/exchange.py", "import logging", "ports"),
    "a process started by a domain": ("govern/keys/service.py", "import subprocess", "ports"),
    "core imports upward": ("core/usage.py", "from ostiary.snapshot import tables", "storeys"),
    "the gateway imports an adapter": ("gateway/world.py", "from ostiary.net import client", "storeys"),
    "the gateway imports the control plane": ("gateway/world.py", "from ostiary.control import catalogue", "storeys"),
    "a domain imports the gateway": ("govern/name.py", "from ostiary.gateway.wire import count", "storeys"),
    "an adapter imports an adapter": ("net/pool.py", "from ostiary.telemetry import log", "storeys"),
    "a stray package": ("utils/__init__.py", "", "storeys"),
    "settings read by the control plane": ("control/admin.py", "from ostiary import settings", "settings"),
    "settings read by an adapter": ("net/client.py", "from ostiary.settings import load", "settings"),
    "the product imports its fakes": ("store/journal/disk.py", "from ostiary.testing import clock", "testing"),
    "a data worker reaches the YAML parser": ("net/head.py", "import yaml", "lean"),
    "a data worker reaches the command line's library": ("serving/server.py", "import typer", "lean"),
    "a data worker reaches a simulated provider": ("bootstrap/ready.py", "from ostiary.simulator import fake", "lean"),
    "a data worker reaches a database": ("store/published/secrets.py", "import sqlite3", "lean"),
    "a data worker reaches a database server": ("store/published/secrets.py", "import psycopg", "lean"),
    "a cycle between siblings": ("core/secret.py", "from ostiary.core import credential, digest", "acyclic"),
}
"""What is done to which file, and the contract that must refuse it."""

NAMES = {
    "storeys": "Storeys of the house",
    "stages": "The stages of a request do not know one another",
    "dialects": "Dialects are independent",
    "stores": "Store adapters are independent",
    "pure": "Pure stages do no I/O",
    "ports": "Domains and stages reach the world only through ports",
    "lean": "A data worker stays lean",
    "settings": "Only the composition root and the CLI read settings",
    "testing": "Shipped fakes are never imported by the product",
    "acyclic": "No cycles between siblings",
}

BACK = {"a cycle between siblings": ("core/digest.py", "from ostiary.core import secret")}
"""The other half of a violation that takes two files."""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the product to break; import-linter keeps what it parsed of it beside it."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "src" / "ostiary", folder / "ostiary", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", folder)
    return folder


def lint(house: Path, contract: str = "") -> tuple[int, str]:
    """import-linter on the copy, in a process of its own: the copy must come before the checkout on the path."""
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from importlinter.application.use_cases import lint_imports\n"
        "from importlinter import configuration; configuration.configure()\n"
        "only = tuple(sys.argv[1:])\n"
        "sys.exit(not lint_imports(limit_to_contracts=only, cache_dir='cache', no_logo=True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *([contract] if contract else [])],
        cwd=house,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_every_contract_holds(house):
    status, said = lint(house)
    assert status == 0, said
    for name in NAMES.values():
        assert f"{name} KEPT" in said


def test_every_contract_is_tried():
    assert {contract for _, _, contract in VIOLATIONS.values()} == set(NAMES)
    text = (ROOT / ".importlinter").read_text(encoding="utf-8")
    assert {line.split(":")[2].rstrip("]") for line in text.splitlines() if line.startswith("[importlinter:")} == set(
        NAMES
    )


@pytest.mark.parametrize("what", VIOLATIONS)
def test_a_violation_is_refused_by_its_contract(house, what):
    file, line, contract = VIOLATIONS[what]
    changes = [(file, line), *([BACK[what]] if what in BACK else [])]
    before = {}
    made = []
    try:
        for name, text in changes:
            path = house / "ostiary" / name
            if not path.parent.is_dir():
                path.parent.mkdir()
                made.append(path.parent)
            before[path] = path.read_bytes() if path.exists() else None
            path.write_text((before[path] or b"").decode() + f"\n{text}\n", encoding="utf-8")
        status, said = lint(house, contract)
        assert status != 0, said
        assert f"{NAMES[contract]} BROKEN" in said
    finally:
        for path, content in before.items():
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
        for folder in made:
            shutil.rmtree(folder)
