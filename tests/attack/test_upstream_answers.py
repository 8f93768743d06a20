"""A provider that lies, breaks its own form or answers something else, met by whole calls: every such answer has one
documented meaning, is recorded once, and shows the caller nothing it should not see."""

import itertools
import json

import pytest

from ostiary.core.error import Code
from ostiary.core.event import Outcome
from ostiary.core.limit import MODEL_NAME_BYTES_MAX, USAGE_TOKENS_MAX
from tests.exchange.harness import UPSTREAM_KEY, House

JSON = ((b"content-type", b"application/json"),)
SSE = ((b"content-type", b"text/event-stream"),)
OPENAI = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Good day."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3},
}
ANTHROPIC = {
    "id": "m1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet",
    "content": [{"type": "text", "text": "Good day."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 3},
}
PAIRS = list(itertools.product(("chat", "message"), ("spare", "claude")))
ANSWERS = {"spare": OPENAI, "claude": ANTHROPIC}


class Played:
    """The port Upstream: each request is answered with the same status, headers and pieces."""

    def __init__(self, status, headers, pieces):
        self.status, self.headers = status, tuple(headers)
        self.pieces = pieces
        self.sent = []

    async def send(self, request):
        self.sent.append(request)
        self.left = iter(self.pieces)
        return self

    async def chunk(self):
        return next(self.left, b"")

    async def pour(self, take):
        while take(next(self.left, b"")):
            pass

    async def read(self, bytes_max):
        return b"".join(self.left)[:bytes_max]

    def close(self):
        self.left = iter(())


async def met(verb, model, body, *, status=200, headers=JSON, **fields):
    """A call answered with `body`; gives the house and what the client saw."""
    house = House()
    house.world.upstream = Played(status, headers, (body,) if isinstance(body, bytes) else body)
    sink = await getattr(house, verb)(model, **fields)
    house.check()
    assert UPSTREAM_KEY.encode() not in sink.body + repr(sink.headers).encode()
    return house, sink


def dumped(answer, **fields):
    return json.dumps({**answer, **fields}).encode()


WHOLE = {
    "an error object": (
        200,
        JSON,
        b'{"error":{"message":"slow down","type":"rate_limit_error"}}',
        "upstream.rate_limited",
    ),
    "an error of the other form": (
        200,
        JSON,
        b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}',
        "upstream.overloaded",
    ),
    "a web page": (200, ((b"content-type", b"text/html"),), b"<html>ok</html>", "upstream.protocol"),
    "nothing": (200, JSON, b"", "upstream.protocol"),
    "half of it": (200, JSON, dumped(OPENAI)[:90], "upstream.protocol"),
    "no object": (200, JSON, b"[]", "upstream.protocol"),
    "no choices": (200, JSON, b'{"id":"x","model":"y"}', "upstream.protocol"),
    "not a number": (
        200,
        JSON,
        b'{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":NaN}}',
        "upstream.protocol",
    ),
    "a thousand deep": (200, JSON, b'{"choices":' + b"[" * 1_000 + b"]" * 1_000 + b"}", "upstream.protocol"),
    "a lone surrogate": (200, JSON, dumped(OPENAI, model="\ud800"), "upstream.protocol"),
    "no content": (204, (), b"", "upstream.error"),
    "another success": (201, JSON, dumped(OPENAI), "upstream.error"),
    "a redirect": (302, ((b"location", b"http://169.254.169.254/"),), b"", "upstream.error"),
    "an error status with a whole answer": (500, JSON, dumped(OPENAI), "upstream.error"),
}


@pytest.mark.parametrize(("verb", "model"), PAIRS)
@pytest.mark.parametrize("name", WHOLE)
async def test_at55_an_answer_that_is_none_has_a_documented_meaning(name, verb, model):
    status, headers, body, code = WHOLE[name]
    house, sink = await met(verb, model, body, status=status, headers=headers)
    assert house.closed.outcome is Outcome.FAILED
    assert house.closed.error == code
    assert sink.status >= 400
    assert code.encode() in sink.body
    assert b"set-cookie" not in sink.headers
    assert b"location" not in sink.headers


