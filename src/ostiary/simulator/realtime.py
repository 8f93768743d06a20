"""OpenAI's realtime API as a server speaks it: events in, events out, always the same for the same seed and events. Pure.

Written from the vendor's published reference, not from the gateway's reading of it. With turn detection on (the vendor's
default) a piece of sound of at least SENTENCE_CHARS is taken for a sentence and answered unasked.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ostiary.simulator import content
from ostiary.simulator.behaviour import Behaviour, Fault

SENTENCE_CHARS: Final = 6_400
"""Base64 characters of sound that are heard as a sentence."""

_SOUND: Final = "c2ltdWxhdGVkc291bmQh"
_SOUND_TOKENS: Final = 2
_DEFAULT_TRANSCRIPT: Final = "This was heard (simulated)."
_FATAL: Final = frozenset({Fault.CUT, Fault.RESET, Fault.DROP})


class Halt(msgspec.Struct, frozen=True):
    """What comes after the events given so far: the connection ends with a close frame (`code`), without one (0), or
    nothing more is said (`silent`)."""

    code: int = 0
    silent: bool = False


Out = bytes | Halt


class RealtimeSession:
    """One session with one model."""

    def __init__(self, model: str, behaviour: Behaviour, credential: str = "") -> None:
        self._behaviour = behaviour
        self._credential = credential
        self._source = content.Source(behaviour.seed, model.encode())
        self._items: dict[str, dict[str, Any]] = {}
        self._conversation = self._source.name("conv_sim")
        self._last: str | None = None
        self._heard = 0
        self._active = ""
        self._over = False
        self._session: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": self._source.name("sess_sim"),
            "model": model,
            "output_modalities": ["audio"],
            "instructions": "Simulated.",
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "audio": {
                "input": {"turn_detection": {"type": "server_vad"}, "transcription": None},
                "output": {"voice": "alloy"},
            },
        }

    def opening(self) -> list[Out]:
        """What is said before anything is asked."""
        return [self._event("session.created", session=self._session)]

    def receive(self, raw: bytes) -> Iterator[Out]:
        """The answer to one event of the client."""
        if self._over:
            return
        try:
            event = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            yield self._error("We could not parse the JSON body of your event.", None)
            return
        match event["type"]:
            case "session.update":
                _merge(self._session, event.get("session") or {})
                yield self._event("session.updated", session=self._session)
            case "conversation.item.create" if isinstance(event.get("item"), dict):
                yield from self._add(event["item"])
            case "conversation.item.delete":
                self._items.pop(event.get("item_id", ""), None)
                yield self._event("conversation.item.deleted", item_id=event.get("item_id", ""))
            case "input_audio_buffer.append":
                yield from self._hear(event)
            case "input_audio_buffer.commit":
                yield from self._commit()
            case "input_audio_buffer.clear":
                self._heard = 0
                yield self._event("input_audio_buffer.cleared")
            case "response.create":
                yield from self._respond(event.get("response") or {}, event.get("event_id"))
            case "response.cancel":
                yield self._error("Cancellation failed: no active response found", event.get("event_id"))
            case other:
                yield self._error(f"Invalid value: '{other}'.", event.get("event_id"))

    # --- what is told -------------------------------------------------------------------------------------

    def _event(self, kind: str, **members: Any) -> bytes:
        return msgspec.json.encode({"type": kind, "event_id": self._source.name("event_sim"), **members})

    def _error(self, message: str, event_id: Any, kind: str = "invalid_request_error") -> bytes:
        inner = {"type": kind, "code": None, "message": message, "param": None, "event_id": event_id}
        return self._event("error", error=inner)

    def _add(self, item: dict[str, Any]) -> Iterator[Out]:
        item = {"id": self._source.name("item_sim"), "object": "realtime.item", "status": "completed", **item}
        self._items[item["id"]] = item
        before, self._last = self._last, item["id"]
        yield self._event("conversation.item.added", previous_item_id=before, item=item)
        yield self._event("conversation.item.done", previous_item_id=before, item=item)

    def _hear(self, event: dict[str, Any]) -> Iterator[Out]:
        sound = event.get("audio")
        if not isinstance(sound, str):
            yield self._error("Invalid 'audio'. Expected base64-encoded audio bytes.", event.get("event_id"))
            return
        self._heard += len(sound)
        detection = self._session["audio"]["input"].get("turn_detection")
        if detection is None or self._heard < SENTENCE_CHARS:
            return
        yield self._event("input_audio_buffer.speech_started", audio_start_ms=0, item_id="item_sim")
        yield self._event("input_audio_buffer.speech_stopped", audio_end_ms=100, item_id="item_sim")
        yield from self._commit()
        if detection.get("create_response", True):
            yield from self._respond({}, None)

    def _commit(self) -> Iterator[Out]:
        if not self._heard:
            yield self._error("Error committing input audio buffer: the buffer is empty.", None)
            return
        heard, self._heard = self._heard, 0
        part = {"type": "input_audio", "transcript": None, "simulated_size": heard}
        before = self._last
        added = list(self._add({"type": "message", "role": "user", "content": [part]}))
        yield self._event("input_audio_buffer.committed", previous_item_id=before, item_id=self._last)
        yield from added
        if self._session["audio"]["input"].get("transcription"):
            used = heard // SENTENCE_CHARS + 1
            usage = {
                "type": "tokens",
                "input_tokens": used,
                "output_tokens": 6,
                "total_tokens": used + 6,
                "input_token_details": {"text_tokens": 0, "audio_tokens": used},
            }
            yield self._event(
                "conversation.item.input_audio_transcription.completed",
                item_id=self._last,
                content_index=0,
                transcript=_DEFAULT_TRANSCRIPT,
                usage=usage,
            )

    def _respond(self, asked: dict[str, Any], event_id: Any) -> Iterator[Out]:
        behaviour = self._behaviour
        match behaviour.fault:
            case Fault.ERROR_EVENT:
                yield self._error("The server had an error (simulated).", event_id, "server_error")
                return
            case Fault.ECHO_KEY:
                yield self._error(f"Incorrect API key provided: {self._credential}", event_id)
                return
        identifier = self._source.name("resp_sim")
        settings = {**self._session, **asked}
        joins = asked.get("conversation") != "none"
        response: dict[str, Any] = {
            "object": "realtime.response",
            "id": identifier,
            "status": "in_progress",
            "status_details": None,
            "output": [],
            "conversation_id": self._conversation if joins else None,
            "output_modalities": settings["output_modalities"],
            "max_output_tokens": settings["max_output_tokens"],
            "metadata": asked.get("metadata"),
            "usage": None,
        }
        events = self._told(identifier, response, settings, joins=joins)
        for place, event in enumerate(events):
            if place > behaviour.after:
                if behaviour.fault in _FATAL:
                    self._over = True
                    yield Halt()
                    return
                if behaviour.fault is Fault.STALL:
                    self._over = True
                    yield Halt(silent=True)
                    return
                if behaviour.fault is Fault.MALFORMED:
                    yield b'{"type": "response.output_text.delta", simulated'
                if behaviour.fault is Fault.LONG_EVENT:
                    yield b'{"type":"' + b"simulated" * 2_000_000 + b'"}'
            yield event

    def _told(
        self, identifier: str, response: dict[str, Any], settings: dict[str, Any], *, joins: bool
    ) -> Iterator[bytes]:
        """The events of one response, from its beginning to its end."""
        yield self._event("response.created", response=response)
        spoken = "audio" in settings["output_modalities"]
        read = content.measure(list(self._items.values())) + content.measure(settings["instructions"])
        tools = [tool for tool in settings["tools"] or [] if tool.get("type") == "function"]
        called = isinstance((self._items.get(self._last or "") or {}).get("output"), str)
        pieces: list[str] = []
        cut = False
        if tools and not called and settings["tool_choice"] != "none":
            item, sound = self._call(tools[0]), 0
            events = self._call_events(identifier, item)
        else:
            pieces = content.tokens(self._source, self._behaviour.tokens, self._behaviour.text)
            bound = settings["max_output_tokens"]
            cut = isinstance(bound, int) and len(pieces) > bound
            pieces = pieces[:bound] if cut else pieces
            item, sound = self._message(pieces, spoken=spoken), _SOUND_TOKENS * len(pieces) if spoken else 0
            events = self._message_events(identifier, item, pieces, spoken=spoken)
        place = {"response_id": identifier, "output_index": 0}
        yield self._event("response.output_item.added", **place, item={**item, "status": "in_progress", "content": []})
        if joins:
            before, self._last = self._last, item["id"]
            self._items[item["id"]] = item
            yield self._event("conversation.item.added", previous_item_id=before, item=item)
        yield from events
        yield self._event("response.output_item.done", **place, item=item)
        if joins:
            yield self._event("conversation.item.done", previous_item_id=None, item=item)
        said = len(pieces) + content.measure(item.get("arguments", "")) + sound
        incomplete = {"type": "incomplete", "reason": "max_output_tokens"} if cut else None
        filtered = {"type": "incomplete", "reason": "content_filter"} if self._behaviour.fault is Fault.FILTER else None
        details = incomplete or filtered
        yield self._event(
            "response.done",
            response={
                **response,
                "status": "incomplete" if details else "completed",
                "status_details": details,
                "output": [item],
                "usage": self._usage(read, said, sound),
            },
        )

    def _usage(self, read: int, said: int, sound: int) -> dict[str, Any] | None:
        if self._behaviour.fault is Fault.NO_USAGE:
            return None
        if self._behaviour.fault is Fault.WRONG_USAGE:
            read, said = -5, 10**15
        heard = sum(
            part.get("simulated_size", 0) // 1_000
            for item in self._items.values()
            for part in item.get("content") or []
        )
        heard = min(heard, read)
        return {
            "total_tokens": read + said,
            "input_tokens": read,
            "output_tokens": said,
            "input_token_details": {
                "text_tokens": read - heard,
                "audio_tokens": heard,
                "image_tokens": 0,
                "cached_tokens": 0,
                "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": said - sound, "audio_tokens": sound},
        }

    def _message(self, pieces: list[str], *, spoken: bool) -> dict[str, Any]:
        text = "".join(pieces)
        part = {"type": "output_audio", "transcript": text} if spoken else {"type": "output_text", "text": text}
        return {
            "id": self._source.name("item_sim"),
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [part],
        }

    def _message_events(
        self, identifier: str, item: dict[str, Any], pieces: list[str], *, spoken: bool
    ) -> Iterator[bytes]:
        place = {"response_id": identifier, "item_id": item["id"], "output_index": 0, "content_index": 0}
        part = item["content"][0]
        empty = {**part, "transcript": ""} if spoken else {**part, "text": ""}
        yield self._event("response.content_part.added", **place, part=empty)
        for piece in pieces:
            if spoken:
                yield self._event("response.output_audio_transcript.delta", **place, delta=piece)
                yield self._event("response.output_audio.delta", **place, delta=_SOUND)
            else:
                yield self._event("response.output_text.delta", **place, delta=piece)
        text = "".join(pieces)
        if spoken:
            yield self._event("response.output_audio.done", **place)
            yield self._event("response.output_audio_transcript.done", **place, transcript=text)
        else:
            yield self._event("response.output_text.done", **place, text=text)
        yield self._event("response.content_part.done", **place, part=part)

    def _call(self, tool: dict[str, Any]) -> dict[str, Any]:
        arguments = msgspec.json.encode(content.sample(tool.get("parameters"), self._source)).decode()
        return {
            "id": self._source.name("item_sim"),
            "object": "realtime.item",
            "type": "function_call",
            "status": "completed",
            "name": tool.get("name"),
            "call_id": self._source.name("call_sim"),
            "arguments": arguments,
        }

    def _call_events(self, identifier: str, item: dict[str, Any]) -> Iterator[bytes]:
        place = {"response_id": identifier, "item_id": item["id"], "output_index": 0, "call_id": item["call_id"]}
        arguments = item["arguments"]
        half = len(arguments) // 2
        for piece in (arguments[:half], arguments[half:]):
            yield self._event("response.function_call_arguments.delta", **place, delta=piece)
        yield self._event("response.function_call_arguments.done", **place, arguments=arguments)


def _merge(there: dict[str, Any], update: dict[str, Any]) -> None:
    for name, value in update.items():
        if isinstance(value, dict) and isinstance(there.get(name), dict):
            _merge(there[name], value)
        else:
            there[name] = value
