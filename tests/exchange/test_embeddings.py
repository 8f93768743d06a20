"""Embeddings across dialects: vectors in the form that the client asked for, whichever the provider gives."""

import base64
import struct

import pytest

from ostiary.core.call import Operation
from ostiary.gateway.dialect import Addressed
from tests.exchange.harness import House


async def test_vectors_come_packed_where_they_are_asked_for_so():
    asked = {"model": "gem", "input": ["one", "two"], "dimensions": 5}
    listed = await House().post(b"/v1/embeddings", {**asked, "encoding_format": "float"})
    packed = await House().post(b"/v1/embeddings", {**asked, "encoding_format": "base64"})
    for one, other in zip(listed.json["data"], packed.json["data"], strict=True):
        numbers = struct.unpack("<5f", base64.b64decode(other["embedding"], validate=True))
        assert numbers == pytest.approx(one["embedding"], rel=1e-6)
        assert one["index"] == other["index"]


async def test_vectors_are_lists_where_nothing_is_said():
    sink = await House().post(b"/v1/embeddings", {"model": "gem", "input": "one"})
    assert all(type(number) is float for number in sink.json["data"][0]["embedding"])


async def test_a_client_of_another_form_gets_lists():
    house = House()
    asked = {"requests": [{"content": {"parts": [{"text": "x"}]}}]}
    sink = await house.call("gemini", asked, addressed=Addressed("gpt", batch=True), operation=Operation.EMBEDDINGS)
    assert all(type(number) is float for number in sink.json["embeddings"][0]["values"])
    house.check()
