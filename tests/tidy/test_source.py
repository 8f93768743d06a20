"""House rules that no linter of ours knows, each a few lines (the others are ruff's, mypy's and the import contracts')."""

import ast
import re

import pytest

from tests.tidy.tree import ROOT, SRC, TESTS, modules, tracked

FUNCTION_LINES_MAX = 80
FILE_LINES_MAX = 600
LONG_FILES: dict[str, int] = {}
"""Files beyond the bound, with their size today. The number may only go down; a new entry needs a good reason."""

BANNED_FOLDERS = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "base", "lib"}
FORBIDDEN_WORDS = (
    r"\b(?:TODO|FIXME|XXX|HACK)\b",
    r"(?<![\w.])/(?:work|root|home|Users)/\w",
    r"\bpypi\.org\b|\bfiles\.pythonhosted\b|\bregistry\.npmjs\b|\bartifactory\b|\bindex-url\b",
)
SLEEPS = {
    "tests/attack/test_http_server.py": 1,
    "tests/attack/test_upstream_http.py": 1,
    "tests/unit/net/test_client.py": 2,
    "tests/unit/net/test_connection.py": 1,
    "tests/unit/net/test_pool.py": 1,
}
"""Tests that wait for real time because time is what they are about: how often. Everything else waits for an event."""


@pytest.mark.parametrize("module", modules(SRC), ids=lambda module: module.name)
def test_a_module_of_the_product(module):
    """Documented, in small functions, all imports at the top, nothing printed to nobody."""
    if module.lines:
        assert ast.get_docstring(module.tree), "a module says in its docstring what it is for"
    for node in module.tree.body:
        public = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if public and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"line {node.lineno}: {node.name} is public and says nothing of itself"
    for function in module.functions():
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        assert lines <= FUNCTION_LINES_MAX, f"line {function.lineno}: {function.name} has {lines} lines"
        for node in ast.walk(function):
            assert not isinstance(node, ast.Import | ast.ImportFrom), f"line {node.lineno}: import at the top"


def test_files_stay_small():
    long = {one.name: len(one.lines) for one in modules(SRC) if len(one.lines) > FILE_LINES_MAX}
    grown = {name: lines for name, lines in long.items() if lines > LONG_FILES.get(name, 0)}
    assert not grown, f"beyond {FILE_LINES_MAX} lines and longer than before: {grown}"


def test_whoever_catches_everything_raises_on_or_says_why_not():
    """`except BaseException` only cleans up; `except Exception` ends a fault only where its line gives the reason."""
    for one in modules(SRC):
        for node in ast.walk(one.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = "BaseException" if node.type is None else ast.unparse(node.type)
            if not re.search(r"\b(Base)?Exception\b", caught):
                continue
            last = node.body[-1]
            if isinstance(last, ast.Raise) and last.exc is None:
                continue
            where = f"{one.name}:{node.lineno}"
            assert "BaseException" not in caught, f"{where} does not raise on"
            assert re.search(r"# noqa: BLE001 - \S", one.lines[node.lineno - 1]), f"{where}: why is everything caught?"


@pytest.mark.parametrize("folder", [SRC, TESTS], ids=["src", "tests"])
def test_every_exception_to_a_rule_has_its_reason(folder):
    for one in modules(folder):
        for number, match in one.comments(r"#\s*(noqa|type:\s*ignore|pragma)\b(.*)"):
            above = one.lines[number - 2].strip()
            reason = re.search(r"\s[-#]\s+\S", match.group(2)) or above.startswith("#")
            assert reason, f"{one.name}:{number}: why? {match.group(0)}"
            assert "[" in match.group(2) or ":" in match.group(2), f"{one.name}:{number}: names no rule"


def test_tests_do_not_sleep():
    """A loop may let others run with sleep(0), and look again and again whether something is so; beyond that, real time
    is waited for only where it is what is tested."""
    found = {}
    for one in modules(TESTS):
        if not one.name.rsplit("/", 1)[-1].startswith("test_"):
            continue
        polled = {
            id(call)
            for loop in ast.walk(one.tree)
            if isinstance(loop, ast.While) and not isinstance(loop.test, ast.Constant) and len(loop.body) == 1
            for call in ast.walk(loop.body[0])
        }
        for node in ast.walk(one.tree):
            sleeps = isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep", "sleep")
            if sleeps and ast.unparse(node.args[0]) != "0" and id(node) not in polled:
                found[one.name] = found.get(one.name, 0) + 1
    assert {name: count for name, count in found.items() if count > SLEEPS.get(name, 0)} == {}


def test_no_folder_is_a_drawer():
    parts = {part for name in tracked() for part in name.split("/")[:-1]}
    files = {name.rsplit("/", 1)[-1].removesuffix(".py") for name in tracked() if name.startswith("src/")}
    assert not (parts | files) & BANNED_FOLDERS


@pytest.mark.parametrize("word", FORBIDDEN_WORDS)
def test_words_that_do_not_belong_here(word):
    own = "tests/tidy/test_source.py"
    found = []
    for name in tracked():
        if name == own or name.startswith("requirements/") or name.endswith((".frames", ".png")):
            continue
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        found += [f"{name}:{text.count(chr(10), 0, m.start()) + 1}: {m.group(0)}" for m in re.finditer(word, text)]
    assert found == []


def test_unit_tests_stand_where_their_subject_stands():
    """tests/unit/a/b/test_c.py tests src/ostiary/a/b/c.py, a package of that name, or the package a/b as a whole."""
    for one in modules(TESTS / "unit"):
        path = one.path.relative_to(TESTS / "unit")
        if not path.name.startswith("test_"):
            continue
        assert (SRC / path.parent).is_dir() or (SRC / path.parent).with_suffix(".py").is_file(), (
            f"{one.name}: no package"
        )


def test_the_version_stands_in_two_places_that_agree():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    init = (SRC / "__init__.py").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.+)"$', text, re.M)[1] == re.search(r'__version__: Final = "(.+)"', init)[1]
