"""Hostile providers through the whole gateway, AT-52 to AT-58: real sockets towards the provider, real stages, and a
client of either dialect whose view is judged as a reader of events would judge it."""

import json

import pytest

from ostiary.bootstrap.system import SystemClock
from ostiary.core.http import Origin
from ostiary.net.client import HttpUpstream
from ostiary.simulator.hostile import End, Forever, HostilePeer, Read
from ostiary.snapshot.tables import TimeoutsRow
from tests.exchange.harness import KEY, UPSTREAM_KEY, House, model, provider, replaced

OTHER = "canary-of-another-tenant-3f1c"
PATIENT = TimeoutsRow(connect_seconds=5, first_token_seconds=5, idle_seconds=5, total_seconds=10)
SHORT = TimeoutsRow(connect_seconds=5, first_token_seconds=0.2, idle_seconds=0.15, total_seconds=0.4)
"""Only where the call is to fail anyway: a busy machine then changes nothing but the reason."""

JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def whole(body, head=JSON_HEAD):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [Read(), head + b"content-length: %d\r\n\r\n" % len(data) + data]


def completion(**fields):
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        **fields,
    }


def message(**fields):
    return {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
        **fields,
    }


def chunk(content="hi", **fields):
    data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    data["choices"] = [{"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": None}]
    return b"data: " + json.dumps({**data, **fields}).encode() + b"\n\n"


FINISH = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
GOOD = chunk() + FINISH + DONE


def begun(text="hi"):
    start = {"type": "message_start", "message": message(content=[], stop_reason=None)}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in (start, block, delta)
    )


ENDED = b"".join(
    b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode())
    for one in (
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    )
)
INJECTION = "\n\ndata: [DONE]\n\nevent: message_stop\ndata: {}\n\n\r\n\r\rdata: forged\u2028\u0085\x00"

