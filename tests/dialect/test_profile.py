"""OpenAI's form as other servers want it: each flag of a profile, for a request that passes and for one translated."""

import json

import pytest

from ostiary.core.error import CallerError, Code
from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.dialect.openai.profile import Fit, fit_document, touched
from ostiary.gateway.wire.json import parse, raw_members
from ostiary.gateway.wire.leave import Leave
from ostiary.snapshot.tables import ProfileRow

MESSAGES = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hello."}]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def forwarded(profile, *, drop=False, max_tokens=None, **fields):
    document = parse(json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode())
    return OpenAI(profile).forward_chat(document, model="m", report_usage=True, max_tokens=max_tokens, drop=drop)


def encoded(profile, *, drop=False, max_tokens=None, **fields):
    document = parse(json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode())
    call = OpenAI().decode_chat(document)
    return OpenAI(profile).encode_chat(call, model="m", max_tokens=max_tokens, drop=drop)


BOTH = pytest.mark.parametrize("way", [forwarded, encoded])


def sent(request):
    return json.loads(request.body)


@BOTH
def test_a_bound_on_output_stands_under_one_name(way):
    profile = ProfileRow(max_tokens_field="max_tokens")
    body = sent(way(profile, max_completion_tokens=9))
    assert body["max_tokens"] == 9
    assert "max_completion_tokens" not in body
    assert sent(way(profile, max_tokens=7))["max_tokens"] == 7


@BOTH
def test_the_role_developer_is_told_as_system(way):
    body = sent(way(ProfileRow(developer_role=False)))
    assert [one["role"] for one in body["messages"]] == ["system", "user"]
    assert sent(way(ProfileRow()))["messages"][0]["role"] == "developer"


@BOTH
def test_a_seed_and_a_must_of_tools_have_their_own_words(way):
    body = sent(way(ProfileRow(seed_field="random_seed", tool_choice_required="any"), seed=5, tools=TOOLS, tool_choice="required"))  # fmt: skip
    assert body["random_seed"] == 5
    assert "seed" not in body
    assert body["tool_choice"] == "any"
    assert sent(way(ProfileRow(tool_choice_required="any"), tools=TOOLS, tool_choice="auto"))["tool_choice"] == "auto"


@BOTH
def test_a_server_that_refuses_the_option_is_not_asked_for_usage(way):
    body = sent(way(ProfileRow(stream_usage=False), stream=True, stream_options={"include_usage": True}))
    assert body["stream"] is True
    assert "stream_options" not in body


@BOTH
@pytest.mark.parametrize(
    ("field", "value", "nothing"),
    [
        ("n", 2, 1),
        ("user", "someone", None),
        ("logit_bias", {"1": -5}, {}),
        ("parallel_tool_calls", False, True),
        ("frequency_penalty", 0.5, 0),
    ],
)
def test_a_field_the_server_refuses_is_refused_by_name_or_left_out_where_allowed(way, field, value, nothing):
    profile = ProfileRow(omit=(field,))
    with pytest.raises(CallerError) as caught:
        way(profile, tools=TOOLS, **{field: value})
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, field)
    request = way(profile, drop=True, tools=TOOLS, **{field: value})
    assert field not in sent(request)
    assert request.dropped == (field,)
    quiet = way(profile, tools=TOOLS, **{field: nothing})
    assert field not in sent(quiet)
    assert quiet.dropped == ()


@BOTH
def test_structured_output_by_schema_is_refused_where_it_is_not_known(way):
    profile = ProfileRow(json_schema=False)
    with pytest.raises(CallerError) as caught:
        way(profile, response_format=SCHEMA)
    assert caught.value.param == "response_format"
    assert "response_format" not in sent(way(profile, drop=True, response_format=SCHEMA))
    plain = {"type": "json_object"}
    assert sent(way(profile, response_format=plain))["response_format"] == plain


def test_another_clients_own_word_is_named():
    document = parse(json.dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "metadata": {"user_id": "u"}}).encode())  # fmt: skip
    call = Anthropic().decode_chat(document)
    with pytest.raises(CallerError) as caught:
        OpenAI(ProfileRow(omit=("user",))).encode_chat(call, model="m", max_tokens=None, drop=False)
    assert caught.value.param == "metadata.user_id"


def test_thinking_goes_back_where_the_server_wants_it():
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "y", "reasoning_content": "because"},
        {"role": "user", "content": "z"},
    ]
    call = OpenAI().decode_chat(parse(json.dumps({"model": "m", "messages": turns}).encode()))
    for field in ("reasoning", "reasoning_content"):
        request = OpenAI(ProfileRow(reasoning_field=field)).encode_chat(call, model="m", max_tokens=None, drop=False)
        assert sent(request)["messages"][1][field] == "because"


def test_what_nobody_asked_to_change_passes_byte_for_byte():
    raw = (
        b'{"model":"m","messages":[{"role":"user","content":"caf\\u00e9"}],"temperature":0.50,"seed":7.0e0,"x":[1, 2]}'
    )
    profile = ProfileRow(max_tokens_field="max_tokens", developer_role=False, omit=("n",))
    request = OpenAI(profile).forward_chat(parse(raw), model="m", report_usage=True, max_tokens=None)
    assert raw_members(request.body) == raw_members(raw)


@pytest.mark.parametrize(
    "one",
    [
        ProfileRow(),
        ProfileRow(max_tokens_field="max_tokens"),
        ProfileRow(seed_field="random_seed", omit=("n",)),
        ProfileRow(tool_choice_required="any", stream_usage=False),
        ProfileRow(developer_role=False, json_schema=False),
    ],
)
def test_a_request_with_nothing_that_the_server_wants_otherwise_is_fit_as_it_is(one):
    """And of each member that is named as such there is a value that is not."""
    value = {"model": "m", "messages": [{"role": "developer", "content": "x"}], "seed": 1, "max_completion_tokens": 5}
    value |= {"stream_options": {}, "tool_choice": "required", "response_format": {"type": "json_schema"}, "n": 2}
    names = touched(one)
    rest = {name: member for name, member in value.items() if name not in names}
    assert fit_document(one, parse(json.dumps(rest).encode()), Leave({}, drop=True)) == Fit({}, frozenset())
    for name in names:
        fit = fit_document(one, parse(json.dumps(rest | {name: value[name]}).encode()), Leave({}, drop=True))
        assert fit != Fit({}, frozenset())
