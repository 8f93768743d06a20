"""OpenAI's bytes: chat completions (plain and streamed), embeddings, models, and errors in its exact form. Pure.

Written from the vendor's published reference, not from the gateway's dialect.
"""

import base64
import struct
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ostiary.simulator import content
from ostiary.simulator.behaviour import Behaviour, Fault, Header, Plan, Received, streamed, whole

_CREATED: Final = 1_741_569_952
_FINGERPRINT: Final = "simulated"
MODELS: Final = ("sim-gpt", "sim-slow", "sim-embedding")
_ERRORS: Final[dict[int, tuple[str, str | None, str]]] = {
    400: ("invalid_request_error", None, "The request is invalid (simulated)."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided (simulated)."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country not supported (simulated)."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist (simulated)."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached (simulated)."),
    500: ("server_error", None, "The server had an error while processing your request (simulated)."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later (simulated)."),
}
_NO_KEY: Final = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY)."
)


def answer(request: Received, behaviour: Behaviour) -> Plan:
    """The plan for one request. Never raises: what is wrong with the request becomes the vendor's error."""
    source = content.Source(behaviour.seed, request.body)
    refused = refusal(request, behaviour)
    if refused is not None:
        return refused
    path = request.path.partition("?")[0]
    if request.method == "GET" and path.endswith("/models"):
        return whole(behaviour, 200, {"object": "list", "data": [_model(name) for name in MODELS]})
    if request.method == "GET" and "/models/" in path:
        return whole(behaviour, 200, _model(path.rsplit("/", 1)[1]))
    try:
        body = msgspec.json.decode(request.body)
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict):
        return error(behaviour, 400, message="We could not parse the JSON body of your request.")
    if not isinstance(body.get("model"), str):
        return error(behaviour, 400, message="you must provide a model parameter")
    if request.method == "POST" and path.endswith("/chat/completions"):
        if not body.get("messages"):
            return error(behaviour, 400, message="Missing required parameter: 'messages'.", param="messages")
        return _Chat(body, behaviour, source).plan()
    if request.method == "POST" and path.endswith("/embeddings"):
        return _embeddings(body, behaviour, source)
    return error(behaviour, 404, message=f"Invalid URL ({request.method} {path})", code=None)


def refusal(request: Received, behaviour: Behaviour) -> Plan | None:
    """The error for a request without a key, or the one that is asked for."""
    if not request.header(b"authorization").startswith("Bearer ") or len(request.header(b"authorization")) < 8:
        return error(behaviour, 401, message=_NO_KEY, code=None)
    if behaviour.status != 200:
        message = f"Incorrect API key provided: {request.header(b'authorization')[7:]}"
        return error(behaviour, behaviour.status, message=message if behaviour.fault is Fault.ECHO_KEY else None)
    return None


def error(
    behaviour: Behaviour, status: int, *, message: str | None = None, code: str | None = "", param: str | None = None
) -> Plan:
    """The vendor's error document with this status."""
    kind, usual, text = _ERRORS.get(status, _ERRORS[500 if status >= 500 else 400])
    document = {
        "error": {
            "message": message or text,
            "type": kind,
            "param": param,
            "code": usual if code == "" and message is None else code or None,
        }
    }
    headers: list[Header] = []
    if status == 429 or behaviour.retry_after:
        headers.append((b"retry-after", (behaviour.retry_after or "1").encode("latin-1")))
    return whole(behaviour, status, document, headers)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "simulated"}


def _embeddings(body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> Plan:
    given = body.get("input")
    inputs = (
        [given]
        if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int))
        else given
    )
    if not isinstance(inputs, list) or not inputs:
        return error(behaviour, 400, message="Missing required parameter: 'input'.", param="input")
    width = body.get("dimensions") or 8
    data = []
    for index in range(len(inputs)):
        vector = [source.below(2_001) / 1_000 - 1 for _ in range(width)]
        packed: Any = vector
        if body.get("encoding_format") == "base64":
            packed = base64.b64encode(struct.pack(f"<{width}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": packed})
    used = content.measure(inputs)
    document: dict[str, Any] = {"object": "list", "data": data, "model": body["model"]}
    if behaviour.fault is not Fault.NO_USAGE:
        document["usage"] = {"prompt_tokens": used, "total_tokens": used}
    return whole(behaviour, 200, document)


