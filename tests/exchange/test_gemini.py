"""Google's paths in both of its versions, one of which it shares with the other dialects."""

import json

import pytest

from ostiary.gateway.edge.route import addressed, find
from tests.exchange.harness import KEY, House

VERSIONS = [b"/v1beta", b"/v1"]
HELLO = {"contents": [{"role": "user", "parts": [{"text": "Say something."}]}]}
GOOGLE = {b"x-goog-api-key": KEY}


@pytest.mark.parametrize("version", VERSIONS)
async def test_calls_are_answered_under_both_versions(version):
    """Google's SDKs of version 3 look under `/v1`, earlier ones under `/v1beta`."""
    house = House()
    plain = await house.post(version + b"/models/gem:generateContent", HELLO, key=None, headers=GOOGLE)
    assert plain.status == 200
    assert json.loads(plain.body)["candidates"][0]["finishReason"] == "STOP"
    counted = await house.post(version + b"/models/gem:countTokens", HELLO, key=None, headers=GOOGLE)
    assert json.loads(counted.body)["totalTokens"] > 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_failures_are_told_in_googles_form_under_both_versions(version):
    house = House()
    for path, status, reason in (
        (b"/models/nothing:generateContent", 404, "model.not_found"),
        (b"/models/gem:generateVideos", 405, "request.method_not_allowed"),
    ):
        answer = await house.post(version + path, HELLO, key=None, headers=GOOGLE)
        error = json.loads(answer.body)["error"]
        assert (answer.status, error["code"]) == (status, status)
        assert error["details"][0]["reason"] == reason
    # A fault that is found before the headers are read is known by the path alone.
    answer = await house.post(version + b"/models/gem:generateContent", HELLO, key=None)
    assert json.loads(answer.body)["error"]["details"][0]["reason"] == "auth.missing"


def test_models_are_listed_in_googles_form_where_its_key_is_sent():
    house = House()
    theirs, shared = (house.get(path, key=None, headers=GOOGLE) for path in (b"/v1beta/models", b"/v1/models"))
    assert json.loads(theirs.body) == json.loads(shared.body)
    assert json.loads(house.get(b"/v1/models/gem", key=None, headers=GOOGLE).body)["name"] == "models/gem"
    assert json.loads(house.get(b"/v1/models/gem").body)["id"] == "gem"


PROJECT = b"/projects/some-project/locations/europe-west1"


@pytest.mark.parametrize("version", [b"/v1beta1", b"/v1"])
@pytest.mark.parametrize("place", [PROJECT, b""], ids=["project", "key"])
async def test_calls_are_answered_where_vertex_ai_has_them(version, place):
    house = House()
    path = version + place + b"/publishers/google/models/gem"
    plain = await house.post(path + b":generateContent", HELLO)
    assert json.loads(plain.body)["candidates"][0]["finishReason"] == "STOP"
    counted = await house.post(path + b":countTokens", HELLO, key=None, headers=GOOGLE)
    assert json.loads(counted.body)["totalTokens"] > 0
    streamed = await house.post(path + b":streamGenerateContent", HELLO, query=b"alt=sse")
    assert streamed.headers[b"content-type"].startswith(b"text/event-stream")
    vector = await house.post(path + b":embedContent", {"content": {"parts": [{"text": "x"}]}})
    assert json.loads(vector.body)["embedding"]["values"]
    refused = await house.post(version + place + b"/publishers/google/models/nothing:generateContent", HELLO)
    assert json.loads(refused.body)["error"]["details"][0]["reason"] == "model.not_found"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/v1beta1/publishers/google/models/gem", "gem"),
        (b"/v1beta1/publishers/anthropic/models/claude-x", "anthropic/claude-x"),
        (b"/v1beta1/publishers/a/models/b/c", "a/b/c"),
        (b"/v1beta1/publishers/google/models/a%2Fb", "a/b"),
        (b"/v1" + PROJECT + b"/publishers/google/models/gem", "gem"),
        (b"/v1" + PROJECT + b"/publishers/sim/models/x/models/y", "sim/x/models/y"),
    ],
)
def test_a_models_name_is_what_the_sdk_was_given(path, name):
    """Google's SDK makes `publishers/a/models/b` of the name `a/b`."""
    path += b":generateContent"
    assert addressed(find("POST", path), path, b"").model == name


@pytest.mark.parametrize(
    "path",
    [
        b"/v1beta1/publishers/google/models/:generateContent",
        b"/v1beta1/publishers//models/gem:generateContent",
        b"/v1beta1/publishers/google/gem:generateContent",
        b"/v1beta1/publishers/google/models/gem",
        b"/v1beta1/publishers/google/models/gem:predict",
        b"/v1beta1/projects/p/publishers/google/models/gem:generateContent",
        b"/v1beta1/projects/p/locations//publishers/google/models/gem:generateContent",
        b"/v1beta1/projects//locations/l/publishers/google/models/gem:generateContent",
        b"/v1beta1/projects/p/locations/l/publishers/google/models/:generateContent",
        b"/v1beta1/projects/p/locations/l/models/gem:generateContent",
        b"/v1beta2/publishers/google/models/gem:generateContent",
        b"/v1/projects/p/locations/l/x/publishers/google/models/gem:generateContent",
    ],
)
async def test_other_paths_are_nothing_and_said_so_in_googles_form(path):
    assert find("POST", path) is None
    answer = await House().post(path, HELLO, key=None, headers=GOOGLE)
    assert answer.status in (404, 405)
    if not path.startswith(b"/v1beta2"):
        assert json.loads(answer.body)["error"]["details"][0]["@type"].startswith("type.googleapis.com")
