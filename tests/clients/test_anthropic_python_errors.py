"""Every failure as the exception that users of the Anthropic Python SDK catch; streams that end early; clients that
leave."""

import anthropic
import pytest

from tests.clients.house import NARROW_KEY

USER = [{"role": "user", "content": "Say something."}]


def ask(model, messages=USER, **more):
    return lambda client: client.messages.create(model=model, messages=messages, **{"max_tokens": 99, **more})


async def refused(sdk, kind, doing):
    with pytest.raises(kind) as caught:
        await sdk.call(doing)
    error = caught.value
    assert caught.type is kind
    assert error.request_id == error.body["request_id"]
    assert error.api_message
    assert error.error_code == error.body["error"]["code"]
    return error


async def test_a_wrong_key(anthropic_sdk):
    error = await refused(
        anthropic_sdk,
        anthropic.AuthenticationError,
        lambda client: ask("claude")(client.with_options(api_key="sk-of-nobody")),
    )
    assert (error.type, error.error_code) == ("authentication_error", "auth.invalid")


async def test_two_keys_that_differ(anthropic_sdk):
    error = await refused(
        anthropic_sdk,
        anthropic.BadRequestError,
        ask("claude", extra_headers={"authorization": "Bearer another-one", "x-api-key": NARROW_KEY}),
    )
    assert error.error_code == "auth.ambiguous"


async def test_a_model_that_is_not_there(anthropic_sdk):
    for doing in (ask("no-such-model"), lambda client: client.models.retrieve("no-such-model")):
        error = await refused(anthropic_sdk, anthropic.NotFoundError, doing)
        assert (error.type, error.error_code) == ("not_found_error", "model.not_found")


async def test_a_model_the_key_may_not_use(anthropic_sdk):
    error = await refused(
        anthropic_sdk,
        anthropic.PermissionDeniedError,
        lambda client: ask("claude")(client.with_options(api_key=NARROW_KEY)),
    )
    assert (error.type, error.error_code) == ("permission_error", "policy.model_not_allowed")


@pytest.mark.parametrize(
    ("model", "change", "code", "param"),
    [
        ("gpt", {"messages": []}, "request.invalid", "messages"),
        ("gpt", {"extra_body": {"temperature": 3}}, "request.invalid", "temperature"),
        ("gpt", {"max_tokens": "many"}, "request.invalid", "max_tokens"),
        ("gpt", {"extra_body": {"top_k": 3}}, "request.unsupported", "top_k"),
        ("claude", {"max_tokens": 10**9}, "request.limit", "max_tokens"),
        ("oai/sim-error-400", {}, "upstream.refused", None),
        ("ant/sim-error-400", {}, "upstream.refused", None),
    ],
)  # fmt: skip
async def test_a_request_that_cannot_be_served(anthropic_sdk, model, change, code, param):
    error = await refused(anthropic_sdk, anthropic.BadRequestError, ask(model, **{"messages": USER, **change}))
    assert (error.type, error.error_code) == ("invalid_request_error", code)
    assert error.body["error"].get("param") == param


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("provider", ["oai", "ant"])
async def test_a_rate_limit_of_the_provider(anthropic_sdk, alone, provider, stream):
    doing = ask(alone(provider, "status=429; retry_after=2"), stream=stream)
    error = await refused(anthropic_sdk, anthropic.RateLimitError, doing)
    assert (error.type, error.error_code) == ("rate_limit_error", "upstream.rate_limited")
    assert error.response.headers["retry-after"] == "2"


@pytest.mark.parametrize(
    ("provider", "behaviour", "kind", "code"),
    [
        ("ant", "status=529", anthropic.OverloadedError, "upstream.overloaded"),
        ("oai", "status=503", anthropic.OverloadedError, "upstream.overloaded"),
        ("oai", "status=500", anthropic.InternalServerError, "upstream.error"),
        ("oai", "status=504", anthropic.GatewayTimeoutError, "upstream.timeout"),
        ("ant", "status=401", anthropic.InternalServerError, "upstream.credential"),
        ("ant", "fault=drop", anthropic.InternalServerError, "upstream.cut"),
        ("ant", "fault=malformed", anthropic.InternalServerError, "upstream.protocol"),
        ("ant", "fault=error_event", anthropic.OverloadedError, "upstream.overloaded"),
    ],
)  # fmt: skip
async def test_a_failure_of_the_provider(anthropic_sdk, alone, *, provider, behaviour, kind, code):
    assert (await refused(anthropic_sdk, kind, ask(alone(provider, behaviour)))).error_code == code


@pytest.mark.parametrize("provider", ["oai", "ant"])
@pytest.mark.parametrize("fault", ["cut", "reset", "no_end", "error_event", "malformed"])
async def test_a_stream_that_ends_early_is_an_error(anthropic_sdk, alone, provider, fault):
    seen = []

    async def read():
        stream = await anthropic_sdk.call(ask(alone(provider, f"fault={fault}; after=7"), stream=True))
        if anthropic_sdk.blocking:
            seen.extend(stream)
        else:
            async for event in stream:
                seen.append(event)

    with pytest.raises(anthropic.APIStatusError) as caught:
        await read()
    assert seen, "what had come before the fault was delivered"
    assert caught.value.error_code.startswith("upstream.")
    assert caught.value.request_id


@pytest.mark.parametrize("provider", ["oai", "ant"])
async def test_the_stream_helper_tells_that_a_stream_ended_early(anthropic_sdk, alone, provider):
    with pytest.raises(anthropic.APIStatusError):
        await anthropic_sdk.helper(
            lambda client: client.messages.stream(
                model=alone(provider, "fault=cut; after=7"), messages=USER, max_tokens=99
            ),
            "get_final_message",
        )


@pytest.mark.parametrize("provider", ["oai", "ant"])
async def test_a_client_that_leaves_a_stream_ends_the_providers_work(anthropic_sdk, upstream, provider):
    name = f"fault=infinite; rate=200; seed={3 + anthropic_sdk.blocking}"
    event = await anthropic_sdk.first_event_and_close(ask(f"{provider}/{name}", stream=True))
    assert event.type == "message_start"
    upstream.cancelled(name)
