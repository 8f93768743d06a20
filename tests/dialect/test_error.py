"""Errors: what a provider's failure means, and how ours look in each dialect."""

import json

import anthropic
import httpx2 as httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core.error import REASONS, CallerError, Code, UpstreamError
from ostiary.core.limit import RETRY_AFTER_SECONDS_MAX, UPSTREAM_ERROR_MESSAGE_CHARS_MAX
from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.dialect.responses import Responses

DIALECTS = {"openai": OpenAI(), "anthropic": Anthropic(), "openai-responses": Responses()}
both = pytest.mark.parametrize("name", DIALECTS)


@both
@pytest.mark.parametrize(
    ("status", "code", "answered"),
    [
        (400, Code.UPSTREAM_REFUSED, 400),
        (401, Code.UPSTREAM_CREDENTIAL, 502),
        (402, Code.UPSTREAM_REFUSED, 402),
        (403, Code.UPSTREAM_CREDENTIAL, 502),
        (404, Code.UPSTREAM_REFUSED, 404),
        (408, Code.UPSTREAM_TIMEOUT, 504),
        (413, Code.UPSTREAM_REFUSED, 413),
        (422, Code.UPSTREAM_REFUSED, 422),
        (429, Code.UPSTREAM_RATE_LIMITED, 429),
        (500, Code.UPSTREAM_ERROR, 502),
        (502, Code.UPSTREAM_ERROR, 502),
        (503, Code.UPSTREAM_OVERLOADED, 503),
        (504, Code.UPSTREAM_TIMEOUT, 504),
        (529, Code.UPSTREAM_OVERLOADED, 503),
        (302, Code.UPSTREAM_ERROR, 502),
    ],
)
def test_a_providers_status_has_its_code(name, status, code, answered):
    error = DIALECTS[name].decode_error(status, [], b'{"error":{"message":"why","type":"x"}}')
    assert (error.code, error.status) == (code, answered)
    assert error.message == ("why" if code is not Code.UPSTREAM_CREDENTIAL else error.message)


@both
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"1.5")], 1.5),
        ([(b"retry-after", b"-5")], 0.0),
        ([(b"retry-after", b"1e9")], RETRY_AFTER_SECONDS_MAX),
        ([(b"retry-after", b"inf")], RETRY_AFTER_SECONDS_MAX),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"")], None),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"9")], 0.25),
        ([(b"date", b"Wed, 21 Oct 2026 07:28:00 GMT"), (b"retry-after", b"Wed, 21 Oct 2026 07:28:30 GMT")], 30.0),
        ([(b"date", b"Wed, 21 Oct 2026 07:28:00 GMT"), (b"retry-after", b"Wed, 21 Oct 2020 07:28:30 GMT")], 0.0),
        (
            [(b"date", b"Wed, 21 Oct 2026 07:28:00 GMT"), (b"retry-after", b"Wed, 21 Oct 9026 07:28:30 GMT")],
            RETRY_AFTER_SECONDS_MAX,
        ),
        ([(b"retry-after", b"Wed, 99 Oct 2026 99:28:30 GMT")], None),
    ],
)
def test_retry_after_is_read_and_clamped(name, headers, seconds):
    assert DIALECTS[name].decode_error(429, headers, b"").retry_after_seconds == seconds


@both
@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdEFGH1234567890",
        "sk-ant-api03-AAAA-bbbb",
        "Bearer abc.def.ghi",
        "bearer 0123456789",
        "osk_0123456789abcdef",
        "AIzaSyA1234567890abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.sig",
        "0123456789abcdef0123456789abcdef",
        "sk-12345****6789",
    ],
)
def test_a_credential_echoed_by_a_provider_is_masked(name, secret):
    body = json.dumps(
        {"error": {"message": f"Incorrect API key provided: {secret}. See the docs.", "type": "x"}}
    ).encode()
    message = DIALECTS[name].decode_error(400, [], body).message
    assert secret.split()[-1] not in message
    assert "[masked]" in message
    assert "See the docs." in message or message.endswith("docs.")
    assert secret not in DIALECTS[name].decode_error(401, [], body).message


@both
def test_a_providers_text_is_short_and_has_no_control_characters(name):
    body = json.dumps({"error": {"message": "a\x1b[31m\r\nb\u202e" + "long " * 10_000}}).encode()
    message = DIALECTS[name].decode_error(400, [], body).message
    assert message.startswith("a [31m b ")
    assert len(message) == UPSTREAM_ERROR_MESSAGE_CHARS_MAX


