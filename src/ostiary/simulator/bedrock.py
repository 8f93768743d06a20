"""Amazon Bedrock's bytes: Converse plain and streamed, token counting, embeddings, and errors in its exact form. Pure.

Written from the vendor's published reference, not from the gateway's dialect.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from ostiary.simulator import content
from ostiary.simulator.behaviour import Behaviour, Fault, Header, Plan, Received, streamed, whole

_REQUEST_ID: Final[Header] = (b"x-amzn-requestid", b"simulated")
_MEDIA: Final = b"application/vnd.amazon.eventstream"
_ERRORS: Final = {
    400: ("ValidationException", "The request is invalid (simulated)."),
    403: ("AccessDeniedException", "You don't have access to the model (simulated)."),
    404: ("ResourceNotFoundException", "Could not resolve the model (simulated)."),
    408: ("ModelTimeoutException", "The model took too long (simulated)."),
    424: ("ModelErrorException", "The model failed (simulated)."),
    429: ("ThrottlingException", "Too many requests (simulated)."),
    500: ("InternalServerException", "Internal server error (simulated)."),
    503: ("ServiceUnavailableException", "Service unavailable (simulated)."),
}


def model_of(path: str) -> str:
    """The model a path names; empty where it is no path of this vendor."""
    parts = path.partition("?")[0].split("/")
    return unquote(parts[-2]) if len(parts) >= 4 and parts[-3] == "model" else ""


def answer(request: Received, behaviour: Behaviour) -> Plan:
    """The plan for one request. Never raises for JSON of the usual shapes: what is wrong becomes the vendor's error."""
    source = content.Source(behaviour.seed, request.body)
    key = request.header(b"authorization")
    if not key.startswith(("AWS4-HMAC-SHA256 Credential=", "Bearer ")):
        return error(behaviour, 403, "Missing Authentication Token")
    if behaviour.status != 200:
        echoed = f"The credential {key} is not valid." if behaviour.fault is Fault.ECHO_KEY else None
        return error(behaviour, behaviour.status, echoed)
    try:
        body = msgspec.json.decode(request.body)
    except msgspec.DecodeError:
        body = None
    if request.method != "POST" or not isinstance(body, dict):
        return error(behaviour, 400, "The request body is not valid JSON (simulated).")
    verb = request.path.partition("?")[0].rsplit("/", 1)[-1]
    if verb == "count-tokens":
        return whole(behaviour, 200, {"inputTokens": content.measure(body["input"])}, [_REQUEST_ID])
    if verb == "invoke":
        return _embeddings(body, behaviour, source)
    if verb not in ("converse", "converse-stream"):
        return error(behaviour, 404)
    if not body.get("messages"):
        return error(behaviour, 400, "The field messages is required (simulated).")
    return _Conversation(body, behaviour, source).plan(stream=verb == "converse-stream")


def error(behaviour: Behaviour, status: int, message: str | None = None) -> Plan:
    """The vendor's error document with this status, its name in a header."""
    name, text = _ERRORS.get(status, _ERRORS[500 if status >= 500 else 400])
    headers: list[Header] = [_REQUEST_ID, (b"x-amzn-errortype", name.encode())]
    if behaviour.retry_after:
        headers.append((b"retry-after", behaviour.retry_after.encode("latin-1")))
    return whole(behaviour, status, {"message": message or text}, headers)


