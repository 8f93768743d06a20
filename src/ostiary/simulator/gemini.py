"""Google's bytes: content (plain, streamed as events or as an array), embeddings, token counting, models, and errors
in its exact form. Pure.

Written from the vendor's published reference, not from the gateway's dialect.
"""

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from ostiary.simulator import content
from ostiary.simulator.behaviour import Behaviour, Fault, Plan, Received, streamed, whole

MODELS: Final = ("sim-gemini", "sim-slow", "sim-embedding")
_VERBS: Final = frozenset(
    {"generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents", "predict"}
)
_ERRORS: Final = {
    400: ("INVALID_ARGUMENT", "The request is invalid (simulated)."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials (simulated)."),
    403: ("PERMISSION_DENIED", "The caller does not have permission (simulated)."),
    404: ("NOT_FOUND", "The model is not found (simulated)."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota (simulated)."),
    500: ("INTERNAL", "An internal error has occurred (simulated)."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later. (simulated)"),
    504: ("DEADLINE_EXCEEDED", "The deadline has passed (simulated)."),
}
_FREE: Final = frozenset(
    {"args", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "responseSchema"}
)
"""Members whose inside is the caller's."""
_TYPES: Final = ("", "string", "number", "integer", "boolean", "array", "object", "null")
_SNAKE: Final = re.compile(r"(?<=[a-z])_([a-z])")
_TYPE: Final = "type.googleapis.com/google.rpc."


def addressed(request: Received) -> bool:
    """Whether the request is one of this vendor's, by its path or its key."""
    return _verb(request.path) in _VERBS or bool(request.header(b"x-goog-api-key"))


def model_of(path: str) -> str:
    """The model named in a path, or the empty text."""
    return unquote(path.partition("?")[0].rpartition("/models/")[2].partition(":")[0])


def _verb(path: str) -> str:
    return path.partition("?")[0].rpartition("/")[2].rpartition(":")[2]


def answer(request: Received, behaviour: Behaviour) -> Plan:
    """The plan for one request. Never raises: what is wrong with the request becomes the vendor's error."""
    source = content.Source(behaviour.seed, request.body)
    query = parse_qs(request.path.partition("?")[2])
    key = request.header(b"x-goog-api-key") or request.header(b"authorization").removeprefix("Bearer ")
    if not key:
        return error(behaviour, 403, "Method doesn't allow unregistered callers (simulated).")
    if behaviour.status != 200:
        return error(
            behaviour,
            behaviour.status,
            f"API key not valid: {key}" if behaviour.fault is Fault.ECHO_KEY else None,
        )
    path = request.path.partition("?")[0]
    if request.method == "GET" and path.endswith("/models"):
        return whole(behaviour, 200, {"models": [_model(name) for name in MODELS]})
    if request.method == "GET" and "/models/" in path:
        return whole(behaviour, 200, _model(model_of(path)))
    try:
        body = _read(msgspec.json.decode(request.body))
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict):
        return error(behaviour, 400, "Invalid JSON payload received.")
    verb, model = _verb(path), model_of(path)
    if request.method != "POST" or verb not in _VERBS:
        return error(behaviour, 404, "Not found")
    if verb == "countTokens":
        return whole(behaviour, 200, {"totalTokens": _prompt(body.get("generateContentRequest") or body)})
    if verb == "embedContent":
        return whole(behaviour, 200, {"embedding": _vector(body, source)})
    if verb == "batchEmbedContents":
        return whole(behaviour, 200, {"embeddings": [_vector(item, source) for item in body["requests"]]})
    if verb == "predict":
        return whole(behaviour, 200, {"predictions": _predictions(body, source)})
    if not body.get("contents"):
        return error(behaviour, 400, "* GenerateContentRequest.contents: contents is not specified")
    told = _Content(body, model, behaviour, source)
    if verb == "generateContent":
        return told.plan()
    return told.stream(events=query.get("alt") == ["sse"])


def error(behaviour: Behaviour, status: int, message: str | None = None) -> Plan:
    """The vendor's error document with this status."""
    delay = behaviour.retry_after or ("1" if status == 429 else "")
    headers = [(b"retry-after", behaviour.retry_after.encode("latin-1"))] if behaviour.retry_after else []
    return whole(behaviour, status, _error(status, message, delay), headers)


def _error(status: int, message: str | None, delay: str = "") -> dict[str, Any]:
    word, text = _ERRORS.get(status, _ERRORS[500 if status >= 500 else 400])
    inner: dict[str, Any] = {"code": status, "message": message or text, "status": word}
    if delay:
        inner["details"] = [{"@type": _TYPE + "RetryInfo", "retryDelay": f"{delay}s"}]
    return {"error": inner}


def _model(name: str) -> dict[str, Any]:
    methods = ["embedContent"] if "embedding" in name else ["generateContent", "countTokens"]
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": f"{name} (simulated)",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": methods,
    }


def _prompt(body: dict[str, Any]) -> int:
    return sum(content.measure(body.get(name, [])) for name in ("systemInstruction", "contents", "tools"))


def _vector(body: dict[str, Any], source: content.Source) -> dict[str, Any]:
    content.text_of(body["content"]["parts"])
    return {"values": [source.below(2_001) / 1_000 - 1 for _ in range(body.get("outputDimensionality") or 8)]}


def _predictions(body: dict[str, Any], source: content.Source) -> list[dict[str, Any]]:
    """Vertex AI's vectors; `_read` has made its `task_type` camelCase, which is nothing to them."""
    size = (body.get("parameters") or {}).get("outputDimensionality") or 8
    return [
        {
            "embeddings": {
                "values": [source.below(2_001) / 1_000 - 1 for _ in range(size)],
                "statistics": {"token_count": content.measure(instance["content"]), "truncated": False},
            }
        }
        for instance in body["instances"]
    ]


class _Content:
    """One answer: the parts of each candidate are decided once, then told whole or streamed."""

    def __init__(self, body: dict[str, Any], model: str, behaviour: Behaviour, source: content.Source) -> None:
        self._body = body
        self._model = model
        self._behaviour = behaviour
        self._source = source
        self._config: dict[str, Any] = body.get("generationConfig") or {}
        self._id = source.name("sim", 20)
        self._thought = 0
        self._calls = self._function_calls()
        text = behaviour.text or self._structured()
        self._finish = "STOP"
        self._texts = [
            self._shortened(content.tokens(source, behaviour.tokens, text)) if not self._calls else []
            for _ in range(self._config.get("candidateCount") or 1)
        ]
        if behaviour.fault is Fault.FILTER:
            self._finish = "SAFETY"

    def _structured(self) -> str:
        """The answer in the form asked for, by either name that the vendor has given the schema."""
        if self._config.get("responseMimeType") != "application/json":
            return ""
        schema = self._config.get("responseJsonSchema") or _lower(self._config.get("responseSchema"))
        return msgspec.json.encode(content.sample(schema, self._source)).decode() if schema else '{"simulated":true}'

    def _function_calls(self) -> list[dict[str, Any]]:
        """A call after a user's text where functions are declared; of every one where the text says "parallel"."""
        functions = [item for tool in self._body.get("tools") or [] for item in tool.get("functionDeclarations") or []]
        calling = (self._body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        last = self._body["contents"][-1].get("parts") or []
        if not functions or calling.get("mode") == "NONE" or any("functionResponse" in part for part in last):
            return []
        names = calling.get("allowedFunctionNames")
        if names:
            functions = [function for function in functions if function["name"] in names]
        elif "parallel" not in content.text_of(last):
            functions = functions[:1]
        calls = []
        for place, function in enumerate(functions):
            schema = function.get("parametersJsonSchema") or _lower(function.get("parameters")) or {"type": "object"}
            call = {"name": function["name"], "args": content.sample(schema, self._source)}
            signed = {} if place else {"thoughtSignature": "U0lNVUxBVEVE"}
            calls.append({"functionCall": call, **signed})
        return calls

    def _shortened(self, pieces: list[str]) -> list[str]:
        ends = [end for stop in self._config.get("stopSequences") or [] if (end := "".join(pieces).find(stop)) >= 0]
        if ends:
            pieces = content.tokens(self._source, 0, "".join(pieces)[: min(ends)]) if min(ends) else []
        bound = self._config.get("maxOutputTokens")
        if isinstance(bound, int) and len(pieces) > bound:
            self._finish = "MAX_TOKENS"
            return pieces[:bound]
        return pieces

    def _thinking(self) -> list[str]:
        config = self._config.get("thinkingConfig") or {}
        if not config.get("includeThoughts"):
            return []
        pieces = content.tokens(self._source, 6, "This is simulated thinking, nothing more.")
        self._thought = len(pieces)
        return pieces

    def _document(self, candidates: list[dict[str, Any]]) -> dict[str, Any]:
        document: dict[str, Any] = {"candidates": candidates} if candidates else {}
        prompt = _prompt(self._body)
        output = sum(map(len, self._texts)) + content.measure(self._calls) if candidates else 0
        if self._behaviour.fault is Fault.WRONG_USAGE:
            prompt, output = -5, 10**15
        usage = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": output,
            "totalTokenCount": prompt + output + self._thought,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        }
        if self._thought:
            usage["thoughtsTokenCount"] = self._thought
        if self._behaviour.fault is not Fault.NO_USAGE:
            document["usageMetadata"] = usage
        return {**document, "modelVersion": self._model, "responseId": self._id}

    def _logprobs(self, pieces: list[str]) -> dict[str, Any]:
        if not self._config.get("responseLogprobs"):
            return {}
        chosen = [{"token": text, "logProbability": -self._source.below(1_000) / 1_000} for text in pieces]
        top = self._config.get("logprobs") or 0
        return {
            "logprobsResult": {
                "chosenCandidates": chosen,
                "topCandidates": [{"candidates": [one] * top} for one in chosen],
            }
        }

    def _blocked(self) -> dict[str, Any]:
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **self._document([])}

    def plan(self) -> Plan:
        """The whole answer."""
        if self._behaviour.fault is Fault.ERROR_EVENT:
            return whole(self._behaviour, 200, _error(503, None))
        if self._behaviour.fault is Fault.REFUSAL:
            return whole(self._behaviour, 200, self._blocked())
        thoughts = "".join(self._thinking())
        candidates = []
        for index, pieces in enumerate(self._texts):
            parts: list[dict[str, Any]] = [{"text": thoughts, "thought": True}] if thoughts else []
            parts += [{"text": "".join(pieces)}] if pieces else []
            candidates.append({**_candidate(index, parts + self._calls, self._finish), **self._logprobs(pieces)})
        return whole(self._behaviour, 200, self._document(candidates))

    def stream(self, *, events: bool) -> Plan:
        """The answer in chunks, as events or as one array."""
        if events:
            return streamed(self._behaviour, (b"data: %b\r\n\r\n" % chunk for chunk in self._chunks()))
        plan = streamed(self._behaviour, self._array())
        return msgspec.structs.replace(plan, headers=((b"content-type", b"application/json"), *plan.headers[1:]))

    def _array(self) -> Iterator[bytes]:
        before = b"["
        for chunk in self._chunks():
            yield before + chunk
            before = b",\r\n"
        yield b"]"

    def _chunks(self) -> Iterator[bytes]:
        if self._behaviour.fault is Fault.REFUSAL:
            yield msgspec.json.encode(self._blocked())
            return

        def chunk(index: int, part: dict[str, Any], finish: str = "") -> bytes:
            return msgspec.json.encode(self._document([_candidate(index, [part], finish)]))

        thoughts = self._thinking()
        for index, pieces in enumerate(self._texts):
            for text in thoughts:
                yield chunk(index, {"text": text, "thought": True})
            for place, text in enumerate(pieces):
                if self._behaviour.fault is Fault.ERROR_EVENT and place == self._behaviour.after:
                    yield msgspec.json.encode(_error(503, None))
                    return
                said = {**_candidate(index, [{"text": text}], ""), **self._logprobs([text])}
                yield msgspec.json.encode(self._document([said]))
            while self._behaviour.fault is Fault.INFINITE:
                yield chunk(index, {"text": " simulated"})
            for call in self._calls:
                yield chunk(index, call)
            if self._behaviour.fault is not Fault.NO_END:
                yield chunk(index, {"text": ""}, self._finish)


def _candidate(index: int, parts: list[dict[str, Any]], finish: str) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
    return {**candidate, "finishReason": finish} if finish else candidate


def _read(value: Any) -> Any:
    """Members by their names in camelCase; the vendor takes them in snake_case too, and its own SDKs send some so."""
    if isinstance(value, list):
        return [_read(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {_SNAKE.sub(lambda found: found[1].upper(), name): item for name, item in value.items()}
    return {name: item if name in _FREE else _read(item) for name, item in named.items()}


def _lower(schema: Any) -> Any:
    """The vendor's own form of a schema with its types, which may be numbers, as JSON Schema names them."""
    if isinstance(schema, list):
        return [_lower(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    lowered = {key: _lower(value) for key, value in schema.items()}
    kind = schema.get("type")
    if isinstance(kind, str):
        lowered["type"] = kind.lower()
    elif isinstance(kind, int):
        lowered["type"] = _TYPES[kind]
    return lowered
