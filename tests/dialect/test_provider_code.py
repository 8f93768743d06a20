"""A provider's own word for a failure stands beside ours; refusals for length and for content have reasons of their own."""

import json

import pytest

from ostiary.core.error import REASONS, Code, UpstreamError
from ostiary.core.limit import UPSTREAM_ERROR_CODE_CHARS_MAX
from tests.dialect.known import BOTH

OPENAI = ("openai", "openai-responses")


def told(name, answer):
    """The provider's word as a client of this form finds it."""
    error = json.loads(answer.body)["error"]
    if name != "gemini":
        return error.get("provider_code", "")
    return error["details"][0].get("metadata", {}).get("provider_code", "")


@pytest.mark.parametrize(
    ("name", "status", "error", "code", "word"),
    [
        *(
            (name, *case)
            for name in OPENAI
            for case in (
                (400, {"code": "context_length_exceeded", "message": "x"}, Code.UPSTREAM_CONTEXT_WINDOW, "context_length_exceeded"),
                (400, {"code": 400, "type": "exceed_context_size_error"}, Code.UPSTREAM_CONTEXT_WINDOW, "exceed_context_size_error"),
                (400, {"code": None, "type": "BadRequestError", "message": "This model's maximum context length is 8 tokens."}, Code.UPSTREAM_CONTEXT_WINDOW, "BadRequestError"),
                (400, {"code": "content_filter", "message": "x"}, Code.UPSTREAM_CONTENT_FILTER, "content_filter"),
                (404, {"code": "thread_not_found", "message": "x"}, Code.UPSTREAM_REFUSED, "thread_not_found"),
                (401, {"code": "invalid_api_key", "message": "x"}, Code.UPSTREAM_CREDENTIAL, "invalid_api_key"),
                (500, {"code": "context_length_exceeded", "message": "x"}, Code.UPSTREAM_ERROR, "context_length_exceeded"),
            )
        ),
        ("anthropic", 400, {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}, Code.UPSTREAM_CONTEXT_WINDOW, "invalid_request_error"),
        ("anthropic", 400, {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}, Code.UPSTREAM_CONTENT_FILTER, "invalid_request_error"),
        ("anthropic", 400, {"type": "invalid_request_error", "message": "no"}, Code.UPSTREAM_REFUSED, "invalid_request_error"),
        ("gemini", 400, {"status": "INVALID_ARGUMENT", "message": "The input token count (9) exceeds the maximum number of tokens allowed (8)."}, Code.UPSTREAM_CONTEXT_WINDOW, "INVALID_ARGUMENT"),
        ("gemini", 400, {"status": "INVALID_ARGUMENT", "message": "no", "details": [{"reason": "API_KEY_INVALID"}]}, Code.UPSTREAM_CREDENTIAL, "API_KEY_INVALID"),
    ],
)  # fmt: skip
def test_a_failure_has_our_reason_and_the_providers_word(name, status, error, code, word):
    decoded = BOTH[name].decode_error(status, [], json.dumps({"error": error}).encode())
    assert (decoded.code, decoded.provider_code) == (code, word)
    if code in (Code.UPSTREAM_CONTEXT_WINDOW, Code.UPSTREAM_CONTENT_FILTER):
        assert decoded.status == REASONS[code].status == 400
    for client, dialect in BOTH.items():
        answer = dialect.encode_error(decoded, "request-1")
        assert told(client, answer) == word
        assert str(code).encode() in answer.body


@pytest.mark.parametrize("client", BOTH)
def test_a_stream_tells_it_too(client):
    error = UpstreamError(Code.UPSTREAM_REFUSED, "no", provider_code="their_word")
    assert b'"provider_code":"their_word"' in BOTH[client].stream_encoder(include_usage=False).error(error, "request-1")


@pytest.mark.parametrize("client", BOTH)
def test_nothing_stands_there_where_the_provider_has_no_word(client):
    error = UpstreamError(Code.UPSTREAM_REFUSED, "no")
    assert b"provider_code" not in BOTH[client].encode_error(error, "request-1").body


@pytest.mark.parametrize(
    "word",
    ["", "a b", "a\x00b", "a\u202eb", "x" * (UPSTREAM_ERROR_CODE_CHARS_MAX + 1), "sk-proj-abcdEFGH1234567890", 7, ["a"], None],
)  # fmt: skip
def test_what_is_no_short_name_is_not_shown(word):
    body = json.dumps({"error": {"code": word, "type": word, "message": "x"}}).encode()
    assert BOTH["openai"].decode_error(400, [], body).provider_code == ""
