"""docs/clients.md is true: its code runs against a gateway, and its tables name what is refused."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ostiary.simulator.content import OPENING
from tests.clients.house import KEY, MODELS
from tests.clients.test_openai_node import modules as modules  # installs what the guide's JavaScript needs
from tests.dialect.test_carried import TO_ANTHROPIC_REFUSED, TO_OPENAI_REFUSED

GUIDE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
SECONDS = 60


def run(url, *command, code, cwd=None, **variables):
    code = code.replace("http://127.0.0.1:8080", url).replace("YOUR_KEY", KEY)
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | variables
    done = subprocess.run(
        command, input=code, capture_output=True, text=True, timeout=SECONDS, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("code", [code for word, code in BLOCKS if word == "sh"])
def test_its_commands_run(url, code):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the guide's commands were not run")
    assert run(url, "bash", "-eu", "-s", code=code).count(OPENING) == 2


@pytest.mark.parametrize("code", [code for word, code in BLOCKS if word == "python"])
def test_its_python_runs(url, code):
    assert run(url, sys.executable, "-W", "error", "-", code=code).startswith(OPENING)


@pytest.mark.parametrize("code", [code for word, code in BLOCKS if word == "js"])
def test_its_javascript_runs(url, modules, code):
    assert run(url, "node", "--input-type=module", "-", code=code, cwd=modules.parent).startswith(OPENING)


@pytest.mark.parametrize(
    ("code", "variables"),
    [
        ("import openai; print(len(list(openai.OpenAI().models.list())))", {"OPENAI_BASE_URL": "/v1", "OPENAI_API_KEY": KEY}),
        ("import anthropic; print(len(list(anthropic.Anthropic().models.list())))", {"ANTHROPIC_BASE_URL": "", "ANTHROPIC_API_KEY": KEY}),
    ],
    ids=["OpenAI", "Anthropic"],
)  # fmt: skip
def test_the_environment_is_enough(url, code, variables):
    variables = {name: url + value if name.endswith("_URL") else value for name, value in variables.items()}
    assert run(url, sys.executable, "-", code=code, **variables).strip() == str(len(MODELS))


def test_all_its_code_is_run():
    assert sorted(word for word, _ in BLOCKS) == ["js", "python", "python", "python", "python", "sh"]


@pytest.mark.parametrize(
    ("table", "refused"),
    [("to anthropic", TO_ANTHROPIC_REFUSED), ("to openai", TO_OPENAI_REFUSED)],
    ids=["to Anthropic", "to OpenAI"],
)
def test_its_tables_name_what_is_refused(table, refused):
    found = re.search(rf"<!-- {table} -->\n(.*?)<!-- /{table} -->", GUIDE, re.DOTALL)
    named = set(re.findall(r"`([^`]+)`", found.group(1)))
    for _, param in refused:
        name = re.sub(r"\[\d+\]", "", re.sub(r"^messages\[\d+\]\.?(content\[\d+\]\.?)*", "", param))
        if name in ("", "never_heard_of"):
            continue  # a whole message or part has no name of its own, and what nobody knows has any
        assert {name, *name.split(".")} & named, param
