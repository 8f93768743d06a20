"""The official SDK is the judge of form elsewhere; here, that every shape is there and always the same."""

import msgspec
import pytest

from ostiary.simulator.behaviour import Behaviour, Fault, Received
from ostiary.simulator.provider import Provider

KEY = ((b"x-goog-api-key", b"k"),)
HELLO = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
TOOLS = [
    {
        "functionDeclarations": [
            {"name": "weather", "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}},
            {"name": "news", "parametersJsonSchema": {"type": "object", "properties": {"days": {"type": "integer"}}}},
        ]
    }
]


def ask(body, verb="generateContent", *, model="sim-gemini", headers=KEY, behaviour=None, query=""):
    path = f"/v1beta/models/{model}:{verb}{query}"
    return Provider(behaviour).plan(Received("POST", path, headers, msgspec.json.encode(body)))


def document(plan):
    (piece,) = plan.pieces
    return msgspec.json.decode(piece.data)


def chunks(body, **more):
    plan = ask(body, "streamGenerateContent", query="?alt=sse", **more)
    texts = b"".join(piece.data for piece in plan.pieces).split(b"\r\n\r\n")[:-1]
    return [msgspec.json.decode(text.removeprefix(b"data: ")) for text in texts]


def text_of(chunks):
    return "".join(part.get("text", "") for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"])


def test_plain_streamed_and_as_an_array_say_the_same():
    spoken = Behaviour(text="one two three")
    plan = ask(HELLO, "streamGenerateContent", behaviour=spoken)
    array = msgspec.json.decode(b"".join(piece.data for piece in plan.pieces))
    streamed = chunks(HELLO, behaviour=spoken)
    assert text_of([document(ask(HELLO, behaviour=spoken))]) == text_of(streamed) == text_of(array) == "one two three"
    assert streamed[-1]["candidates"][0]["finishReason"] == "STOP"
    assert dict(plan.headers)[b"content-type"] == b"application/json"


def test_functions_are_called_in_either_form_of_schema():
    body = {"contents": [{"parts": [{"text": "in parallel"}]}], "tools": TOOLS}
    parts = document(ask(body))["candidates"][0]["content"]["parts"]
    assert [part["functionCall"]["name"] for part in parts] == ["weather", "news"]
    assert parts[0]["functionCall"]["args"] == {"city": "simulated"}
    assert parts[0]["thoughtSignature"]
    named = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["news"]}}
    (part,) = document(ask({**body, "toolConfig": named}))["candidates"][0]["content"]["parts"]
    assert part["functionCall"]["name"] == "news"


def test_the_config_is_followed():
    config = {"maxOutputTokens": 2, "candidateCount": 2, "thinkingConfig": {"includeThoughts": True}}
    answer = document(ask({**HELLO, "generationConfig": config}))
    assert [candidate["finishReason"] for candidate in answer["candidates"]] == ["MAX_TOKENS"] * 2
    assert answer["candidates"][0]["content"]["parts"][0]["thought"] is True
    assert answer["usageMetadata"]["thoughtsTokenCount"] == 6
    schema = {"type": "OBJECT", "properties": {"a": {"type": "INTEGER", "maximum": 3}}}
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    assert text_of([document(ask({**HELLO, "generationConfig": config}))]) == '{"a":3}'


def test_members_may_be_spelled_in_snake_case():
    schema = {"type": "object", "properties": {"a_b": {"type": "integer", "maximum": 3}}}
    tools = [{"function_declarations": [{"name": "f", "parameters_json_schema": schema}]}]
    (part,) = document(ask({**HELLO, "tools": tools}))["candidates"][0]["content"]["parts"]
    assert part["functionCall"]["args"] == {"a_b": 3}


def test_counts_vectors_and_models():
    assert document(ask(HELLO, "countTokens"))["totalTokens"] > 0
    one = {"content": {"parts": [{"text": "x"}]}, "outputDimensionality": 3}
    assert len(document(ask(one, "embedContent"))["embedding"]["values"]) == 3
    assert len(document(ask({"requests": [one, one]}, "batchEmbedContents"))["embeddings"]) == 2
    asked = {"instances": [{"content": "x", "task_type": "CLUSTERING"}] * 2, "parameters": {"outputDimensionality": 3}}
    predicted = document(ask(asked, "predict"))["predictions"]
    assert [len(one["embeddings"]["values"]) for one in predicted] == [3, 3]
    assert predicted[0]["embeddings"]["statistics"]["token_count"] > 0
    listed = document(Provider().plan(Received("GET", "/v1beta/models", KEY, b"")))
    assert listed["models"][0]["name"] == "models/sim-gemini"
    assert document(Provider().plan(Received("GET", "/v1beta/models/m", KEY, b"")))["name"] == "models/m"


def test_the_model_in_the_path_chooses_the_behaviour():
    assert ask(HELLO, model="sim-error-503").status == 503
    plan = ask(HELLO, model="sim-rate-limited")
    assert (plan.status, document(plan)["error"]["details"][0]["retryDelay"]) == (429, "2s")


@pytest.mark.parametrize(
    ("fault", "last"),
    [(Fault.ERROR_EVENT, "error"), (Fault.REFUSAL, "promptFeedback"), (Fault.NO_END, "candidates")],
)
def test_a_stream_goes_wrong_as_asked(fault, last):
    told = chunks(HELLO, behaviour=Behaviour(fault=fault))
    assert last in told[-1]
    assert "finishReason" not in told[-1].get("candidates", [{}])[0]


def test_a_prompt_may_be_blocked_and_an_answer_filtered():
    assert "candidates" not in document(ask(HELLO, behaviour=Behaviour(fault=Fault.REFUSAL)))
    answer = document(ask(HELLO, behaviour=Behaviour(fault=Fault.FILTER)))
    assert answer["candidates"][0]["finishReason"] == "SAFETY"


@pytest.mark.parametrize(
    ("body", "verb", "headers", "status"),
    [
        (HELLO, "generateContent", (), 403),
        ([], "generateContent", KEY, 400),
        ({}, "generateContent", KEY, 400),
        ({"contents": [1]}, "generateContent", KEY, 400),
        ({"requests": [{}]}, "batchEmbedContents", KEY, 400),
        (HELLO, "tuneModel", KEY, 404),
    ],
)
def test_a_wrong_request_is_refused_in_the_vendors_form(body, verb, headers, status):
    plan = ask(body, verb, headers=headers)
    assert (plan.status, document(plan)["error"]["code"]) == (status, status)
