"""OpenAI's bytes for responses: plain and streamed, and the count of input tokens. Pure.

Written from the vendor's published reference, not from the gateway's dialect. Errors are those of its other paths.
A model whose reasoning is asked for reasons: its summary is told where one is asked for, and what it encrypted where
that is included.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ostiary.simulator import content, openai
from ostiary.simulator.behaviour import Behaviour, Fault, Plan, Received, streamed, whole

_CREATED: Final = 1_741_476_542
_THOUGHT: Final = ("Simulated", " reasoning.")
_PIECE: Final = 12


def answer(request: Received, behaviour: Behaviour) -> Plan:
    """The plan for one request. What is wrong with the request becomes the vendor's error."""
    refused = openai.refusal(request, behaviour)
    if refused is not None:
        return refused
    try:
        body = msgspec.json.decode(request.body)
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict):
        return openai.error(behaviour, 400, message="We could not parse the JSON body of your request.")
    if not isinstance(body.get("model"), str):
        return openai.error(behaviour, 400, message="Missing required parameter: 'model'.", param="model")
    if not isinstance(body.get("input"), str | list) or not body["input"]:
        return openai.error(behaviour, 400, message="Missing required parameter: 'input'.", param="input")
    if request.path.partition("?")[0].endswith("/input_tokens"):
        return whole(behaviour, 200, {"object": "response.input_tokens", "input_tokens": _measure(body)})
    return _Response(body, behaviour, content.Source(behaviour.seed, request.body)).plan()


def _measure(body: dict[str, Any]) -> int:
    return sum(content.measure(body.get(key, "")) for key in ("instructions", "input", "tools"))


