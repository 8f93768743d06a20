"""Every failure as the exception that users of the OpenAI Python SDK catch; streams that end early; clients that leave."""

import openai
import pytest

from tests.clients.house import NARROW_KEY

USER = [{"role": "user", "content": "Say something."}]


def ask(model, messages=USER, **more):
    return lambda client: client.chat.completions.create(model=model, messages=messages, **more)


async def refused(sdk, kind, doing):
    with pytest.raises(kind) as caught:
        await sdk.call(doing)
    assert caught.type is kind
    assert caught.value.request_id
    assert caught.value.message
    return caught.value


async def test_a_wrong_key(openai_sdk):
    error = await refused(
        openai_sdk,
        openai.AuthenticationError,
        lambda client: client.with_options(api_key="sk-of-nobody").models.retrieve("gpt"),
    )
    assert (error.code, error.type) == ("auth.invalid", "authentication_error")


async def test_a_model_that_is_not_there(openai_sdk):
    error = await refused(openai_sdk, openai.NotFoundError, ask("no-such-model"))
    assert (error.code, error.param) == ("model.not_found", "model")
    error = await refused(openai_sdk, openai.NotFoundError, lambda client: client.models.retrieve("no-such-model"))
    assert (error.code, error.param) == ("model.not_found", "model")


async def test_a_model_the_key_may_not_use(openai_sdk):
    def narrow(client):
        return ask("claude")(client.with_options(api_key=NARROW_KEY))

    error = await refused(openai_sdk, openai.PermissionDeniedError, narrow)
    assert (error.code, error.type, error.param) == ("policy.model_not_allowed", "permission_error", "model")


async def test_a_path_that_is_not_there(openai_sdk):
    for doing in (
        lambda client: client.files.retrieve("file"),
        lambda client: client.batches.list(),
    ):
        error = await refused(openai_sdk, openai.NotFoundError, doing)
        assert error.code == "route.not_found"


@pytest.mark.parametrize(
    ("model", "change", "code", "param"),
    [
        ("claude", {"messages": []}, "request.invalid", "messages"),
        ("claude", {"temperature": 3}, "request.invalid", "temperature"),
        ("claude", {"messages": [{"role": "king", "content": "x"}]}, "request.invalid", "messages[0].role"),
        ("claude", {"max_tokens": "many"}, "request.invalid", "max_tokens"),
        ("claude", {"seed": 7}, "request.unsupported", "seed"),
        ("gpt", {"extra_headers": {"x-ostiary-sensitivity": "secret"}}, "request.invalid", "x-ostiary-sensitivity"),
        ("gpt", {"extra_headers": {"x-ostiary-sensitivity": "regulated"}}, "policy.sensitivity", "model"),
        ("oai/sim-error-400", {}, "upstream.refused", None),
        ("ant/sim-error-400", {}, "upstream.refused", None),
    ],
)  # fmt: skip
async def test_a_request_that_cannot_be_served(openai_sdk, model, change, code, param):
    kind = openai.PermissionDeniedError if code.startswith("policy.") else openai.BadRequestError
    error = await refused(openai_sdk, kind, ask(model, **{"messages": USER, **change}))
    assert (error.code, error.param) == (code, param)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("provider", ["oai", "ant"])
async def test_a_rate_limit_of_the_provider(openai_sdk, alone, provider, stream):
    error = await refused(
        openai_sdk, openai.RateLimitError, ask(alone(provider, "status=429; retry_after=2"), stream=stream)
    )
    assert (error.code, error.type) == ("upstream.rate_limited", "rate_limit_error")
    assert error.response.headers["retry-after"] == "2"


@pytest.mark.parametrize(
    ("provider", "behaviour", "status", "code"),
    [
        ("oai", "status=500", 502, "upstream.error"),
        ("oai", "status=503", 503, "upstream.overloaded"),
        ("ant", "status=529", 503, "upstream.overloaded"),
        ("oai", "status=401", 502, "upstream.credential"),
        ("ant", "status=403", 502, "upstream.credential"),
        ("oai", "fault=drop", 502, "upstream.cut"),
        ("oai", "fault=cut", 502, "upstream.cut"),
        ("oai", "fault=malformed", 502, "upstream.protocol"),
        ("ant", "fault=content_type", 502, "upstream.protocol"),
        ("oai", "fault=error_event", 502, "upstream.error"),
        ("ant", "fault=error_event", 503, "upstream.overloaded"),
    ],
)  # fmt: skip
async def test_a_failure_of_the_provider(openai_sdk, alone, *, provider, behaviour, status, code):
    error = await refused(openai_sdk, openai.InternalServerError, ask(alone(provider, behaviour)))
    assert (error.status_code, error.code) == (status, code)


@pytest.mark.parametrize(("provider", "status", "requests"), [("oai", 400, 1), ("ant", 503, 2)])
async def test_the_sdk_tries_again_what_is_worth_it_and_nothing_else(
    openai_sdk, alone, upstream, *, provider, status, requests
):
    before = len(upstream.provider.requests)
    with pytest.raises(openai.APIStatusError):
        await openai_sdk.call(
            lambda client: ask(alone(provider, f"status={status}"))(client.with_options(max_retries=1))
        )
    assert len(upstream.provider.requests) - before == requests


@pytest.mark.parametrize("provider", ["oai", "ant"])
@pytest.mark.parametrize("fault", ["cut", "reset", "no_end", "error_event", "malformed"])
async def test_a_stream_that_ends_early_is_an_error(openai_sdk, alone, provider, fault):
    seen = []

    async def read():
        stream = await openai_sdk.call(ask(alone(provider, f"fault={fault}; after=6"), stream=True))
        if openai_sdk.blocking:
            seen.extend(stream)
        else:
            async for chunk in stream:
                seen.append(chunk)

    with pytest.raises(openai.APIError) as caught:
        await read()
    assert seen, "what had come before the fault was delivered"
    assert caught.value.code.startswith("upstream.")
    assert caught.value.message


@pytest.mark.parametrize("provider", ["oai", "ant"])
async def test_a_client_that_leaves_a_stream_ends_the_providers_work(openai_sdk, upstream, provider):
    name = f"fault=infinite; rate=200; seed={1 + openai_sdk.blocking}"
    event = await openai_sdk.first_event_and_close(ask(f"{provider}/{name}", stream=True))
    assert event.id
    upstream.cancelled(name)


@pytest.mark.parametrize("provider", ["oai", "ant"])
async def test_a_client_that_gives_up_waiting_ends_the_providers_work(openai_sdk, upstream, provider):
    name = f"fault=hang; seed={1 + openai_sdk.blocking}"
    with pytest.raises(openai.APITimeoutError):
        await openai_sdk.call(ask(f"{provider}/{name}", timeout=0.3))
    upstream.cancelled(name)
