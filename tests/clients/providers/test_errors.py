"""Failures as the SDKs' own exceptions, with the gateway's reason in them; targets that fail have names of their own."""

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import errors, types

from tests.clients.house import KEY, NARROW_KEY
from tests.clients.providers.installation import LIMITED_KEY, SPENT_KEY

USER = [{"role": "user", "content": "Say something."}]
FAILURES = [
    # key, model → status, reason, OpenAI's exception, Anthropic's, what Google calls it
    ("sk-of-nobody", "openai", 401, "auth.invalid", "AuthenticationError", "AuthenticationError", "UNAUTHENTICATED"),
    (KEY, "no-such-model", 404, "model.not_found", "NotFoundError", "NotFoundError", "NOT_FOUND"),
    (NARROW_KEY, "gemini", 403, "policy.model_not_allowed", "PermissionDeniedError", "PermissionDeniedError", "PERMISSION_DENIED"),
    (SPENT_KEY, "openai", 402, "budget.exhausted", "APIStatusError", "PaymentRequiredError", "RESOURCE_EXHAUSTED"),
    (LIMITED_KEY, "openai", 429, "limit.tokens", "RateLimitError", "RateLimitError", "RESOURCE_EXHAUSTED"),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _limited(url):
    """A call that takes all its key may ask for."""
    body = {"model": "openai", "messages": USER}
    httpx.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {LIMITED_KEY}"})


def chat(url, key, model, **more):
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        answer = client.chat.completions.create(model=model, messages=USER, max_tokens=9, **more)
        return list(answer) if more else answer


def response(url, key, model, **more):
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        answer = client.responses.create(model=model, input=USER, max_output_tokens=16, store=False, **more)
        return list(answer) if more else answer


def message(url, key, model, **more):
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) as client:
        answer = client.messages.create(model=model, messages=USER, max_tokens=9, **more)
        return list(answer) if more else answer


def content(url, key, model, **more):
    with genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url)) as client:
        if more:
            return list(client.models.generate_content_stream(model=model, contents="Say something."))
        config = types.GenerateContentConfig(max_output_tokens=9)
        return client.models.generate_content(model=model, contents="Say something.", config=config)


@pytest.mark.parametrize("ask", [chat, response])
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure[3])
def test_refusals_are_openais_exceptions(url, ask, failure):
    key, model, status, code, kind, _, _ = failure
    with pytest.raises(openai.APIStatusError) as caught:
        ask(url, key, model)
    error = caught.value
    assert (type(error).__name__, error.status_code, error.code) == (kind, status, code)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure[3])
def test_refusals_are_anthropics_exceptions(url, failure):
    key, model, status, code, _, kind, _ = failure
    with pytest.raises(anthropic.APIStatusError) as caught:
        message(url, key, model)
    error = caught.value
    assert (type(error).__name__, error.status_code, error.body["error"]["code"]) == (kind, status, code)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure[3])
def test_refusals_are_googles_exceptions(url, failure):
    key, model, status, code, _, _, word = failure
    with pytest.raises(errors.ClientError) as caught:
        content(url, key, model)
    error = caught.value
    assert (error.code, error.status) == (status, word)
    assert error.details["error"]["details"][0]["reason"] == code


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (chat, openai.APIError),
        (message, anthropic.APIStatusError),
        (content, errors.APIError),
    ],
)
@pytest.mark.parametrize("fault", ["cut", "error_event"])
def test_a_stream_that_ends_early_is_the_sdks_own_error(url, model, ask, kind, fault):
    own = (chat, message, content).index(ask)
    with pytest.raises(kind) as caught:
        ask(url, KEY, f"{model}/fault={fault}; after=7; tokens=12; seed={own}", stream=True)
    assert "upstream." in str(getattr(caught.value, "body", "")) + str(caught.value)


@pytest.mark.parametrize("fault", ["cut", "error_event"])
def test_a_stream_of_a_response_that_ends_early_ends_with_its_reason(url, model, fault):
    """The SDK gives the event that says so, and raises nothing."""
    *_, last = response(url, KEY, f"{model}/fault={fault}; after=7; tokens=12; seed=42", stream=True)
    assert last.type in ("error", "response.failed")
    assert "upstream." in (last.code if last.type == "error" else last.response.error.code)
