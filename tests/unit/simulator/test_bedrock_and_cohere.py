"""The simulated providers without a client dialect, read by the gateway's own: two readings of a vendor's format."""

import json

import pytest

from ostiary.core.error import Code, UpstreamError
from ostiary.core.fold import fold
from ostiary.core.message import ThinkingPart, ToolUsePart
from ostiary.core.reply import FinishReason
from ostiary.gateway.dialect.bedrock import Bedrock
from ostiary.gateway.dialect.cohere import Cohere
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.wire.json import parse
from ostiary.simulator.behaviour import Behaviour, Fault, Received
from ostiary.simulator.provider import Provider

KEYS = {"bedrock": "AWS4-HMAC-SHA256 Credential=x", "cohere": "Bearer k"}
DIALECTS = {"bedrock": Bedrock(), "cohere": Cohere()}
both = pytest.mark.parametrize("name", DIALECTS)
TOOLS = [
    {
        "type": "function",
        "function": {"name": f, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    for f in ("weather", "news")
]


def send(name, encoded, behaviour=None, key=None):
    headers = ((b"authorization", (KEYS[name] if key is None else key).encode()), *encoded.headers)
    return Provider(behaviour).plan(Received("POST", encoded.path.decode(), headers, encoded.body))


def ask(name, behaviour=None, text="hello", model="m", **more):
    tree = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    call = OpenAI().decode_chat(parse(json.dumps(tree).encode()))
    return send(name, DIALECTS[name].encode_chat(call, model=model, max_tokens=None, drop=True), behaviour)


def body(plan):
    return b"".join(piece.data for piece in plan.pieces)


def events(name, plan):
    decoder = DIALECTS[name].stream_decoder()
    return [event for frame in decoder.feed(body(plan)) + decoder.close() for event in frame.events]


@both
@pytest.mark.parametrize("more", [{}, {"tools": TOOLS}, {"max_tokens": 2}, {"stop": ["two"]}])
def test_a_stream_says_what_the_plain_answer_says(name, more):
    behaviour = Behaviour(text="one two three")
    plain = DIALECTS[name].decode_chat_reply(body(ask(name, behaviour, **more)))
    plan = ask(name, behaviour, stream=True, **more)
    streamed = fold(events(name, plan))
    (whole,), (pieces,) = plain.choices, streamed.choices
    assert whole.finish_reason == pieces.finish_reason
    assert [type(part) for part in whole.parts] == [type(part) for part in pieces.parts]
    assert plain.usage.total_tokens > 0
    assert streamed.usage is not None
    if "tools" in more:
        assert whole.finish_reason is FinishReason.TOOL_USE
        assert isinstance(whole.parts[-1], ToolUsePart)
    else:
        said = {"max_tokens": "one two", "stop": "one "}.get(next(iter(more), ""), "one two three")
        assert pieces.parts[0].text == whole.parts[0].text == said


@both
def test_tools_may_be_called_side_by_side(name):
    parts = DIALECTS[name].decode_chat_reply(body(ask(name, text="in parallel", tools=TOOLS))).choices[0].parts
    assert [part.name for part in parts if isinstance(part, ToolUsePart)] == ["weather", "news"]
    assert isinstance(parts[0], ThinkingPart) is (name == "cohere")


@both
def test_a_structured_answer_fits_its_schema(name):
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    text = DIALECTS[name].decode_chat_reply(body(ask(name, response_format=form))).choices[0].parts[0].text
    assert isinstance(json.loads(text)["age"], int)


@both
@pytest.mark.parametrize(
    ("status", "code"),
    [(400, Code.UPSTREAM_REFUSED), (429, Code.UPSTREAM_RATE_LIMITED), (503, Code.UPSTREAM_OVERLOADED)],
)
def test_errors_are_the_vendors_own(name, status, code):
    plan = ask(name, Behaviour(status=status))
    error = DIALECTS[name].decode_error(plan.status, plan.headers, body(plan))
    assert error.code is code
    assert "simulated" in error.message
    assert ask(name, model=f"sim-error-{status}").status == status


@both
def test_faults_in_a_stream(name):
    for fault, code in ((Fault.NO_END, Code.UPSTREAM_CUT), (Fault.CUT, Code.UPSTREAM_CUT)):
        decoder = DIALECTS[name].stream_decoder()
        with pytest.raises(UpstreamError) as caught:
            decoder.feed(body(ask(name, Behaviour(fault=fault), stream=True)))
            decoder.close()
        assert caught.value.code is code
    decoder = DIALECTS[name].stream_decoder()
    assert decoder.feed(body(ask(name, Behaviour(fault=Fault.ERROR_EVENT), stream=True)))
    with pytest.raises(UpstreamError):
        decoder.close()
    with pytest.raises(UpstreamError):
        decoder = DIALECTS[name].stream_decoder()
        decoder.feed(body(ask(name, Behaviour(fault=Fault.MALFORMED), stream=True)))
        decoder.close()


@both
def test_absurd_and_absent_counts(name):
    for stream in (False, True):
        for fault in (Fault.WRONG_USAGE, Fault.NO_USAGE):
            plan = ask(name, Behaviour(fault=fault), stream=stream)
            reply = fold(events(name, plan)) if stream else DIALECTS[name].decode_chat_reply(body(plan))
            assert reply.usage is None


@both
def test_embeddings(name):
    model = "amazon.titan-embed-text-v2:0" if name == "bedrock" else "embed-v4.0"
    call = OpenAI().decode_embeddings(parse(b'{"model":"m","input":"text","dimensions":4}'))
    plan = send(name, DIALECTS[name].encode_embeddings(call, model=model, drop=False))
    reply = DIALECTS[name].decode_embeddings_reply(body(plan))
    assert len(json.loads(reply.vectors[0])) == 4
    assert reply.usage.input_tokens > 0


def test_bedrock_counts_tokens():
    call = OpenAI().decode_chat(parse(b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'))
    plan = send("bedrock", Bedrock().encode_count_tokens(call, model="m", drop=False))
    assert Bedrock().decode_token_count(body(plan)) > 0


@both
def test_without_a_credential_nothing_is_answered(name):
    call = OpenAI().decode_chat(parse(b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'))
    encoded = DIALECTS[name].encode_chat(call, model="m", max_tokens=None, drop=False)
    assert send(name, encoded, key="").status in (401, 403)
    assert b"Bearer" not in body(send(name, encoded, key=""))
