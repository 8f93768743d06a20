"""Each test that a promise names as its evidence exists, and is a test that runs by default."""

import ast

import pytest

from tests.requirements import REQUIREMENTS
from tests.tidy.tree import ROOT


def _tests(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {
        node.name: [ast.unparse(mark) for mark in node.decorator_list]
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_the_evidence_of_a_promise_is_there(name):
    one = REQUIREMENTS[name]
    assert one.proof
    assert one.limit.endswith(".")
    assert len(set(one.proof)) == len(one.proof)
    for test in one.proof:
        file, _, function = test.partition("::")
        found = _tests(file)
        assert function in found, test
        assert not any("drill" in mark or "live" in mark for mark in found[function]), test


def test_there_are_twelve():
    assert len(REQUIREMENTS) == 12