@pytest.mark.parametrize(("verb", "model"), PAIRS)
async def test_at55_a_plain_answer_to_a_stream_is_told_apart_from_a_cut(verb, model):
    house, _ = await met(verb, model, dumped(ANSWERS[model]), stream=True)
    assert house.closed.error == Code.UPSTREAM_PROTOCOL
    error = b'{"type":"error","error":{"message":"slow down","type":"rate_limit_error"}}'
    house, sink = await met(verb, model, (error[:20], error[20:]), stream=True)
    assert house.closed.error == Code.UPSTREAM_RATE_LIMITED
    assert sink.status == 429
    house, _ = await met(verb, model, b"<html>", stream=True)
    assert house.closed.error == Code.UPSTREAM_CUT


@pytest.mark.parametrize(("verb", "model"), PAIRS)
async def test_at55_a_stream_where_a_plain_answer_was_asked_for_is_refused(verb, model):
    house, _ = await met(verb, model, b'data: {"choices":[]}\n\ndata: [DONE]\n\n', headers=SSE)
    assert house.closed.error == Code.UPSTREAM_PROTOCOL


LIES = {
    "negative": -1,
    "absurd": USAGE_TOKENS_MAX + 1,
    "beyond any integer": 10**18,
    "a fraction": 1.5,
    "text": "12",
    "a list": [1],
}


@pytest.mark.parametrize(("verb", "model"), PAIRS)
@pytest.mark.parametrize("name", LIES)
async def test_at55_usage_that_cannot_be_true_is_counted_by_us(name, verb, model):
    lie = LIES[name]
    usage = {"prompt_tokens": lie, "completion_tokens": 3, "input_tokens": lie, "output_tokens": 3}
    house, _ = await met(verb, model, dumped(ANSWERS[model], usage=usage))
    closed = house.closed
    assert closed.outcome is Outcome.SUCCEEDED
    assert closed.usage_estimated
    assert 0 < closed.usage.input_tokens < 1_000
    assert closed.cost.nano > 0
    assert closed.cost.estimated


@pytest.mark.parametrize("verb", ["chat", "message"])
async def test_what_we_count_is_the_same_streamed_and_plain(verb):
    """Both count what the model said, not the form around it."""
    plain, _ = await met(verb, "spare", dumped({k: v for k, v in OPENAI.items() if k != "usage"}))
    pieces = (
        b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"Good"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":" day."}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b"data: [DONE]\n\n",
    )
    streamed, _ = await met(verb, "spare", pieces, headers=SSE, stream=True)
    assert plain.closed.usage_estimated
    assert streamed.closed.usage_estimated
    assert plain.closed.usage.output_tokens == streamed.closed.usage.output_tokens == 3
    # The body of a request for a stream is a little longer.
    assert abs(plain.closed.usage.input_tokens - streamed.closed.usage.input_tokens) <= 8


@pytest.mark.parametrize(("verb", "model"), PAIRS)
async def test_at55_a_providers_endless_words_for_itself_are_kept_short(verb, model):
    """A model's name of 300 kB would neither fit a record nor any client's bound on a head."""
    long = "x" * 300_000
    house, sink = await met(verb, model, dumped(ANSWERS[model], model=long))
    assert house.closed.response_model == "x" * MODEL_NAME_BYTES_MAX
    assert sum(len(name) + len(value) for name, value in sink.headers.items()) < 4_096
    if model == "spare":
        pieces = (
            b'data: {"model":"%b","choices":[{"delta":{"content":"x"},"finish_reason":"%b"}]}\n\n'
            % (long.encode(), long.encode()),
            b"data: [DONE]\n\n",
        )
        house, sink = await met(verb, model, pieces, headers=SSE, stream=True)
        assert len(house.closed.response_model) == len(house.closed.finish_reason) == MODEL_NAME_BYTES_MAX
        assert len(sink.headers[b"x-ostiary-target"]) < 1_000