class _Chat:
    """One chat completion: `parts` for each choice is decided once, then told whole or streamed."""

    def __init__(self, body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> None:
        self._body = body
        self._behaviour = behaviour
        self._source = source
        self._id = source.name("chatcmpl-sim")
        self._calls = self._tool_calls()
        refused = behaviour.fault is Fault.REFUSAL
        text = "This is a simulated refusal." if refused else behaviour.text or self._structured()
        self._choices = [
            content.tokens(source, behaviour.tokens, text) if not self._calls else [] for _ in range(self._count())
        ]
        self._finish = "tool_calls" if self._calls else "stop"
        self._shorten()
        if behaviour.fault is Fault.FILTER:
            self._finish = "content_filter"

    def _count(self) -> int:
        wanted = self._body.get("n")
        return wanted if isinstance(wanted, int) and 0 < wanted <= 128 else 1

    def _structured(self) -> str:
        asked = self._body.get("response_format")
        if not isinstance(asked, dict):
            return ""
        if asked.get("type") == "json_object":
            return '{"simulated":true}'
        if asked.get("type") == "json_schema":
            schema = asked.get("json_schema", {}).get("schema", {})
            return msgspec.json.encode(content.sample(schema, self._source)).decode()
        return ""

    def _tool_calls(self) -> list[dict[str, Any]]:
        """A call after a user's message where tools are offered; of every tool where the text says "parallel"."""
        tools = [tool["function"] for tool in self._body.get("tools") or [] if tool.get("type") == "function"]
        choice = self._body.get("tool_choice", "auto")
        last = self._body["messages"][-1]
        if not tools or choice == "none" or last.get("role") == "tool":
            return []
        if isinstance(choice, dict):
            tools = [tool for tool in tools if tool["name"] == choice.get("function", {}).get("name")]
        elif "parallel" not in content.text_of(last.get("content")) or self._body.get("parallel_tool_calls") is False:
            tools = tools[:1]
        return [
            {
                "id": self._source.name("call_sim"),
                "type": "function",
                "function": {
                    "name": tool["name"],
                    "arguments": msgspec.json.encode(content.sample(tool.get("parameters"), self._source)).decode(),
                },
            }
            for tool in tools
        ]

    def _shorten(self) -> None:
        stops = self._body.get("stop") or []
        stops = [stops] if isinstance(stops, str) else stops
        bound = self._body.get("max_completion_tokens") or self._body.get("max_tokens")
        for place, pieces in enumerate(self._choices):
            ends = [end for stop in stops if (end := "".join(pieces).find(stop)) >= 0]
            if ends:
                self._choices[place] = content.tokens(self._source, 0, "".join(pieces)[: min(ends)])
            if isinstance(bound, int) and len(self._choices[place]) > bound:
                self._choices[place] = self._choices[place][:bound]
                self._finish = "length"

    def _usage(self) -> dict[str, Any]:
        prompt = content.measure(self._body["messages"]) + content.measure(self._body.get("tools", []))
        output = sum(map(len, self._choices)) + content.measure(self._calls)
        if self._behaviour.fault is Fault.WRONG_USAGE:
            prompt, output = -5, 10**15
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def _logprobs(self, pieces: list[str]) -> dict[str, Any] | None:
        if not self._body.get("logprobs"):
            return None
        top = self._body.get("top_logprobs") or 0
        listed = []
        for text in pieces:
            entry = {"token": text, "logprob": -self._source.below(1_000) / 1_000, "bytes": list(text.encode())}
            listed.append({**entry, "top_logprobs": [entry] * top})
        return {"content": listed, "refusal": None}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": _CREATED,
            "model": self._body["model"],
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
        }

    def plan(self) -> Plan:
        """The answer, whole or streamed."""
        if self._body.get("stream") is True:
            return streamed(self._behaviour, self._events())
        if self._behaviour.fault is Fault.ERROR_EVENT:
            return whole(
                self._behaviour, 200, {"error": {"message": "simulated", "type": "server_error", "code": None}}
            )
        refused = self._behaviour.fault is Fault.REFUSAL
        choices = []
        for index, pieces in enumerate(self._choices):
            message: dict[str, Any] = {
                "role": "assistant",
                "content": None if self._calls or refused else "".join(pieces),
                "refusal": "".join(pieces) if refused else None,
                "annotations": [],
            }
            if self._calls:
                message["tool_calls"] = self._calls
            choices.append(
                {"index": index, "message": message, "logprobs": self._logprobs(pieces), "finish_reason": self._finish}
            )
        document = {**self._frame("chat.completion"), "choices": choices}
        if self._behaviour.fault is not Fault.NO_USAGE:
            document["usage"] = self._usage()
        return whole(self._behaviour, 200, document, [(b"openai-processing-ms", b"1"), (b"x-request-id", b"req_sim")])

    def _events(self) -> Iterator[bytes]:
        options = self._body.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage") is True

        def chunk(choices: list[dict[str, Any]], usage: Any = None) -> bytes:
            document = {**self._frame("chat.completion.chunk"), "choices": choices}
            if counted:
                document["usage"] = usage
            return b"data: %b\n\n" % msgspec.json.encode(document)

        def delta(index: int, fields: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> bytes:
            return chunk([{"index": index, "delta": fields, "logprobs": logprobs, "finish_reason": finish}])

        refused = self._behaviour.fault is Fault.REFUSAL
        key = "refusal" if refused else "content"
        for index, pieces in enumerate(self._choices):
            start: dict[str, Any] = {
                "role": "assistant",
                "content": None if self._calls or refused else "",
                "refusal": None,
            }
            yield delta(index, start)
            for place, text in enumerate(pieces):
                if self._behaviour.fault is Fault.ERROR_EVENT and place == self._behaviour.after:
                    yield b'data: {"error":{"message":"simulated","type":"server_error","param":null,"code":null}}\n\n'
                    return
                yield delta(index, {key: text}, logprobs=self._logprobs([text]))
            while self._behaviour.fault is Fault.INFINITE:
                yield delta(index, {"content": " simulated"})
            for place, call in enumerate(self._calls):
                arguments = call["function"]["arguments"]
                yield delta(
                    index,
                    {
                        "tool_calls": [
                            {"index": place, **call, "function": {"name": call["function"]["name"], "arguments": ""}}
                        ]
                    },
                )
                for at in range(0, len(arguments), 12):
                    piece = {"index": place, "function": {"arguments": arguments[at : at + 12]}}
                    yield delta(index, {"tool_calls": [piece]})
            yield delta(index, {}, self._finish)
        if counted and self._behaviour.fault is not Fault.NO_USAGE:
            yield chunk([], self._usage())
        if self._behaviour.fault is not Fault.NO_END:
            yield b"data: [DONE]\n\n"
