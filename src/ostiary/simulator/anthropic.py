"""Anthropic's bytes: messages (plain and streamed), token counting, models, and errors in its exact form. Pure.

Written from the vendor's published reference, not from the gateway's dialect.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ostiary.simulator import content
from ostiary.simulator.behaviour import Behaviour, Fault, Header, Plan, Received, streamed, whole

_REQUEST_ID: Final = "req_simulated"
MODELS: Final = ("sim-claude", "sim-slow")
_ERRORS: Final = {
    400: ("invalid_request_error", "The request is invalid (simulated)."),
    401: ("authentication_error", "invalid x-api-key"),
    403: ("permission_error", "Your API key may not use this resource (simulated)."),
    404: ("not_found_error", "model: simulated"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your rate limit (simulated)."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out (simulated)."),
    529: ("overloaded_error", "Overloaded"),
}


def answer(request: Received, behaviour: Behaviour) -> Plan:
    """The plan for one request. Never raises: what is wrong with the request becomes the vendor's error."""
    source = content.Source(behaviour.seed, request.body)
    key = request.header(b"x-api-key") or request.header(b"authorization").removeprefix("Bearer ")
    if not key:
        return error(behaviour, 401, "x-api-key header is required")
    if not request.header(b"anthropic-version"):
        return error(behaviour, 400, "anthropic-version: header is required")
    if behaviour.status != 200:
        return error(
            behaviour, behaviour.status, f"invalid x-api-key: {key}" if behaviour.fault is Fault.ECHO_KEY else None
        )
    path = request.path.partition("?")[0]
    if request.method == "GET" and path.endswith("/models"):
        data = [_model(name) for name in MODELS]
        listed = {"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
        return whole(behaviour, 200, listed)
    if request.method == "GET" and "/models/" in path:
        return whole(behaviour, 200, _model(path.rsplit("/", 1)[1]))
    try:
        body = msgspec.json.decode(request.body)
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict):
        return error(behaviour, 400, "The request body is not valid JSON")
    for name in ("model", "messages"):
        if not body.get(name):
            return error(behaviour, 400, f"{name}: Field required")
    if request.method == "POST" and path.endswith("/messages/count_tokens"):
        return whole(behaviour, 200, {"input_tokens": _prompt(body)})
    if request.method == "POST" and path.endswith("/messages"):
        if not isinstance(body.get("max_tokens"), int):
            return error(behaviour, 400, "max_tokens: Field required")
        return _Message(body, behaviour, source).plan()
    return error(behaviour, 404, "Not found")


def error(behaviour: Behaviour, status: int, message: str | None = None) -> Plan:
    """The vendor's error document with this status."""
    headers: list[Header] = [(b"request-id", _REQUEST_ID.encode())]
    if status == 429 or behaviour.retry_after:
        headers.append((b"retry-after", (behaviour.retry_after or "1").encode("latin-1")))
    return whole(behaviour, status, _error(status, message), headers)


def _error(status: int, message: str | None) -> dict[str, Any]:
    kind, text = _ERRORS.get(status, _ERRORS[500 if status >= 500 else 400])
    return {"type": "error", "error": {"type": kind, "message": message or text}, "request_id": _REQUEST_ID}


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": f"{name} (simulated)", "created_at": "2025-03-10T00:00:00Z"}


def _prompt(body: dict[str, Any]) -> int:
    return sum(content.measure(body.get(name, [])) for name in ("system", "messages", "tools"))


