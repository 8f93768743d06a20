"""LlamaIndex's chat models, plain, streamed and with tools, to providers of every dialect."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.house import KEY
from tests.clients.providers.installation import DIALECTS, KNOWN

pytestmark = pytest.mark.llamaindex
RUN_SECONDS = 300


@pytest.fixture(scope="session")
def results(url, tmp_path_factory):
    python = os.environ.get("OSTIARY_LLAMAINDEX_PYTHON")
    if python is None:
        pytest.skip("LlamaIndex is not installed: run `make test-llamaindex`")
    script = shutil.copy(Path(__file__).with_name("llamaindex.py"), tmp_path_factory.mktemp("llamaindex"))
    done = subprocess.run(
        [python, script, url, KEY, *(",".join((name, *KNOWN[name])) for name in DIALECTS)],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        env={"HOME": "/nonexistent"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=["openai", "openai-responses", "anthropic", "google"])
def told(request, results, model):
    def of(scenario):
        result = results[request.param][model][scenario]
        assert "thrown" not in result, result["thrown"]
        return result

    return of


def test_an_answer_arrives(told):
    assert told("plain")


def test_a_stream_arrives_in_pieces_that_make_the_answer(told):
    result = told("streamed")
    assert result["deltas"] == result["whole"] != ""


def test_a_tool_is_called_and_its_result_answered(told):
    result = told("tools")
    assert result["calls"][0][0] == "weather"
    assert set(result["calls"][0][1]) == {"city", "days"}
    assert result["last"]
