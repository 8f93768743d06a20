"""From a request to a plan: which behaviour holds, and which dialect answers. Pure but for a test's programme."""

from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from ostiary.simulator import anthropic, openai
from ostiary.simulator.behaviour import (
    Behaviour,
    Plan,
    Received,
    UnknownBehaviourError,
    of_header,
    of_model,
    spoiled,
)

Script = Iterable[Behaviour] | Callable[[Received], Behaviour | None]
"""What a test wants: behaviours for the next requests in turn, or a choice for each (None: as usual)."""


class _Named(msgspec.Struct):
    model: str = ""


class Provider:
    """Answers for both vendors at once: paths and headers tell them apart."""

    def __init__(self, behaviour: Behaviour | None = None, script: Script = ()) -> None:
        self._default = behaviour or Behaviour()
        self._choose = script if callable(script) else None
        self._queue: deque[Behaviour] = deque() if callable(script) else deque(script)

    def then(self, *behaviours: Behaviour) -> None:
        """Programme the next requests, after those programmed before."""
        self._queue.extend(behaviours)

    def plan(self, request: Received) -> Plan:
        """How this request is answered. Takes one behaviour off the programme."""
        messages = bool(request.header(b"anthropic-version")) or "/messages" in request.path
        refuse: Callable[..., Plan] = anthropic.error if messages else openai.error
        try:
            behaviour = self._behaviour(request)
            answered = anthropic.answer(request, behaviour) if messages else openai.answer(request, behaviour)
        except UnknownBehaviourError as problem:
            return refuse(self._default, 400, message=str(problem))
        except (AttributeError, KeyError, TypeError):  # JSON of another shape than any real request has
            return refuse(self._default, 400, message="The request is invalid (simulated).")
        return spoiled(answered, behaviour)

    def _behaviour(self, request: Received) -> Behaviour:
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
        return of_model(named) or self._default