class _Response:
    """One response: its items are decided once, then told whole or streamed."""

    def __init__(self, body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> None:
        self._body = body
        self._behaviour = behaviour
        self._source = source
        self._id = source.name("resp_sim")
        self._number = 0
        self._incomplete = ""
        self._pieces: list[str] = []
        self._items = [*self._reasoning(), *(self._calls() or [self._message()])]
        if behaviour.fault is Fault.FILTER:
            self._incomplete = "content_filter"

    def _reasoning(self) -> list[dict[str, Any]]:
        asked = self._body.get("reasoning")
        if not isinstance(asked, dict) or asked.get("effort") == "none":
            return []
        summary = [{"type": "summary_text", "text": "".join(_THOUGHT)}] if asked.get("summary") else []
        item = {"id": self._source.name("rs_sim"), "type": "reasoning", "summary": summary}
        if "reasoning.encrypted_content" in (self._body.get("include") or []):
            item["encrypted_content"] = self._source.name("gAAAA", 40)
        return [item]

    def _calls(self) -> list[dict[str, Any]]:
        """A call after a user's message where functions are offered; of every one where the text says "parallel"."""
        tools = [tool for tool in self._body.get("tools") or [] if tool.get("type") == "function"]
        choice = self._body.get("tool_choice", "auto")
        given = self._body["input"]
        last = given[-1] if isinstance(given, list) else {"content": given}
        if not tools or choice == "none" or last.get("type", "message") != "message":
            return []
        if isinstance(choice, dict):
            tools = [tool for tool in tools if tool["name"] == choice.get("name")]
        elif "parallel" not in content.text_of(last.get("content")) or self._body.get("parallel_tool_calls") is False:
            tools = tools[:1]
        return [
            {
                "id": self._source.name("fc_sim"),
                "type": "function_call",
                "status": "completed",
                "call_id": self._source.name("call_sim"),
                "name": tool["name"],
                "arguments": msgspec.json.encode(content.sample(tool.get("parameters"), self._source)).decode(),
            }
            for tool in tools
        ]

    def _message(self) -> dict[str, Any]:
        refused = self._behaviour.fault is Fault.REFUSAL
        text = "This is a simulated refusal." if refused else self._behaviour.text or self._structured()
        pieces = content.tokens(self._source, self._behaviour.tokens, text)
        bound = self._body.get("max_output_tokens")
        if isinstance(bound, int) and len(pieces) > bound:
            pieces, self._incomplete = pieces[:bound], "max_output_tokens"
        self._pieces = pieces
        part: dict[str, Any] = {"type": "refusal", "refusal": "".join(pieces)}
        if not refused:
            part = {
                "type": "output_text",
                "text": "".join(pieces),
                "annotations": [],
                "logprobs": [entry for piece in pieces for entry in self._logprobs(piece)],
            }
        return {
            "id": self._source.name("msg_sim"),
            "type": "message",
            "status": "incomplete" if self._incomplete else "completed",
            "role": "assistant",
            "content": [part],
        }

    def _structured(self) -> str:
        text = self._body.get("text")
        asked = text.get("format") if isinstance(text, dict) else None
        if not isinstance(asked, dict):
            return ""
        if asked.get("type") == "json_object":
            return '{"simulated":true}'
        if asked.get("type") == "json_schema":
            return msgspec.json.encode(content.sample(asked.get("schema", {}), self._source)).decode()
        return ""

    def _logprobs(self, piece: str) -> list[dict[str, Any]]:
        if "message.output_text.logprobs" not in (self._body.get("include") or []):
            return []
        entry = {"token": piece, "logprob": -(len(piece) % 10) / 10, "bytes": list(piece.encode())}
        return [{**entry, "top_logprobs": [entry] * (self._body.get("top_logprobs") or 0)}]

    def _usage(self) -> dict[str, Any]:
        given, reasoned = _measure(self._body), 2 if self._items[0]["type"] == "reasoning" else 0
        produced = reasoned + len(self._pieces)
        produced += sum(content.measure(item) for item in self._items if item["type"] == "function_call")
        if self._behaviour.fault is Fault.WRONG_USAGE:
            given, produced = -5, 10**15
        return {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": produced,
            "output_tokens_details": {"reasoning_tokens": reasoned},
            "total_tokens": given + produced,
        }

    def _document(self, status: str) -> dict[str, Any]:
        """The response; what it repeats of the request it was sent."""
        ended = status != "in_progress"
        repeated: dict[str, Any] = {
            "instructions": None,
            "max_output_tokens": None,
            "parallel_tool_calls": True,
            "reasoning": {"effort": None, "summary": None},
            "store": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "metadata": {},
            "user": None,
        }
        document = {
            "id": self._id,
            "object": "response",
            "created_at": _CREATED,
            "status": status,
            "error": {"code": "server_error", "message": "simulated"} if status == "failed" else None,
            "incomplete_details": {"reason": self._incomplete} if status == "incomplete" else None,
            "model": self._body["model"],
            "output": self._items if ended and status != "failed" else [],
            "previous_response_id": None,
            "service_tier": "default" if ended else "auto",
            "usage": None,
            **{key: self._body.get(key, usual) for key, usual in repeated.items()},
        }
        if ended and status != "failed" and self._behaviour.fault is not Fault.NO_USAGE:
            document["usage"] = self._usage()
        return document

    def plan(self) -> Plan:
        """The answer, whole or streamed."""
        if self._body.get("stream") is True:
            return streamed(self._behaviour, self._events())
        if self._behaviour.fault is Fault.ERROR_EVENT:
            return whole(self._behaviour, 200, self._document("failed"))
        status = "incomplete" if self._incomplete else "completed"
        return whole(self._behaviour, 200, self._document(status), [(b"x-request-id", b"req_sim")])

    def _event(self, kind: str, **members: Any) -> bytes:
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **members})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def _events(self) -> Iterator[bytes]:
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response=self._document("in_progress"))
        for index, item in enumerate(self._items):
            at = {"item_id": item["id"], "output_index": index}
            tell = {"reasoning": self._reasoning_events, "message": self._message_events}.get(item["type"])
            if tell is None:
                yield from self._call_events(item, at)
            else:
                yield from tell(item, at)
            if self._behaviour.fault is Fault.ERROR_EVENT:
                yield self._event("error", code="server_error", message="simulated", param=None)
                return
            yield self._event("response.output_item.done", output_index=index, item=item)
        if self._behaviour.fault is not Fault.NO_END:
            status = "incomplete" if self._incomplete else "completed"
            yield self._event(f"response.{status}", response=self._document(status))

    def _reasoning_events(self, item: dict[str, Any], at: dict[str, Any]) -> Iterator[bytes]:
        begun = {"id": item["id"], "type": "reasoning", "summary": []}
        yield self._event("response.output_item.added", output_index=at["output_index"], item=begun)
        for part in item["summary"]:
            kind, place = "response.reasoning_summary", {**at, "summary_index": 0}
            yield self._event(f"{kind}_part.added", **place, part={**part, "text": ""})
            for piece in _THOUGHT:
                yield self._event(f"{kind}_text.delta", **place, delta=piece)
            yield self._event(f"{kind}_text.done", **place, text=part["text"])
            yield self._event(f"{kind}_part.done", **place, part=part)

    def _message_events(self, item: dict[str, Any], at: dict[str, Any]) -> Iterator[bytes]:
        (part,) = item["content"]
        key = "refusal" if part["type"] == "refusal" else "text"
        kind = "response.refusal" if key == "refusal" else "response.output_text"
        begun = {**item, "status": "in_progress", "content": []}
        yield self._event("response.output_item.added", output_index=at["output_index"], item=begun)
        place = {**at, "content_index": 0}
        empty = {**part, key: ""} if key == "refusal" else {**part, key: "", "logprobs": []}
        yield self._event("response.content_part.added", **place, part=empty)
        for count, piece in enumerate(self._pieces):
            if self._behaviour.fault is Fault.ERROR_EVENT and count == self._behaviour.after:
                return
            told = {} if key == "refusal" else {"logprobs": self._logprobs(piece)}
            yield self._event(f"{kind}.delta", **place, delta=piece, **told)
        while self._behaviour.fault is Fault.INFINITE:
            yield self._event(f"{kind}.delta", **place, delta=" simulated", logprobs=[])
        told = {} if key == "refusal" else {"logprobs": part["logprobs"]}
        yield self._event(f"{kind}.done", **place, **{key: part[key]}, **told)
        yield self._event("response.content_part.done", **place, part=part)

    def _call_events(self, item: dict[str, Any], at: dict[str, Any]) -> Iterator[bytes]:
        begun = {**item, "status": "in_progress", "arguments": ""}
        yield self._event("response.output_item.added", output_index=at["output_index"], item=begun)
        arguments = item["arguments"]
        for start in range(0, len(arguments), _PIECE):
            yield self._event("response.function_call_arguments.delta", **at, delta=arguments[start : start + _PIECE])
        yield self._event("response.function_call_arguments.done", **at, name=item["name"], arguments=arguments)
