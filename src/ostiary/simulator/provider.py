"""From a request to a plan: which behaviour holds, and which dialect answers. Pure but for a test's programme."""

from collections import deque
from collections.abc import Callable, Iterable
from urllib.parse import parse_qs

import msgspec

from ostiary.simulator import anthropic, bedrock, cohere, gemini, media, openai, responses
from ostiary.simulator.behaviour import (
    Behaviour,
    Ending,
    Fault,
    Plan,
    Received,
    UnknownBehaviourError,
    of_header,
    of_model,
    spoiled,
)
from ostiary.simulator.realtime import RealtimeSession

Script = Iterable[Behaviour] | Callable[[Received], Behaviour | None]
"""What a test wants: behaviours for the next requests in turn, or a choice for each (None: as usual)."""


class _Named(msgspec.Struct):
    model: str = ""


class Provider:
    """Answers for all vendors at once: paths and headers tell them apart."""

    def __init__(self, behaviour: Behaviour | None = None, script: Script = ()) -> None:
        self._default = behaviour or Behaviour()
        self._choose = script if callable(script) else None
        self._queue: deque[Behaviour] = deque() if callable(script) else deque(script)

    def then(self, *behaviours: Behaviour) -> None:
        """Programme the next requests, after those programmed before."""
        self._queue.extend(behaviours)

    def plan(self, request: Received) -> Plan:
        """How this request is answered. Takes one behaviour off the programme."""
        answer, refuse = _vendor(request)
        try:
            behaviour = self._behaviour(request)
            answered = answer(request, behaviour)
        except UnknownBehaviourError as problem:
            return refuse(self._default, 400, message=str(problem))
        except (AttributeError, KeyError, TypeError):  # JSON of another shape than any real request has
            return refuse(self._default, 400, message="The request is invalid (simulated).")
        return spoiled(answered, behaviour)

    def session(self, request: Received) -> RealtimeSession | Plan:
        """The session that a request for a WebSocket opens, or how it is refused. Takes one behaviour off the
        programme."""
        path, _, query = request.path.partition("?")
        asked = parse_qs(query)
        model = (asked.get("model") or asked.get("deployment") or [""])[0]
        try:
            behaviour = self._behaviour(request, model)
        except UnknownBehaviourError as problem:
            return openai.error(self._default, 400, message=str(problem))
        key = request.header(b"api-key")
        if key:
            request = msgspec.structs.replace(
                request, headers=((b"authorization", b"Bearer " + key.encode()), *request.headers)
            )
        refused = openai.refusal(request, behaviour)
        if refused is None and (not path.endswith("/realtime") or not model):
            refused = openai.error(behaviour, 404, message=f"Invalid URL ({request.method} {path})", code=None)
        if refused is None and behaviour.fault is Fault.HANG:
            return Plan(0, (), (), ending=Ending.STALL)
        if refused is None and behaviour.fault is Fault.CONTENT_TYPE:
            refused = openai.answer(request, behaviour)
        return refused or RealtimeSession(model, behaviour, request.header(b"authorization")[7:])

    def _behaviour(self, request: Received, model: str = "") -> Behaviour:
        if self._queue:
            return self._queue.popleft()
        chosen = self._choose(request) if self._choose is not None else None
        if chosen is not None:
            return chosen
        asked = request.header(b"x-simulate")
        if asked:
            return of_header(asked)
        try:
            named = msgspec.json.decode(request.body, type=_Named).model if request.body else ""
        except msgspec.DecodeError:
            named = ""
        asked = model or media.model_of(request) or bedrock.model_of(request.path) or gemini.model_of(request.path)
        return of_model(named or asked) or self._default


def _vendor(request: Received) -> tuple[Callable[[Received, Behaviour], Plan], Callable[..., Plan]]:
    """Who answers a request, and who refuses it."""
    if gemini.addressed(request):
        return gemini.answer, gemini.error
    if bedrock.model_of(request.path):
        return bedrock.answer, bedrock.error
    if "/v2/chat" in request.path or "/v2/embed" in request.path:
        return cohere.answer, cohere.error
    if request.header(b"anthropic-version") or "/messages" in request.path:
        return anthropic.answer, anthropic.error
    if request.method == "POST" and request.path.partition("?")[0].endswith(("/responses", "/responses/input_tokens")):
        return responses.answer, openai.error
    if media.served(request):
        return media.answer, openai.error
    return openai.answer, openai.error
