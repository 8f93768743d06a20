"""Cohere's bytes: chat plain and streamed, embeddings, and errors in its exact form, of its second version. Pure.

Written from the vendor's published reference, not from the gateway's dialect.
"""

import base64
import struct
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ostiary.simulator import content
from ostiary.simulator.behaviour import Behaviour, Fault, Header, Plan, Received, streamed, whole

_ERRORS: Final = {
    400: "invalid request (simulated)",
    401: "invalid api token",
    403: "permission denied (simulated)",
    404: "model not found (simulated)",
    422: "unprocessable entity (simulated)",
    429: "You are past the per minute request limit (simulated).",
    500: "internal server error",
    503: "service unavailable (simulated)",
    504: "gateway timeout (simulated)",
}


def answer(request: Received, behaviour: Behaviour) -> Plan:
    """The plan for one request. Never raises for JSON of the usual shapes: what is wrong becomes the vendor's error."""
    source = content.Source(behaviour.seed, request.body)
    key = request.header(b"authorization").removeprefix("Bearer ")
    if not key:
        return error(behaviour, 401, "no api key supplied")
    if behaviour.status != 200:
        echoed = f"invalid api token: {key}" if behaviour.fault is Fault.ECHO_KEY else None
        return error(behaviour, behaviour.status, echoed)
    try:
        body = msgspec.json.decode(request.body)
    except msgspec.DecodeError:
        body = None
    if request.method != "POST" or not isinstance(body, dict):
        return error(behaviour, 400, "invalid json syntax")
    path = request.path.partition("?")[0]
    if path.endswith("/v2/embed"):
        return _embeddings(body, behaviour, source)
    if not path.endswith("/v2/chat"):
        return error(behaviour, 404)
    for name in ("model", "messages"):
        if not body.get(name):
            return error(behaviour, 400, f"invalid request: {name} is required")
    return _Chat(body, behaviour, source).plan()


def error(behaviour: Behaviour, status: int, message: str | None = None) -> Plan:
    """The vendor's error document with this status."""
    headers: list[Header] = []
    if status == 429 or behaviour.retry_after:
        headers.append((b"retry-after", (behaviour.retry_after or "1").encode("latin-1")))
    text = message or _ERRORS.get(status, _ERRORS[500 if status >= 500 else 400])
    return whole(behaviour, status, {"id": "simulated", "message": text}, headers)


