"""The official OpenAI Node SDK through a running gateway to providers of both dialects.

The SDK is installed once, from the lock file beside its scenarios, into the project's environment. One process of
Node.js plays all scenarios; each test here judges one.
"""

import fcntl
import hashlib
import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ostiary.simulator.content import OPENING
from tests.clients.house import KEY, MODELS, NARROW_KEY

pytestmark = pytest.mark.parametrize("model", ["gpt", "claude"])
HERE = Path(__file__).parent / "node"
INSTALLED = Path(__file__).parents[2] / ".venv" / "node"
NO_REGISTRY = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "EAI_AGAIN", "ETIMEDOUT", "ENETUNREACH", "E404", "ENOTCACHED")
INSTALL_SECONDS, RUN_SECONDS = 120, 60
UPSTREAM = {"gpt": "sim-gpt", "claude": "sim-claude"}


@pytest.fixture(scope="session")
def modules():
    """The folder of installed modules, made once for each state of the lock file."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js with npm is not installed: the Node SDK was not tried")
    lock = HERE / "package-lock.json"
    folder = INSTALLED / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # two workers of one test run want the same folder
        if not folder.is_dir():
            install(lock, folder)
    return folder / "node_modules"


def install(lock, folder):
    making = folder.with_suffix(".new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    for file in (lock, lock.with_name("package.json")):
        shutil.copy(file, making)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=making, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip("npm reached no registry in time: the Node SDK was not tried")
    if done.returncode and any(word in done.stderr for word in NO_REGISTRY):
        pytest.skip("npm reached no registry with the Node SDK: it was not tried")
    assert done.returncode == 0, done.stderr
    making.rename(folder)


@pytest.fixture(scope="session")
def results(modules, url, tmp_path_factory):
    """What came out: scenario → model → result."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "node_modules").symlink_to(modules)  # modules are looked for beside the script
    script = shutil.copy(HERE / "scenarios.mjs", folder)
    done = subprocess.run(
        ["node", script, f"{url}/v1", KEY, NARROW_KEY],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def node(results, model):
    """What a scenario gave for this test's model."""

    def result(scenario):
        found = results[scenario][model]
        assert not (isinstance(found, dict) and "thrown" in found), found["thrown"]
        return found

    return result


def test_a_plain_answer_arrives_whole_with_its_request_id(node, model):
    result = node("plain")
    assert result["answer"]["choices"][0]["message"]["content"].startswith(OPENING)
    assert result["answer"]["usage"]["total_tokens"] > 0
    assert result["requestId"]
    assert result["same"] is True
    assert result["target"].endswith(f"/{UPSTREAM[model]}@{UPSTREAM[model]}")


def test_a_stream_arrives_in_pieces_and_ends_with_its_usage(node):
    *chunks, last = node("streamed")
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text.startswith(OPENING)
    assert len(chunks) > 5
    assert last["usage"]["completion_tokens"] > 0


def test_the_stream_helper_gathers_the_answer(node):
    result = node("streamHelper")
    assert result["final"] == result["told_after"]
    assert result["final"].startswith(OPENING)


def test_tools_called_in_parallel_take_their_results_back(node):
    result = node("tools")
    assert result["finish"] == "tool_calls"
    assert [call["function"]["name"] for call in result["calls"]] == ["weather", "time"]
    assert [json.loads(call["function"]["arguments"]).keys() for call in result["calls"]] == [
        {"city", "days"},
        {"zone"},
    ]
    assert not result["last"].get("tool_calls")
    assert result["last"]["content"].startswith(OPENING)


def test_tool_calls_stream_in_pieces_that_make_up_the_same_arguments(node):
    result = node("toolsStreamed")
    assert [call["function"]["name"] for call in result["calls"]] == ["weather", "time"]
    assert [(one["index"], one["name"], one["arguments"]) for one in result["done"]] == [
        (index, call["function"]["name"], call["function"]["arguments"]) for index, call in enumerate(result["calls"])
    ]


def test_the_tool_runner_runs_until_the_answer(node):
    result = node("runTools")
    assert result["seen"] == ["simulated"]
    assert result["final"].startswith(OPENING)


@pytest.mark.parametrize("scenario", ["parse", "parseStreamed"])
def test_a_structured_answer_is_parsed_by_its_schema(node, scenario):
    parsed = node(scenario)
    assert parsed.keys() == {"title", "weather"}
    assert parsed["weather"][0].keys() == {"city", "days"}


def test_images_are_taken(node):
    assert node("images").startswith(OPENING)


def test_log_probabilities_arrive_or_are_refused_by_name(node, model):
    result = node("logprobs")
    if model == "gpt":
        assert all(len(entry["top_logprobs"]) == 2 for entry in result["content"])
    else:
        assert (result["kind"], result["code"], result["param"]) == (
            "BadRequestError",
            "request.unsupported",
            "logprobs",
        )


def test_embeddings_arrive_as_numbers_however_they_travel(node, model):
    result = node("embeddings")
    if model == "gpt":
        assert [len(one["embedding"]) for one in result["standard"] + result["floats"]] == [5, 5, 5]
        assert all(math.isfinite(number) for one in result["standard"] for number in one["embedding"])
    else:
        assert (result["kind"], result["code"]) == ("BadRequestError", "model.unsuitable")


def test_responses_arrive_plain_and_streamed(node):
    plain, streamed = node("responses"), node("responsesStreamed")
    assert plain["status"] == "completed"
    assert plain["text"].startswith(OPENING)
    assert plain["usage"]["total_tokens"] > 0
    assert streamed["told"].startswith(OPENING)
    assert (streamed["kinds"][0], streamed["kinds"][-1]) == ("response.created", "response.completed")


def test_tools_are_called_and_answered_in_responses(node):
    result = node("responsesTools")
    assert {call["name"] for call in result["calls"]} == {"weather", "time"}
    assert result["last"]


def test_a_response_that_would_need_state_is_refused_by_its_name(node):
    result = node("responsesState")
    assert (result["kind"], result["code"], result["param"]) == (
        "BadRequestError",
        "request.unsupported",
        "previous_response_id",
    )


def test_models_are_listed_and_found_by_name(node, model):
    result = node("models")
    assert set(result["listed"]) == MODELS
    assert result["found"] == model


@pytest.mark.parametrize(
    ("scenario", "kind", "code"),
    [
        ("wrongKey", "AuthenticationError", "auth.invalid"),
        ("notFound", "NotFoundError", "model.not_found"),
        ("forbidden", "PermissionDeniedError", "policy.model_not_allowed"),
        ("badRequest", "BadRequestError", "request.invalid"),
        ("rateLimited", "RateLimitError", "upstream.rate_limited"),
        ("overloaded", "InternalServerError", "upstream.overloaded"),
    ],
)
def test_failures_are_the_exceptions_that_users_catch(node, scenario, kind, code):
    result = node(scenario)
    assert (result["kind"], result["code"]) == (kind, code)
    assert result["requestID"]
    assert result["message"]
    assert result["retryAfter"] == ("2" if scenario == "rateLimited" else None)


def test_a_stream_that_ends_early_is_an_error(node):
    result = node("cut")
    assert result["seen"] > 0
    assert (result["kind"], result["code"]) == ("APIError", "upstream.cut")


def test_a_client_that_leaves_a_stream_ends_the_providers_work(node, upstream):
    assert node("leaves")["id"]
    upstream.cancelled("fault=infinite; rate=200; seed=9")