class _Message:
    """One message: its blocks are decided once, then told whole or streamed."""

    def __init__(self, body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> None:
        self._body = body
        self._behaviour = behaviour
        self._source = source
        self._stop: str | None = None
        self._reason = "end_turn"
        self._blocks: list[dict[str, Any]] = []
        self._pieces: list[list[str]] = []
        thinking = body.get("thinking")
        if isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive"):
            self._think()
        refused = behaviour.fault is Fault.REFUSAL
        text = "This is a simulated refusal." if refused else behaviour.text or self._structured()
        self._speak(content.tokens(source, behaviour.tokens, text))
        if behaviour.fault in (Fault.REFUSAL, Fault.FILTER):
            self._reason = "refusal"
        elif self._reason == "end_turn":
            self._call()

    def _structured(self) -> str:
        """The answer in the form asked for, by either name that the vendor has given the field."""
        config = self._body.get("output_config")
        asked = (config.get("format") if isinstance(config, dict) else None) or self._body.get("output_format")
        if isinstance(asked, dict) and asked.get("type") == "json_schema":
            return msgspec.json.encode(content.sample(asked.get("schema"), self._source)).decode()
        return ""

    def _think(self) -> None:
        pieces = content.tokens(self._source, 6, "This is simulated thinking, nothing more.")
        signature = self._source.name("SIMULATED", 64)
        self._blocks.append({"type": "thinking", "thinking": "".join(pieces), "signature": signature})
        self._pieces.append(pieces)

    def _speak(self, pieces: list[str]) -> None:
        text = "".join(pieces)
        found = [(end, stop) for stop in self._body.get("stop_sequences") or [] if (end := text.find(stop)) >= 0]
        if found:
            end, self._stop = min(found)
            pieces = content.tokens(self._source, 0, text[:end]) if end else []
            self._reason = "stop_sequence"
        if len(pieces) > self._body["max_tokens"]:
            pieces, self._stop = pieces[: self._body["max_tokens"]], None
            self._reason = "max_tokens"
        self._blocks.append({"type": "text", "text": "".join(pieces)})
        self._pieces.append(pieces)

    def _call(self) -> None:
        """A call after a user's text where tools are offered; of every tool where the text says "parallel"."""
        tools = [tool for tool in self._body.get("tools") or [] if "input_schema" in tool]
        choice = self._body.get("tool_choice") or {"type": "auto"}
        last = self._body["messages"][-1].get("content")
        answered = isinstance(last, list) and any(part.get("type") == "tool_result" for part in last)
        if not tools or choice.get("type") == "none" or answered:
            return
        if choice.get("type") == "tool":
            tools = [tool for tool in tools if tool["name"] == choice.get("name")]
        elif "parallel" not in content.text_of(last) or choice.get("disable_parallel_tool_use"):
            tools = tools[:1]
        for tool in tools:
            arguments = content.sample(tool["input_schema"], self._source)
            text = msgspec.json.encode(arguments).decode()
            name = self._source.name("toolu_sim")
            self._blocks.append({"type": "tool_use", "id": name, "name": tool["name"], "input": arguments})
            self._pieces.append([text[at : at + 12] for at in range(0, len(text), 12)])
            self._reason = "tool_use"

    def _frame(self, blocks: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
        document: dict[str, Any] = {
            "id": self._source.name("msg_sim"),
            "type": "message",
            "role": "assistant",
            "model": self._body["model"],
            "content": blocks,
            "stop_reason": self._reason if blocks else None,
            "stop_sequence": self._stop if blocks else None,
        }
        if usage:
            document["usage"] = usage
        return document

    def _usage(self, output: int) -> dict[str, Any]:
        prompt = _prompt(self._body)
        if self._behaviour.fault is Fault.NO_USAGE:
            return {}
        if self._behaviour.fault is Fault.WRONG_USAGE:
            prompt, output = -5, 10**15
        return {
            "input_tokens": prompt,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output,
            "service_tier": "standard",
        }

    def _output(self) -> int:
        return sum(map(len, self._pieces))

    def plan(self) -> Plan:
        """The answer, whole or streamed."""
        headers = [(b"request-id", _REQUEST_ID.encode())]
        if self._body.get("stream") is True:
            return streamed(self._behaviour, self._events(), headers)
        if self._behaviour.fault is Fault.ERROR_EVENT:
            return whole(self._behaviour, 200, _error(529, None), headers)
        return whole(self._behaviour, 200, self._frame(self._blocks, self._usage(self._output())), headers)

    def _events(self) -> Iterator[bytes]:
        yield _event({"type": "message_start", "message": self._frame([], self._usage(1))})
        for index, (block, pieces) in enumerate(zip(self._blocks, self._pieces, strict=True)):
            yield _event({"type": "content_block_start", "index": index, "content_block": _empty(block)})
            if index == 0:
                yield _event({"type": "ping"})
            for place, text in enumerate(pieces):
                if self._behaviour.fault is Fault.ERROR_EVENT and place == self._behaviour.after:
                    yield _event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
                    return
                yield _event({"type": "content_block_delta", "index": index, "delta": _delta(block, text)})
            while self._behaviour.fault is Fault.INFINITE and block["type"] == "text":
                yield _event({"type": "content_block_delta", "index": index, "delta": _delta(block, " simulated")})
            if block["type"] == "thinking":
                delta = {"type": "signature_delta", "signature": block["signature"]}
                yield _event({"type": "content_block_delta", "index": index, "delta": delta})
            yield _event({"type": "content_block_stop", "index": index})
        ended = {
            "type": "message_delta",
            "delta": {"stop_reason": self._reason, "stop_sequence": self._stop},
        }
        if self._behaviour.fault is not Fault.NO_USAGE:
            ended["usage"] = {"output_tokens": self._usage(self._output())["output_tokens"]}
        yield _event(ended)
        if self._behaviour.fault is not Fault.NO_END:
            yield _event({"type": "message_stop"})


def _event(document: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), msgspec.json.encode(document))


def _empty(block: dict[str, Any]) -> dict[str, Any]:
    """A block as it starts in a stream."""
    match block["type"]:
        case "text":
            return {"type": "text", "text": ""}
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case _:
            return {**block, "input": {}}


def _delta(block: dict[str, Any], text: str) -> dict[str, Any]:
    match block["type"]:
        case "text":
            return {"type": "text_delta", "text": text}
        case "thinking":
            return {"type": "thinking_delta", "thinking": text}
        case _:
            return {"type": "input_json_delta", "partial_json": text}
