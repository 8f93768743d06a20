"""Cohere's official Python SDK: rankings at the gateway's own path, conversations passed through to Cohere."""

import contextlib

import cohere
import httpx
import pytest
from cohere.core.api_error import ApiError
from cohere.errors import BadRequestError, NotFoundError, TooManyRequestsError, UnauthorizedError

from ostiary.simulator.content import OPENING
from tests.clients.house import KEY

USER = [{"role": "user", "content": "Say something."}]


@contextlib.contextmanager
def client(url, key=KEY):
    with httpx.Client() as http:
        yield cohere.ClientV2(
            key, base_url=url, httpx_client=http, max_retries=0, log_warning_experimental_features=False
        )


@pytest.mark.parametrize("model", ["openai", "cohere"])
def test_a_ranking_is_answered(url, model):
    with client(url) as ranker:
        answer = ranker.rerank(model=model, query="what", documents=["a", "b", "c"], top_n=2)
    assert len(answer.results) == 2
    assert {one.index for one in answer.results} < {0, 1, 2}


def test_a_conversation_passes_through_plain_and_streamed(url):
    with client(f"{url}/passthrough/cohere") as passed:
        answer = passed.chat(model="sim-command", messages=USER)
        events = list(passed.chat_stream(model="sim-command", messages=USER))
    assert answer.message.content[0].text.startswith(OPENING)
    assert answer.usage.tokens.output_tokens > 0
    told = "".join(event.delta.message.content.text for event in events if event.type == "content-delta")
    assert told.startswith(OPENING)
    assert events[-1].type == "message-end"


@pytest.mark.parametrize(
    ("key", "model", "kind", "code"),
    [
        ("sk-of-nobody", "cohere", UnauthorizedError, "auth.invalid"),
        (KEY, "no-such-model", NotFoundError, "model.not_found"),
        (KEY, "anthropic", BadRequestError, "model.unsuitable"),
        (KEY, "cohere/sim-rate-limited", TooManyRequestsError, "upstream.rate_limited"),
    ],
)
def test_failures_are_the_sdks_own_with_their_reason(url, key, model, kind, code):
    with client(url, key) as ranker, pytest.raises(ApiError) as caught:
        ranker.rerank(model=model, query="what", documents=["a"])
    assert type(caught.value) is kind
    assert caught.value.body["error"]["code"] == code