@both
@pytest.mark.parametrize(
    "body",
    [
        b"<html><h1>502 Bad Gateway</h1></html>",
        b"",
        b"\xff\xfe",
        b"[]",
        b'"x"',
        b'{"error":[]}',
        b'{"error":{"message":7}}',
    ],
)
def test_a_body_that_is_no_error_object_gives_a_generic_message(name, body):
    assert DIALECTS[name].decode_error(500, [], body).message == "The provider failed."


@both
@given(
    status=st.integers(100, 999),
    body=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.one_of(st.none(), st.text(), st.integers()),
            lambda x: st.one_of(st.lists(x), st.dictionaries(st.sampled_from(["error", "message", "type", "code"]), x)),
        ).map(lambda v: json.dumps(v).encode()),
    ),
)
@settings(max_examples=150, deadline=None)
def test_any_error_answer_is_understood_somehow(name, status, body):
    assert isinstance(DIALECTS[name].decode_error(status, [(b"retry-after", body)], body), UpstreamError)


@both
@pytest.mark.parametrize("code", [code for code in Code if REASONS[code].status])
def test_every_reason_has_a_form_the_official_sdk_reads(name, code):
    error = CallerError(code, "What happened.", param="messages[0]", retry_after_seconds=1.2)
    answer = DIALECTS[name].encode_error(error, "req-1")
    headers = {key.decode(): value.decode() for key, value in answer.headers}
    assert headers["retry-after"] == "2"
    assert headers["content-type"] == "application/json"
    response = httpx.Response(
        answer.status, headers=headers, content=answer.body, request=httpx.Request("POST", "http://x")
    )
    if name != "anthropic":
        seen = openai.OpenAI(api_key="k")._make_status_error_from_response(response)
        assert (seen.code, seen.param, seen.request_id) == (str(code), "messages[0]", "req-1")
        assert json.loads(answer.body)["error"].keys() == {"message", "type", "param", "code"}
    else:
        seen = anthropic.Anthropic(api_key="k")._make_status_error_from_response(response)
        assert seen.body["error"]["code"] == seen.error_code == str(code)
        assert seen.body["type"] == "error"
        assert seen.request_id == "req-1"
        assert answer.status == (
            529 if code in (Code.UPSTREAM_OVERLOADED, Code.GATEWAY_OVERLOADED) else REASONS[code].status
        )
    assert "What happened." in str(seen)


def test_a_refused_thread_is_told_in_the_word_on_which_anthropics_sdk_sends_the_whole_conversation():
    error = CallerError(Code.REQUEST_UNSUPPORTED, "No threads here.", param="thread")
    told = json.loads(DIALECTS["anthropic"].encode_error(error, "req-1").body)["error"]
    assert told["details"] == {"error_code": "thread_unsupported_request"}
    assert told["code"] == "request.unsupported"


@both
def test_an_error_object_under_a_200_is_an_error(name):
    dialect = DIALECTS[name]
    for body, code in (
        (b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}', Code.UPSTREAM_RATE_LIMITED),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', Code.UPSTREAM_OVERLOADED),
        (b'{"type":"error","error":{"type":"invalid_request_error","message":"x"}}', Code.UPSTREAM_REFUSED),
        (b'{"type":"error","error":{"type":"whatever","message":"x"}}', Code.UPSTREAM_ERROR),
    ):
        for read in (dialect.decode_chat_reply, dialect.tap_chat_reply):
            with pytest.raises(UpstreamError) as caught:
                read(body)
            assert caught.value.code is code
        stream = b"event: error\ndata: " + body + b"\n\n"
        for events in (True, False):
            with pytest.raises(UpstreamError) as caught:
                dialect.stream_decoder(events=events).feed(stream)
            assert caught.value.code is code


OPENAI_CHUNK = b'data: {"id":"i","model":"m","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
OPENAI_STOP = b'data: {"id":"i","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def test_frames_before_an_error_are_given_first():
    decoder = DIALECTS["openai"].stream_decoder()
    assert len(decoder.feed(OPENAI_CHUNK + b'data: {"error":{"message":"boom","code":503}}\n\n')) == 1
    with pytest.raises(UpstreamError) as caught:
        decoder.feed(OPENAI_CHUNK)
    assert caught.value.code is Code.UPSTREAM_OVERLOADED


