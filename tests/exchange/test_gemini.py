"""Google's paths in both of its versions, one of which it shares with the other dialects."""

import json

import pytest

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