def _embeddings(body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> Plan:
    if "inputText" in body:
        vector = _vector(source, body.get("dimensions") or 8)
        told: dict[str, Any] = {"embedding": vector, "inputTextTokenCount": content.measure(body["inputText"])}
    else:
        size = body.get("output_dimension") or 8
        told = {"embeddings": {"float": [_vector(source, size) for _ in body["texts"]]}, "id": "simulated"}
    return whole(behaviour, 200, told, [_REQUEST_ID])


def _vector(source: content.Source, size: int) -> list[float]:
    return [source.below(2_000) / 1_000 - 1 for _ in range(size)]


class _Conversation:
    """One answer: its blocks are decided once, then told whole or streamed."""

    def __init__(self, body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> None:
        self._body = body
        self._behaviour = behaviour
        self._source = source
        self._reason = "end_turn"
        self._blocks: list[tuple[dict[str, Any], list[str]]] = []
        refused = behaviour.fault in (Fault.REFUSAL, Fault.FILTER)
        text = "This is a simulated refusal." if refused else behaviour.text or self._structured()
        self._speak(content.tokens(source, behaviour.tokens, text))
        if refused:
            self._reason = "guardrail_intervened"
        elif self._reason == "end_turn":
            self._call()

    def _structured(self) -> str:
        form = (self._body.get("outputConfig") or {}).get("textFormat")
        if not form:
            return ""
        schema = msgspec.json.decode(form["structure"]["jsonSchema"]["schema"])
        return msgspec.json.encode(content.sample(schema, self._source)).decode()

    def _speak(self, pieces: list[str]) -> None:
        inference = self._body.get("inferenceConfig") or {}
        text = "".join(pieces)
        found = [end for stop in inference.get("stopSequences") or [] if (end := text.find(stop)) >= 0]
        if found:
            pieces = content.tokens(self._source, 0, text[: min(found)]) if min(found) else []
            self._reason = "stop_sequence"
        bound = inference.get("maxTokens")
        if bound is not None and len(pieces) > bound:
            pieces = pieces[:bound]
            self._reason = "max_tokens"
        self._blocks.append(({"text": "".join(pieces)}, pieces))

    def _call(self) -> None:
        """A call after a user's text where tools are offered; of every tool where the text says "parallel"."""
        config = self._body.get("toolConfig") or {}
        tools = [tool["toolSpec"] for tool in config.get("tools") or [] if "toolSpec" in tool]
        last = self._body["messages"][-1]["content"]
        if not tools or any("toolResult" in block for block in last):
            return
        named = (config.get("toolChoice") or {}).get("tool")
        if named:
            tools = [tool for tool in tools if tool["name"] == named["name"]]
        elif "parallel" not in " ".join(block.get("text", "") for block in last):
            tools = tools[:1]
        for tool in tools:
            arguments = content.sample(tool["inputSchema"]["json"], self._source)
            text = msgspec.json.encode(arguments).decode()
            use = {"toolUseId": self._source.name("tooluse_sim", 22), "name": tool["name"], "input": arguments}
            self._blocks.append(({"toolUse": use}, [text[at : at + 12] for at in range(0, len(text), 12)]))
            self._reason = "tool_use"

    def _usage(self) -> dict[str, Any]:
        sent = sum(content.measure(self._body.get(name, [])) for name in ("system", "messages", "toolConfig"))
        output = sum(len(pieces) for _, pieces in self._blocks)
        if self._behaviour.fault is Fault.NO_USAGE:
            return {}
        if self._behaviour.fault is Fault.WRONG_USAGE:
            sent, output = -5, 10**15
        return {"usage": {"inputTokens": sent, "outputTokens": output, "totalTokens": sent + output}}

    def plan(self, *, stream: bool) -> Plan:
        """The answer, whole or streamed."""
        if stream:
            return streamed(self._behaviour, self._events(), [_REQUEST_ID], media=_MEDIA)
        message = {"role": "assistant", "content": [block for block, _ in self._blocks]}
        document = {"output": {"message": message}, "stopReason": self._reason, "metrics": {"latencyMs": 1}}
        return whole(self._behaviour, 200, document | self._usage(), [_REQUEST_ID])

    def _events(self) -> Iterator[bytes]:
        yield _event("messageStart", {"role": "assistant"})
        for index, (block, pieces) in enumerate(self._blocks):
            tool = block.get("toolUse")
            if tool is not None:
                start = {"toolUse": {"toolUseId": tool["toolUseId"], "name": tool["name"]}}
                yield _event("contentBlockStart", {"contentBlockIndex": index, "start": start})
            for place, text in enumerate(pieces):
                if self._behaviour.fault is Fault.ERROR_EVENT and place == self._behaviour.after:
                    yield _event("throttlingException", {"message": "Too many requests (simulated)."})
                    return
                yield _delta(index, text, tool=tool is not None)
            while self._behaviour.fault is Fault.INFINITE and tool is None:
                yield _delta(index, " simulated", tool=False)
            yield _event("contentBlockStop", {"contentBlockIndex": index})
        if self._behaviour.fault is Fault.NO_END:
            return
        yield _event("messageStop", {"stopReason": self._reason})
        yield _event("metadata", {"metrics": {"latencyMs": 1}} | self._usage())


def _delta(index: int, text: str, *, tool: bool) -> bytes:
    delta = {"toolUse": {"input": text}} if tool else {"text": text}
    return _event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})


def _event(name: str, document: dict[str, Any]) -> bytes:
    """One message of the event stream: lengths, their checksum, headers, payload, checksum of it all."""
    kind = "exception" if name.endswith("Exception") else "event"
    named = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    head = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in named.items()
    )
    payload = msgspec.json.encode(document)
    prelude = struct.pack(">II", len(head) + len(payload) + 16, len(head))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return body + struct.pack(">I", zlib.crc32(body))
