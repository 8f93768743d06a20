import msgspec
import pytest

from ostiary.simulator.behaviour import Behaviour, Received
from ostiary.simulator.provider import Provider

KEY = (b"authorization", b"Bearer k")


def ask(provider, *headers, model="sim-gpt", path="/v1/chat/completions"):
    body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 5})
    return provider.plan(Received("POST", path, (KEY, *headers), body)).status


def test_the_programme_goes_before_header_model_and_default():
    provider = Provider(Behaviour(status=501), [Behaviour(status=500)])
    header = (b"x-simulate", b"status=502")
    assert ask(provider, header, model="sim-error-503") == 500
    assert ask(provider, header, model="sim-error-503") == 502
    assert ask(provider, model="sim-error-503") == 503
    assert ask(provider) == 501
    provider.then(Behaviour(), Behaviour(status=504))
    assert [ask(provider) for _ in range(3)] == [200, 504, 501]


def test_a_programme_may_choose_by_request():
    provider = Provider(script=lambda request: Behaviour(status=500) if b'"bad"' in request.body else None)
    assert (ask(provider, model="bad"), ask(provider, model="good")) == (500, 200)


@pytest.mark.parametrize(
    ("path", "headers", "marker"),
    [
        ("/v1/messages", ((b"anthropic-version", b"x"),), b'"type":"message"'),
        ("/v1/messages", (), b"anthropic-version: header is required"),
        ("/anything/v1/chat/completions", (), b"chat.completion"),
    ],
)
def test_path_and_headers_tell_the_vendors_apart(path, headers, marker):
    body = b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"}]}'
    (piece,) = Provider().plan(Received("POST", path, (KEY, *headers), body)).pieces
    assert marker in piece.data


def test_a_body_that_is_no_json_is_answered_all_the_same():
    assert Provider().plan(Received("POST", "/v1/chat/completions", (KEY,), b"\xff")).status == 400


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("more", [b'"messages":[1]', b'"messages":{"a":1}', b'"messages":[{}],"tools":[3]'])
def test_json_of_another_shape_is_refused(path, more):
    headers = (KEY, (b"anthropic-version", b"x")) if path.endswith("messages") else (KEY,)
    body = b'{"model":"m","max_tokens":500,"tools":[{"type":"function","input_schema":{},"name":"f"}],' + more + b"}"
    assert Provider().plan(Received("POST", path, headers, body)).status == 400