# What the provider does; then whether a client may be told of success.
STREAMS = {
    "no answer at all": ([Read(), End.CLOSE], False),
    "a reset": ([Read(), End.RESET], False),
    "silence": ([Read()], False),
    "headers without end": ([Read(), b"HTTP/1.1 200 OK\r\n", Forever(b"x-a: " + b"y" * 1000 + b"\r\n")], False),
    "100-continue without end": ([Read(), Forever(b"HTTP/1.1 100 Continue\r\n\r\n")], False),
    "a head and silence": ([Read(), SSE], False),
    "a head and the end": ([Read(), SSE, End.CLOSE], False),
    "nothing but comments": ([Read(), SSE, Forever(b": ping\n\n" * 100)], False),
    "nothing but empty lines": ([Read(), SSE, Forever(b"\n" * 1000)], False),
    "empty data for ever": ([Read(), SSE, Forever(b"data: \n\n" * 100)], False),
    "one line without end": ([Read(), SSE, b"data: ", Forever(b"x" * 65_536)], False),
    "one event of many lines without end": ([Read(), SSE, Forever(b"data: x\n" * 1000)], False),
    "gzip": (
        [
            Read(),
            SSE.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n") + b"\x1f\x8b" + b"\0" * 999,
            End.CLOSE,
        ],
        False,
    ),
    "another content type": ([*whole(b"<html>busy</html>", b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n")], False),
    "not JSON": ([Read(), SSE + b"data: {nonsense\n\n", End.CLOSE], False),
    "NaN": ([Read(), SSE + b'data: {"choices":[{"index":NaN}]}\n\n', End.CLOSE], False),
    "1,000 deep": ([Read(), SSE + b'data: {"x":' + b"[" * 1000 + b"]" * 1000 + b"}\n\n", End.CLOSE], False),
    "a cut before anything": ([Read(), SSE + b"dat", End.CLOSE], False),
    "status 200 and an error": (
        [Read(), SSE + b'data: {"error":{"message":"' + UPSTREAM_KEY.encode() + b'"}}\n\n', End.CLOSE],
        False,
    ),
}
OPENAI_STREAMS = {
    "cut after content": ([Read(), SSE + chunk(), End.CLOSE], False),
    "reset after content": ([Read(), SSE + chunk(), End.RESET], False),
    "stall after content": ([Read(), SSE + chunk()], False),
    "cut within an event": ([Read(), SSE + chunk() + chunk()[:40], End.CLOSE], False),
    "content without end": ([Read(), SSE, Forever(chunk("word " * 200) * 20)], False),
    "garbage after content": ([Read(), SSE + chunk() + b"data: {broken\n\n", End.CLOSE], False),
    "an injection in content": ([Read(), SSE + chunk(INJECTION) + FINISH + DONE, End.CLOSE], True),
    "events after the end": ([Read(), SSE + GOOD + chunk("after the end"), End.CLOSE], True),
    "a BOM and CRLF": ([Read(), SSE + b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n"), End.CLOSE], True),
    "usage that lies": (
        [
            Read(),
            SSE
            + chunk()
            + chunk(choices=[], usage={"prompt_tokens": -5, "completion_tokens": 10**18, "total_tokens": 0})
            + FINISH
            + DONE,
            End.CLOSE,
        ],
        None,
    ),
    "headers that are not ours to pass on": (
        [
            Read(),
            SSE.replace(
                b"\r\n\r\n",
                b"\r\nset-cookie: a=b\r\nlocation: http://x/\r\naccess-control-allow-origin: *\r\nx-ratelimit-remaining: -9\r\n\r\n",
            )
            + GOOD,
            End.CLOSE,
        ],
        True,
    ),
}
ANTHROPIC_STREAMS = {
    "cut after content": ([Read(), SSE + begun(), End.CLOSE], False),
    "stall after content": ([Read(), SSE + begun()], False),
    "garbage after content": ([Read(), SSE + begun() + b"event: x\ndata: {broken\n\n", End.CLOSE], False),
    "an error event": (
        [
            Read(),
            SSE
            + begun()
            + b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"%b"}}\n\n'
            % UPSTREAM_KEY.encode(),
        ],
        False,
    ),
    "an injection in content": ([Read(), SSE + begun(INJECTION) + ENDED, End.CLOSE], True),
}
WHOLES = {
    "truncated JSON": (whole(json.dumps(completion()).encode()[:-9]), False),
    "less than announced": ([Read(), JSON_HEAD + b"content-length: 999\r\n\r\n{}", End.CLOSE], False),
    "a body without end": ([Read(), JSON_HEAD + b"\r\n", Forever(b" " * 65_536)], False),
    "a gigabyte announced": (
        [Read(), JSON_HEAD + b"content-length: 1073741824\r\n\r\n", Forever(b" " * 65_536)],
        False,
    ),
    "two lengths": ([Read(), JSON_HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}"], False),
    "gzip": (whole(b"\x1f\x8b" + bytes(99), JSON_HEAD + b"content-encoding: gzip\r\n"), False),
    "an array": (whole(b"[]"), False),
    "1,000 deep": (whole(b'{"x":' + b"[" * 1000 + b"]" * 1000 + b"}"), False),
    "NaN": (whole(b'{"choices":NaN}'), False),
    "no choices": (whole(completion(choices=[])), None),
    "an error with status 200": (whole({"error": {"message": UPSTREAM_KEY, "type": "x"}}), False),
    "a web page": (whole(b"<html>" + OTHER.encode(), b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n"), False),
    "500 with a valid completion": (
        whole(completion(), b"HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\n"),
        False,
    ),
    "an error with our key": (
        whole(
            {"error": {"message": f"bad key {UPSTREAM_KEY}", "type": "auth"}},
            b"HTTP/1.1 401 No\r\ncontent-type: application/json\r\n",
        ),
        False,
    ),
    "an error page": (whole(b"<h1>" + b"x" * 60_000, b"HTTP/1.1 502 Bad\r\ncontent-type: text/html\r\n"), False),
    "an error without end": ([Read(), b"HTTP/1.1 400 Bad\r\n\r\n", Forever(b"x" * 65_536)], False),
    "retry after a billion": (
        whole(
            {"error": {"message": "slow down"}},
            b"HTTP/1.1 429 Slow\r\ncontent-type: application/json\r\nretry-after: 1000000000\r\n",
        ),
        False,
    ),
    "retry after a negative": (
        whole(
            {"error": {"message": "slow down"}},
            b"HTTP/1.1 429 Slow\r\ncontent-type: application/json\r\nretry-after: -5\r\n",
        ),
        False,
    ),
    "a redirect": (
        [Read(), b"HTTP/1.1 307 Go\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"],
        False,
    ),
    "a header with CR": ([Read(), b"HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\ncontent-length: 2\r\n\r\n{}"], False),
    "a switch of protocols": ([Read(), b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], False),
    "HTTP/2": ([Read(), b"\0\0\x12\x04\0\0\0\0\0"], False),
}


class Real(House):
    """The house with the real upstream client, real time, and its two providers at one hostile peer."""

    def __init__(self, port, timeouts):
        clock = SystemClock()
        origin = Origin("http", "127.0.0.1", port)
        super().__init__(
            providers=(
                replaced(provider("oai", "openai"), origin=origin),
                replaced(provider("ant", "anthropic"), origin=origin),
            ),
            models=(
                model("gpt", ("oai", "gpt-4o-mini"), timeouts=timeouts),
                model("claude", ("ant", "claude-sonnet"), timeouts=timeouts),
            ),
        )
        self.clock = self.world.clock = clock
        self.upstream = self.world.upstream = HttpUpstream(clock)


async def attacked(script, client, served, *, stream, timeouts):
    """One call of a client's dialect to the model that `served` speaks for; (sink, house) after all that must hold."""
    async with HostilePeer(script) as peer:
        house = Real(peer.port, timeouts)
        try:
            if client == "openai":
                sink = await house.chat(served, stream=stream)
            else:
                sink = await house.message(served, stream=stream)
        finally:
            await house.upstream.aclose()
        house.check()
        assert peer.connections == 1, "nothing may be sent twice"
    told = repr(sorted(sink.headers.items())).encode() + sink.body
    for canary in (UPSTREAM_KEY.encode(), KEY):
        assert canary not in told
    for name in (b"set-cookie", b"location", b"access-control-allow-origin", b"x-ratelimit-remaining"):
        assert name not in sink.headers
    assert sink.ended
    assert sink.status != 500, sink.body[:500]
    return sink, house


def judge(sink, house, client, success):
    """What a reader of the stream, or of the answer, must be able to tell."""
    if not sink.streamed:
        answer = json.loads(sink.body)
        if success is None:
            return
        assert (sink.status == 200) is success, (sink.status, sink.body[:300])
        if not success:
            assert sink.status in range(400, 600)
            code = (
                answer["error"]["code"] if client == "openai" else sink.headers.get(b"x-ostiary-reason", b"upstream.")
            )
            assert (code if isinstance(code, str) else code.decode()).startswith("upstream."), sink.body[:300]
            assert len(sink.body) < 8_192
        if b"retry-after" in sink.headers:
            assert 0 <= int(sink.headers[b"retry-after"]) <= 300
        return
    # A frame leaves as it came, with the byte order mark and line ends that every reader of events knows.
    blocks = sink.body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n\n")
    assert blocks[-1] == b"", "the last event is whole"
    data = [line[6:] for block in blocks for line in block.split(b"\n") if line.startswith(b"data: ")]
    finals = [one for one in data if one == b"[DONE]" or b'"message_stop"' in one]
    errors = [one for one in data if b'"error"' in one and one.startswith(b"{") and "error" in json.loads(one)]
    for one in data:
        assert one == b"[DONE]" or isinstance(json.loads(one), dict)
    assert b"forged" not in [one.strip() for one in data]
    if success:
        assert len(finals) == 1
        assert data[-1] == finals[0], "nothing follows the end"
        assert errors == []
    elif success is False:
        assert finals == []
        assert len(errors) == 1
        assert data[-1] == errors[0]


CASES = [
    *(
        (f"{name} / any", script, ok, served, True)
        for name, (script, ok) in STREAMS.items()
        for served in ("gpt", "claude")
    ),
    *((f"{name} / openai", script, ok, "gpt", True) for name, (script, ok) in OPENAI_STREAMS.items()),
    *((f"{name} / anthropic", script, ok, "claude", True) for name, (script, ok) in ANTHROPIC_STREAMS.items()),
    *(
        (f"{name} / plain", script, ok, served, False)
        for name, (script, ok) in WHOLES.items()
        for served in ("gpt", "claude")
    ),
]


@pytest.mark.parametrize("client", ["openai", "anthropic"])
@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]} {case[3]}" for case in CASES])
async def test_at52_to_at58_whatever_a_provider_does_the_client_is_told_the_truth(case, client):
    _, script, success, served, stream = case
    sink, house = await attacked(script, client, served, stream=stream, timeouts=SHORT if success is False else PATIENT)
    judge(sink, house, client, success)
    if success is False:
        assert house.closed.outcome == "failed"
        assert house.closed.error.startswith("upstream.")
    elif success:
        assert house.closed.outcome == "succeeded"
        assert house.closed.usage.input_tokens >= 0
        assert house.closed.usage.output_tokens >= 0
    assert UPSTREAM_KEY not in repr(house.journal.records)
