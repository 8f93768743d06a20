"""Providers that give their answers no id and do not name the model they used."""

import json

import pytest

from tests.exchange.harness import House, model, provider, replaced, snapshot

NAMELESS = ("bedrock", "cohere")
CLIENTS = {
    b"/v1/chat/completions": lambda body: (body["id"], body["model"]),
    b"/v1/messages": lambda body: (body["id"], body["model"]),
    b"/v1/responses": lambda body: (body["id"], body["model"]),
}


def house():
    base = snapshot()
    auth = base.providers[0].auth
    return House(
        providers=(*base.providers, *(replaced(provider(name, name), auth=auth) for name in NAMELESS)),
        models=tuple(model(name, (name, f"{name}-x")) for name in NAMELESS),
        teams=tuple(replaced(team, models=NAMELESS) for team in base.teams),
    )


def body_of(path, name, **fields):
    if path == b"/v1/responses":
        return {"model": name, "input": "Say something.", **fields}
    return {"model": name, "max_tokens": 9, "messages": [{"role": "user", "content": "Say something."}], **fields}


def begun(path, text):
    """What a stream's first event says of the answer."""
    first = json.loads(next(line for line in text.split("\n") if line.startswith("data: "))[6:])
    return first if path == b"/v1/chat/completions" else first.get("message") or first["response"]


@pytest.mark.parametrize("path", CLIENTS)
@pytest.mark.parametrize("name", NAMELESS)
async def test_an_answer_has_an_id_and_names_a_model_though_its_provider_does_not(path, name):
    one = house()
    sink = await one.post(path, body_of(path, name))
    assert sink.status == 200, sink.body
    ident, named = CLIENTS[path](sink.json)
    assert ident
    assert named == f"{name}-x"
    assert one.closed.response_model == "", "the record says what the provider said"


@pytest.mark.parametrize("path", CLIENTS)
@pytest.mark.parametrize("name", NAMELESS)
async def test_and_so_does_a_stream(path, name):
    one = house()
    sink = await one.post(path, body_of(path, name, stream=True))
    assert sink.status == 200, sink.body
    ident, named = CLIENTS[path](begun(path, sink.body.decode()))
    assert ident
    assert named == f"{name}-x"
