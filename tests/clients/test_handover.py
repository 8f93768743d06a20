"""What the SDKs make of a ticket (202), and how an application polls it with them."""

import time

import anthropic
import openai
import pytest

from tests.clients.house import KEY, gateway, ostiary

CONFIGURATION = """\
data_dir: ./data
server: {{port: 0, drain_seconds: 2}}
admin:  {{port: 0}}
log:    {{level: warning}}
providers:
  oai: {{dialect: openai, base_url: "{upstream}/v1", auth: {{secret: "${{file:provider.key}}"}}}}
models:
  asked:
    targets: [{{provider: oai, model: sim-error-500}}]
    retries: {{attempts: 1}}
    degraded: {{on: [error], answers: [{{handover: {{ttl_seconds: 600}}}}]}}
tenants:
  - {{name: acme, teams: [{{name: search, models: ["*"], keys: [{{name: clients, secret: {key}}}]}}]}}
"""
USER = [{"role": "user", "content": "Say something."}]
SAID = "A person says so."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("handover")


@pytest.fixture(scope="module")
def place(upstream, folder):
    with gateway(folder, CONFIGURATION.format(upstream=upstream.url, key=KEY)) as url:
        yield url


@pytest.fixture(scope="module")
def oai(place):
    with openai.OpenAI(base_url=f"{place}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def ant(place):
    with anthropic.Anthropic(base_url=place, api_key=KEY, max_retries=0) as client:
        yield client


def decided(poll):
    """What a poll gives once it no longer gives a ticket."""
    end = time.monotonic() + 20
    while getattr(found := poll(), "object", "") == "review.ticket":
        assert time.monotonic() < end
    return found


def test_openai_takes_a_ticket_for_an_answer_without_choices(oai):
    found = oai.chat.completions.create(model="asked", messages=USER)
    assert (found.object, found.choices, found.usage) == ("review.ticket", None, None)
    assert found.id.startswith("ticket-")
    assert found.poll == f"/v1/reviews/{found.id}"
    assert list(oai.chat.completions.create(model="asked", messages=USER, stream=True)) == []
    with pytest.raises(TypeError):
        oai.chat.completions.parse(model="asked", messages=USER)


def test_openai_tells_a_ticket_by_its_status(oai):
    for stream in (False, True):
        raw = oai.chat.completions.with_raw_response.create(model="asked", messages=USER, stream=stream)
        assert raw.status_code == 202
        assert raw.headers["location"].startswith("/v1/reviews/ticket-")


def test_openai_polls_a_ticket_until_the_answer_is_there(oai, folder):
    ticket = oai.chat.completions.create(model="asked", messages=USER).id

    def poll():
        return oai.get(f"/reviews/{ticket}", cast_to=openai.types.chat.ChatCompletion)

    assert poll().object == "review.ticket"
    ostiary(folder, "review", "answer", ticket, "--text", SAID)
    assert decided(poll).choices[0].message.content == SAID


def test_openai_raises_for_a_ticket_that_was_declined(oai, folder):
    ticket = oai.chat.completions.create(model="asked", messages=USER).id
    ostiary(folder, "review", "decline", ticket, "--reason", "not ours")
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        decided(lambda: oai.get(f"/reviews/{ticket}", cast_to=openai.types.chat.ChatCompletion))
    assert caught.value.code == "review.declined"
    assert "not ours" in caught.value.message


def test_responses_of_openai_has_no_output(oai):
    found = oai.responses.create(model="asked", input="hi")
    assert (found.object, found.output) == ("review.ticket", None)
    with pytest.raises(TypeError):
        _ = found.output_text
    assert list(oai.responses.create(model="asked", input="hi", stream=True)) == []


def test_anthropic_takes_a_ticket_for_a_message_without_content(ant):
    found = ant.messages.create(model="asked", max_tokens=9, messages=USER)
    assert (found.content, found.type) == (None, None)
    assert found.object == "review.ticket"
    assert list(ant.messages.create(model="asked", max_tokens=9, messages=USER, stream=True)) == []
    with (
        ant.messages.stream(model="asked", max_tokens=9, messages=USER) as stream,
        pytest.raises(AssertionError),
    ):
        stream.get_final_message()
    assert ant.messages.with_raw_response.create(model="asked", max_tokens=9, messages=USER).status_code == 202


def test_anthropic_polls_a_ticket_until_the_answer_is_there(ant, folder):
    ticket = ant.messages.create(model="asked", max_tokens=9, messages=USER).id
    ostiary(folder, "review", "answer", ticket, "--text", SAID)
    found = decided(lambda: ant.get(f"/v1/reviews/{ticket}", cast_to=anthropic.types.Message))
    assert (found.type, found.content[0].text) == ("message", SAID)