@pytest.mark.parametrize(
    "stream",
    [b"", OPENAI_CHUNK, OPENAI_CHUNK + OPENAI_STOP, OPENAI_CHUNK + OPENAI_STOP + b"data: [DONE]\n", OPENAI_CHUNK[:-1]],
)
def test_a_stream_without_its_last_event_is_cut(stream):
    for events in (True, False):
        decoder = DIALECTS["openai"].stream_decoder(events=events)
        decoder.feed(stream)
        with pytest.raises(UpstreamError) as caught:
            decoder.close()
        assert caught.value.code is Code.UPSTREAM_CUT
    with pytest.raises(UpstreamError) as caught:
        DIALECTS["anthropic"].stream_decoder().close()
    assert caught.value.code is Code.UPSTREAM_CUT


@both
@given(
    body=st.one_of(
        st.binary(max_size=80),
        st.recursive(
            st.one_of(st.none(), st.text(max_size=5), st.integers(), st.booleans()),
            lambda x: st.one_of(
                st.lists(x, max_size=3),
                st.dictionaries(
                    st.sampled_from(
                        [
                            "error",
                            "message",
                            "type",
                            "content",
                            "choices",
                            "delta",
                            "index",
                            "usage",
                            "tool_calls",
                            "function",
                            "name",
                            "arguments",
                            "finish_reason",
                            "content_block",
                            "input",
                            "text",
                            "logprobs",
                            "id",
                            "prompt_tokens",
                            "input_tokens",
                        ]
                    ),
                    x,
                    max_size=5,
                ),
            ),
            max_leaves=25,
        ).map(lambda v: json.dumps(v).encode()),
    )
)
@settings(max_examples=600, deadline=None)
def test_no_answer_crashes_a_decoder(name, body):
    dialect = DIALECTS[name]
    for read in (dialect.decode_chat_reply, dialect.tap_chat_reply):
        try:
            read(body)
        except UpstreamError:
            pass
    for events in (True, False):
        for kind in (b"", b"event: error\n"):
            decoder = dialect.stream_decoder(events=events)
            try:
                for piece in (kind + b"data: " + body + b"\n\n", b"data: " + body, b"\n\n"):
                    decoder.feed(piece)
                decoder.close()
            except UpstreamError:
                pass


@both
@given(
    kind=st.sampled_from(
        [
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_start",
            "message_delta",
            "message_stop",
            "error",
            "x",
        ]
    ),
    inner=st.dictionaries(
        st.sampled_from(["index", "delta", "content_block", "message", "usage", "error", "choices"]),
        st.one_of(
            st.none(),
            st.integers(-1, 3),
            st.text(max_size=3),
            st.dictionaries(
                st.sampled_from(["type", "text", "partial_json", "thinking", "id", "name", "usage"]),
                st.one_of(st.none(), st.integers(), st.sampled_from(["text", "tool_use", "text_delta"])),
                max_size=4,
            ),
        ),
        max_size=4,
    ),
)
@settings(max_examples=400, deadline=None)
def test_no_event_crashes_a_decoder(name, kind, inner):
    decoder = DIALECTS[name].stream_decoder()
    try:
        decoder.feed(b"data: " + json.dumps({"type": kind, **inner}).encode() + b"\n\n")
    except UpstreamError:
        pass


@pytest.mark.parametrize(
    "usage",
    [
        '{"prompt_tokens":-1,"completion_tokens":1}',
        '{"prompt_tokens":1000000000000000000,"completion_tokens":1}',
        '{"prompt_tokens":"7","completion_tokens":1}',
        '{"prompt_tokens":true,"completion_tokens":1}',
        '{"prompt_tokens":1.5,"completion_tokens":1}',
        '{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":6}}',
        '{"prompt_tokens":5,"completion_tokens":-1}',
        "7",
    ],
)
def test_usage_that_cannot_be_true_is_no_usage_and_is_said_to_be(usage):
    body = f'{{"id":"i","model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"x"}},"finish_reason":"stop"}}],"usage":{usage}}}'
    dialect = DIALECTS["openai"]
    tap = dialect.tap_chat_reply(body.encode())
    assert (tap.usage, tap.usage_invalid) == (None, True)
    assert dialect.decode_chat_reply(body.encode()).usage_invalid
    frame = dialect.stream_decoder().feed(f'data: {{"choices":[],"usage":{usage}}}\n\n'.encode())[0]
    assert (frame.usage, frame.usage_invalid, frame.usage_only) == (None, True, True)
    other = (
        usage.replace("prompt_tokens_details", "x")
        .replace("prompt_tokens", "input_tokens")
        .replace("completion", "output")
    )
    if "cached" not in usage:
        message = f'{{"id":"i","model":"m","content":[],"stop_reason":"end_turn","usage":{other}}}'.encode()
        assert DIALECTS["anthropic"].tap_chat_reply(message).usage_invalid
