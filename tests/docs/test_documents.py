"""That the documents are true: what they list is what there is, what they name exists, their examples are taken."""

import ast
import json
import re
import subprocess
import sys
import tomllib
import typing

import msgspec
import pytest
import typer.main
from prometheus_client import CollectorRegistry

from ostiary.bootstrap.compile import compile_file
from ostiary.bootstrap.data import strategies
from ostiary.cli.main import app
from ostiary.control.catalogue import catalogue
from ostiary.core.event import BUSY, Closed, Kind, Opened, Outcome
from ostiary.gateway.route.condition import FIELDS
from ostiary.gateway.route.explain import OPERATION
from ostiary.gateway.route.health import Standing
from ostiary.gateway.route.plan import DROPS
from ostiary.settings import ModelSettings, Settings, load
from ostiary.telemetry.metrics import Metrics, configuration, reviews_waiting, unshipped
from tests.tidy.tree import ROOT, SRC, modules, tracked

DOCUMENTS = [name for name in tracked() if name.endswith(".md") and not name.startswith(("changes.d/", "tests/"))]


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def between(name, mark):
    found = re.search(rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->", text_of(name), re.S)
    assert found, f"{name} has no part marked {mark}"
    return found[1]


def rows(text):
    """The cells of each row of the tables in a text, without heads."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [cells for i, cells in enumerate(found) if not is_rule(cells) and not is_rule(found[i + 1 : i + 2])]


def is_rule(cells):
    cells = cells[0] if cells and isinstance(cells[0], list) else cells
    return bool(cells) and all(re.fullmatch(r":?-+:?", cell) for cell in cells)


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


# --- links and names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text_of(name)):
        if "://" in target:
            continue
        path = ((ROOT / name).parent / target).resolve()
        assert path.exists(), f"{name} → {target}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_that_are_named_exist(name):
    for target in re.findall(r"`((?:src|tests|docs|dev|bench|requirements|changes\.d)/[\w./-]*)`", text_of(name)):
        if "NNNN" in target:
            continue
        assert (ROOT / target).exists(), f"{name}: {target}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_verbs_that_are_named_exist(name):
    verbs = set(re.findall(r"^([a-z-]+):.*##", text_of("Makefile"), re.M))
    assert set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", text_of(name), re.M)) <= verbs


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_that_are_named_exist(name):
    root = typer.main.get_command(app)
    for words in re.findall(r"(?:`|^ {4}|bin/)ostiary ((?:[a-z][a-z-]* ?)+)", text_of(name), re.M):
        command = root
        for word in words.split():
            children = getattr(command, "commands", {})
            if not children:
                break
            assert word in children, f"{name}: ostiary {words}"
            command = children[word]


def test_symbols_stand_where_the_request_page_says():
    listed = {names(symbol)[0]: names(file)[0] for symbol, file in rows(between("docs/request.md", "symbols"))}
    for symbol, file in listed.items():
        tree = ast.parse((SRC / file).read_text(encoding="utf-8"))
        defined = {
            getattr(node, "name", None) or getattr(getattr(node, "target", None), "id", None)
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.AnnAssign)
        }
        assert symbol in defined, f"{symbol} is not in {file}"


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "docs/request.md"])
def test_what_is_named_in_prose_is_in_the_product(name):
    source = "\n".join(one.text for one in modules(SRC))
    for word in names(text_of(name)):
        parts = re.findall(r"^(?:([A-Z]\w+|json)\.)?(_?[A-Za-z]+(?:_[A-Za-z]+)+|[A-Z][a-z]+[A-Z]\w+)$", word)
        for part in (part for pair in parts for part in pair if part):
            assert re.search(rf"\b{part}\b", source), f"{name}: {word}"


def test_the_architecture_page_shows_the_tree_as_it_is():
    listed = {names(cells[0])[0].rstrip("/") for cells in rows(between("ARCHITECTURE.md", "tree"))}
    there = {path.parent.relative_to(SRC).as_posix() for path in SRC.glob("*/__init__.py")}
    there |= {path.parent.relative_to(SRC).as_posix() for path in SRC.glob("gateway/*/__init__.py")}
    assert listed == there


def test_the_storeys_are_those_of_the_contract():
    contract = re.search(r"name = Storeys.*?layers =\n(.*?)\n\n", text_of(".importlinter"), re.S)[1]
    storeys = "\n".join(line.strip() for line in contract.splitlines())
    shown = "\n".join(line.strip() for line in text_of("ARCHITECTURE.md").splitlines())
    assert storeys in shown


def test_the_contributors_table_names_real_places():
    table = text_of("CONTRIBUTING.md").split("## House rules")[0]
    for cells in rows(table):
        for place in names(cells[1]):
            if "/" not in place or "<" in place or "NNNN" in place:
                continue
            assert (SRC / place).exists() or (ROOT / place).exists(), place
    folders = {names(cells[0])[0] for cells in rows(text_of("CONTRIBUTING.md").split("## Where tests go")[1])}
    assert folders >= {f"tests/{path.parent.name}/" for path in (ROOT / "tests").glob("*/__init__.py")}
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_the_decisions_are_indexed():
    index = text_of("docs/adr/README.md")
    for path in (ROOT / "docs" / "adr").glob("0*.md"):
        title = path.read_text(encoding="utf-8").splitlines()[0]
        number, _, words = title.removeprefix("# ").partition(". ")
        assert path.name.startswith(f"{number}-")
        assert f"[{number}]({path.name}) | {words.rstrip('.')} |" in index


# --- generated pages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["errors", "guarantees", "models", "providers"])
def test_a_generated_page_is_what_its_source_says(page):
    code = f"import runpy; print(runpy.run_path('dev/{page}.py')['page'](), end='')"
    written = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert written.stdout == text_of(f"docs/{page}.md"), f"run `make docs` and commit docs/{page}.md"


# --- the configuration --------------------------------------------------------------------------------------


def settings_keys(kind=Settings, prefix=""):
    """Every key of the file with its default: "-" for one that must be given, "*none*" for one that is unset."""
    for field in msgspec.structs.fields(kind):
        path = f"{prefix}{field.name}"
        inner = msgspec.inspect.type_info(field.type)
        if isinstance(inner, msgspec.inspect.UnionType):
            inner = next((one for one in inner.types if isinstance(one, msgspec.inspect.StructType)), inner)
        suffix = "."
        if isinstance(inner, msgspec.inspect.Metadata):
            inner = inner.type
        if isinstance(inner, msgspec.inspect.DictType):
            inner, suffix = inner.value_type, ".<name>."
        elif isinstance(inner, msgspec.inspect.ListType):
            inner, suffix = inner.item_type, "[]."
        if isinstance(inner, msgspec.inspect.StructType):
            yield from settings_keys(inner.cls, path + suffix)
            continue
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        yield path, default


def shown(default):
    if default is msgspec.NODEFAULT:
        return "-"
    if default is None or default == "":
        return "*none*"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{json.dumps(default)}`" if isinstance(default, dict | list) else f"`{default}`"


SCOPED = re.compile(
    r"^(?:models\.<name>|tenants\[\](?:\.teams\[\](?:\.each_user|\.projects\[\]|\.keys\[\])?)?|tiers\[\](?:\.each_team)?)\.((?:limits|budget)\.[\w.\[\]]+)$"
)


def test_every_key_of_the_file_is_documented_with_its_default():
    listed = {names(cells[0])[0]: cells[1] for cells in rows(between("docs/configuration.md", "keys"))}
    # Limits and budgets stand in five places and mean the same in each: they are documented once.
    expected = {SCOPED.sub(r"<scope>.\1", path): shown(default) for path, default in settings_keys()}
    ceiling = Settings().pricing.ceiling
    priced = {name: getattr(ceiling, name) for name in ceiling.__struct_fields__}
    expected |= {f"pricing.ceiling.{name}": f"`{price}`" for name, price in priced.items() if price is not None}
    assert listed == expected


EXAMPLES = {
    f"{name}-{i}": block
    for name in DOCUMENTS
    for i, block in enumerate(re.findall(r"```yaml\n(.*?)```", text_of(name), re.S))
}


@pytest.mark.parametrize("block", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_configuration_is_taken(block, tmp_path, monkeypatch):
    monkeypatch.setenv("SEARCH_KEY", "a-key-of-more-than-24-characters")
    monkeypatch.setenv("OSTIARY_DB_PASSWORD", "s/e:c@r%et")
    monkeypatch.setenv("CACHE_PASSWORD", "secret")
    file = tmp_path / "ostiary.yaml"
    file.write_text(block)
    declared = compile_file(load(file), tmp_path / "secrets")
    assert declared.models
    assert declared.warnings == ()


def test_beyond_loopback_a_listener_needs_tls_or_a_word(tmp_path):
    file = tmp_path / "ostiary.yaml"
    for section in ("server", "admin"):
        file.write_text(f"{section}: {{host: 0.0.0.0}}\n")
        with pytest.raises(Exception, match="without TLS"):
            compile_file(load(file), tmp_path)
        file.write_text(f"{section}: {{host: 0.0.0.0, insecure: true}}\n")
        assert len(compile_file(load(file), tmp_path).warnings) == 1


def test_the_catalogue_has_as_many_rows_as_the_readme_says():
    assert f"a catalogue of {len(catalogue())} hosted and local ones" in " ".join(text_of("README.md").split())


# --- metrics and the journal --------------------------------------------------------------------------------


def test_every_metric_is_documented():
    listed = {
        names(cells[0])[0]: (cells[1], tuple(names(cells[2]))) for cells in rows(between("docs/metrics.md", "metrics"))
    }
    there = {}
    metrics = Metrics(CollectorRegistry())
    for collector in (
        *vars(metrics).values(),
        *vars(metrics.cache).values(),
        unshipped(int),
        *reviews_waiting(int, int),
        *configuration(bool, int),
    ):
        if hasattr(collector, "describe"):
            (family,) = collector.describe()
            name = family.name + ("_total" if family.type == "counter" else "")
            there[name] = (family.type, tuple(getattr(collector, "_labelnames", ())))
    assert listed == there


def test_every_kind_of_record_is_documented():
    listed = {names(cells[0])[0]: int(cells[1]) for cells in rows(between("docs/journal.md", "records"))}
    assert listed == {kind.name.lower(): int(kind) for kind in Kind}


def test_every_field_of_a_call_is_documented():
    def listed(mark):
        return {name for cells in rows(between("docs/journal.md", mark)) for name in names(cells[0])}

    opened = set(Opened.__struct_fields__)
    assert listed("opened") == opened
    assert listed("closed") == set(Closed.__struct_fields__) - (opened - {"target"})
    for outcome in Outcome:
        assert f"`{outcome}`" in between("docs/journal.md", "closed")
        assert f"`{outcome}`" in text_of("docs/metrics.md")


def test_every_strategy_is_told_on_the_page_of_routing():
    listed = {names(cells[0])[0] for cells in rows(between("docs/routing.md", "strategies"))}
    assert listed == set(strategies())
    assert listed == set(typing.get_args(ModelSettings.__annotations__["strategy"]))


def test_every_name_of_a_condition_is_told():
    listed = {name for cells in rows(between("docs/routing.md", "facts")) for name in names(cells[0])}
    told = {f"{owner}.{field}" for owner, fields in FIELDS.items() for field in fields}
    assert listed == told - {"request.metadata"} | {"request.metadata.KEY"}


def test_every_reason_that_keeps_a_call_from_a_target_is_told():
    listed = {names(cells[0])[0] for cells in rows(between("docs/routing.md", "reasons"))}
    standings = {str(one) for one in Standing} - {Standing.WELL, Standing.PROBE}
    assert listed == {OPERATION, *DROPS, "capability.*", *standings, BUSY}


# --- dependencies -------------------------------------------------------------------------------------------


def test_every_dependency_has_its_reason():
    project = tomllib.loads(text_of("pyproject.toml"))
    page = text_of("docs/dependencies.md")
    run, develop = page.split("## To develop")
    for declared, where in (
        (project["project"]["dependencies"], run),
        (
            project["dependency-groups"]["dev"],
            develop.replace("pytest (with asyncio, xdist, cov)", "pytest-asyncio pytest-xdist pytest-cov pytest"),
        ),
    ):
        for line in declared:
            name = re.match(r"[A-Za-z0-9-]+", line)[0]
            assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", where), f"{name} has no reason"


def test_everything_that_is_installed_to_run_is_named():
    locked = set(re.findall(r"^([a-z0-9-]+)==", text_of("requirements/run.txt"), re.M))
    page = text_of("docs/dependencies.md").split("## To develop")[0]
    assert {name for name in locked if not re.search(rf"(?<![\w-]){name}(?![\w-])", page)} <= {"colorama"}
