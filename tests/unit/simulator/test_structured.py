"""Structured answers of simulated models: what SDKs make of classes refers to definitions, and must be followed."""

import msgspec
import pytest

from ostiary.simulator.behaviour import Behaviour, Received
from ostiary.simulator.content import Source, sample
from ostiary.simulator.provider import Provider

SCHEMA = {
    "type": "object",
    "properties": {"days": {"type": "array", "items": {"$ref": "#/$defs/day~1of/week"}}, "self": {"$ref": "#"}},
    "$defs": {"day/of": {"week": {"enum": ["monday"]}}},
}


def test_a_reference_within_a_schema_is_followed():
    value = sample(SCHEMA, Source(0))
    assert value["days"] == ["monday"]
    assert value["self"]["self"]["days"] == ["monday"], "a schema that contains itself ends somewhere"


@pytest.mark.parametrize("reference", ["#/$defs/none", "https://schemas.invalid/x", "#/type/deeper"])
def test_a_reference_to_nothing_is_any_text(reference):
    assert sample({"$ref": reference, "type": "object"}, Source(0)) == "simulated"


@pytest.mark.parametrize("place", [{"output_config": {"format": None}}, {"output_format": None}], ids=["new", "old"])
def test_anthropics_structured_answer_has_the_form_asked_for(place):
    form = {"type": "json_schema", "schema": {"type": "object", "properties": {"ok": {"const": True}}}}
    asked = msgspec.json.decode(msgspec.json.encode(place).replace(b"null", msgspec.json.encode(form)))
    body = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}], **asked}
    headers = ((b"x-api-key", b"k"), (b"anthropic-version", b"2023-06-01"))
    plan = Provider(Behaviour()).plan(Received("POST", "/v1/messages", headers, msgspec.json.encode(body)))
    answer = msgspec.json.decode(b"".join(piece.data for piece in plan.pieces))
    assert [block["text"] for block in answer["content"]] == ['{"ok":true}']