def _embeddings(body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> Plan:
    if not body.get("input_type"):
        return error(behaviour, 400, "invalid request: valid input_type must be provided")
    size = body.get("output_dimension") or 8
    vectors = [[source.below(2_000) / 1_000 - 1 for _ in range(size)] for _ in body["texts"]]
    told: dict[str, Any] = {}
    for kind in body.get("embedding_types") or ["float"]:
        if kind == "base64":
            told[kind] = [base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() for vector in vectors]
        else:
            told[kind] = vectors
    billed = {"billed_units": {"input_tokens": content.measure(body["texts"])}}
    document = {"id": "simulated", "embeddings": told, "texts": body["texts"], "meta": billed}
    return whole(behaviour, 200, document)


class _Chat:
    """One answer: its text and calls are decided once, then told whole or streamed."""

    def __init__(self, body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> None:
        self._body = body
        self._behaviour = behaviour
        self._source = source
        self._reason = "COMPLETE"
        self._calls: list[dict[str, Any]] = []
        refused = behaviour.fault in (Fault.REFUSAL, Fault.FILTER)
        text = "This is a simulated refusal." if refused else behaviour.text or self._structured()
        self._pieces = self._bounded(content.tokens(source, behaviour.tokens, text))
        if not refused and self._reason == "COMPLETE":
            self._call()

    def _structured(self) -> str:
        form = self._body.get("response_format") or {}
        if form.get("type") != "json_object":
            return ""
        return msgspec.json.encode(content.sample(form.get("json_schema") or {"type": "object"}, self._source)).decode()

    def _bounded(self, pieces: list[str]) -> list[str]:
        text = "".join(pieces)
        found = [end for stop in self._body.get("stop_sequences") or [] if (end := text.find(stop)) >= 0]
        if found:
            self._reason = "STOP_SEQUENCE"
            pieces = content.tokens(self._source, 0, text[: min(found)]) if min(found) else []
        bound = self._body.get("max_tokens")
        if bound is not None and len(pieces) > bound:
            self._reason = "MAX_TOKENS"
            pieces = pieces[:bound]
        return pieces

    def _call(self) -> None:
        """A call after a user's text where tools are offered; of every tool where the text says "parallel"."""
        tools = self._body.get("tools") or []
        last = self._body["messages"][-1]
        if not tools or self._body.get("tool_choice") == "NONE" or last["role"] == "tool":
            return
        if "parallel" not in content.text_of(last.get("content")):
            tools = tools[:1]
        for tool in tools:
            function = tool["function"]
            arguments = msgspec.json.encode(content.sample(function["parameters"], self._source)).decode()
            told = {"name": function["name"], "arguments": arguments}
            self._calls.append({"id": self._source.name("sim_", 12), "type": "function", "function": told})
            self._reason = "TOOL_CALL"

    def _usage(self) -> dict[str, Any]:
        sent, output = content.measure(self._body["messages"]), len(self._pieces) + 5 * len(self._calls)
        if self._behaviour.fault is Fault.NO_USAGE:
            return {}
        if self._behaviour.fault is Fault.WRONG_USAGE:
            sent, output = -5, 10**15
        billed = {"input_tokens": sent, "output_tokens": output}
        return {"usage": {"billed_units": billed, "tokens": {"input_tokens": sent + 60, "output_tokens": output + 2}}}

    def plan(self) -> Plan:
        """The answer, whole or streamed."""
        if self._body.get("stream") is True:
            return streamed(self._behaviour, self._events())
        if self._behaviour.fault is Fault.ERROR_EVENT:
            return whole(self._behaviour, 200, {"id": "simulated", "message": "internal server error"})
        message: dict[str, Any] = {"role": "assistant"}
        if self._calls:
            message |= {"tool_plan": "".join(self._pieces), "tool_calls": self._calls}
        else:
            message["content"] = [{"type": "text", "text": "".join(self._pieces)}]
        document = {"id": self._source.name("sim-"), "finish_reason": self._reason, "message": message}
        return whole(self._behaviour, 200, document | self._usage())

    def _events(self) -> Iterator[bytes]:
        empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        yield _event("message-start", id=self._source.name("sim-"), delta={"message": empty})
        if not self._calls:
            yield _event("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}})
        for place, text in enumerate(self._pieces):
            if self._behaviour.fault is Fault.ERROR_EVENT and place == self._behaviour.after:
                yield _event("message-end", delta={"finish_reason": "ERROR", "error": "internal server error"})
                return
            yield self._piece(text)
        while self._behaviour.fault is Fault.INFINITE:
            yield self._piece(" simulated")
        if not self._calls:
            yield _event("content-end", index=0)
        for index, call in enumerate(self._calls):
            started = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
            yield _event("tool-call-start", index=index, delta={"message": {"tool_calls": started}})
            text = call["function"]["arguments"]
            for at in range(0, len(text), 12):
                piece = {"function": {"arguments": text[at : at + 12]}}
                yield _event("tool-call-delta", index=index, delta={"message": {"tool_calls": piece}})
            yield _event("tool-call-end", index=index)
        if self._behaviour.fault is not Fault.NO_END:
            yield _event("message-end", delta={"finish_reason": self._reason} | self._usage())

    def _piece(self, text: str) -> bytes:
        if self._calls:
            return _event("tool-plan-delta", delta={"message": {"tool_plan": text}})
        return _event("content-delta", index=0, delta={"message": {"content": {"text": text}}})


def _event(kind: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **members}))