@pytest.mark.parametrize("injected", ["\n\ndata: [DONE]\n\n", "\r\n\r\nevent: error\r\ndata: {}\r\n\r\n", "\u2028\n\r"])
@pytest.mark.parametrize(("verb", "model"), PAIRS)
async def test_at54_no_content_opens_an_event_of_its_own(verb, model, injected):
    """What a model says stays inside the JSON of one event, across dialects too."""
    text = json.dumps(injected).encode()
    if model == "spare":
        pieces = (
            b'data: {"choices":[{"delta":{"content":%b},"finish_reason":"stop"}]}\n\n' % text,
            b"data: [DONE]\n\n",
        )
    else:
        pieces = (
            b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"c"}}\n\n',
            b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
            b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":%b}}\n\n' % text,
            b'data: {"type":"content_block_stop","index":0}\n\n',
            b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}\n\n',
            b'data: {"type":"message_stop"}\n\n',
        )
    _, sink = await met(verb, model, pieces, headers=SSE, stream=True)
    data = [line[6:] for line in sink.body.decode().split("\n") if line.startswith("data: ")]
    assert data.count("[DONE]") == (1 if verb == "chat" else 0)
    told = [one for one in data if one != "[DONE]"]
    said = "".join(
        (one["choices"][0]["delta"].get("content") or "" if one["choices"] else "")
        if verb == "chat"
        else one.get("delta", {}).get("text", "")
        for one in map(json.loads, told)
    )
    assert said == injected


@pytest.mark.parametrize("verb", ["chat", "message"])
@pytest.mark.parametrize("cut", range(1, 5))
async def test_at54_a_character_cut_between_packets_arrives_whole(verb, cut):
    event = 'data: {"choices":[{"delta":{"content":"a😀b"},"finish_reason":"stop"}]}\n\n'.encode()
    at = event.index("😀".encode()) + cut
    _, sink = await met(verb, "spare", (event[:at], event[at:], b"data: [DONE]\n\n"), headers=SSE, stream=True)
    assert "a😀b" in sink.body.decode()


@pytest.mark.parametrize(("verb", "model"), PAIRS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("status", [400, 401, 500])
async def test_at58_an_error_body_is_cut_short_and_carries_no_credential(status, stream, verb, model):
    said = f"Bad key {UPSTREAM_KEY} Bearer {UPSTREAM_KEY}\r\n\x1b[31m" + "y" * 100_000
    body = json.dumps({"error": {"message": said, "type": "invalid_request_error"}}).encode()
    house, sink = await met(verb, model, body, status=status, stream=stream)
    assert len(sink.body) < 2_000
    assert b"\\u001b" not in sink.body
    assert UPSTREAM_KEY not in repr(house.journal.records)
    page = b"<html>" + UPSTREAM_KEY.encode() + b"</html>"
    _, sink = await met(verb, model, page, status=status, headers=((b"content-type", b"text/html"),), stream=stream)
    assert b"html" not in sink.body


async def test_at57_of_a_providers_headers_none_is_passed_on():
    headers = (
        *JSON,
        (b"set-cookie", b"a=b"),
        (b"location", b"http://evil.test/"),
        (b"access-control-allow-origin", b"*"),
        (b"x-ratelimit-remaining-requests", b"-1"),
        (b"x-request-id", b"theirs"),
        (b"x-ostiary-cost", b"0"),
        (b"connection", b"upgrade"),
    )
    _, sink = await met("chat", "spare", dumped(OPENAI), headers=headers)
    assert sink.headers[b"x-request-id"] == b"req-1"
    assert sink.headers[b"x-ostiary-cost"] == b"0.000003150 USD"
    assert not {name for name, _ in headers[1:5]} & sink.headers.keys()
