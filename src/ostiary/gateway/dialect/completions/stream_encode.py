"""A client's stream in the form of completions: chunks like plain answers, a usage chunk where it was asked for,
`[DONE]`. What is left out of a plain answer is left out here (`reply.py`)."""

from ostiary.core.error import OstiaryError
from ostiary.core.message import ThinkingPart
from ostiary.core.stream import (
    ChoiceFinished,
    Finished,
    PartStarted,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from ostiary.core.usage import Usage
from ostiary.gateway.dialect.completions.reply import FINISH_WORDS, text_of
from ostiary.gateway.wire.json import encode
from ostiary.gateway.wire.openai import error_object
from ostiary.gateway.wire.openai_usage import encode_usage
from ostiary.gateway.wire.sse import EVENT_STREAM, KEEPALIVE, encode_event


class StreamEncoder:
    """See gateway/dialect: bytes out of canonical events."""

    media_type = EVENT_STREAM
    keepalive = KEEPALIVE

    def __init__(self, *, include_usage: bool, created: int) -> None:
        self._include_usage = include_usage
        self._created = created
        self._tail = b'],"usage":null}' if include_usage else b"]}"
        self._head = b""
        self._usage: Usage | None = None
        self._thinking: set[tuple[int, int]] = set()
        self._start(Started("", ""))

    def encode(self, event: StreamEvent) -> bytes:
        if isinstance(event, TextDelta):
            return b"" if (event.choice, event.part) in self._thinking else self._choice(event.choice, event.text)
        if isinstance(event, PartStarted):
            if isinstance(event.value, ThinkingPart):
                self._thinking.add((event.choice, event.part))
            text = text_of(event.value)
            return self._choice(event.choice, text) if text else b""
        if isinstance(event, ChoiceFinished):
            return self._choice(event.choice, "", FINISH_WORDS[event.finish_reason])
        if isinstance(event, UsageReported):
            self._usage = event.usage
        elif isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Finished):
            return self._finish()
        return b""

    def wrote(self, data: bytes) -> None:
        """An event fits behind any other."""

    def error(self, error: OstiaryError, request_id: str) -> bytes:
        return encode_event(encode({**error_object(error), "request_id": request_id}))

    def _start(self, event: Started) -> None:
        head: dict[str, object] = {
            "id": event.id,
            "object": "text_completion",
            "created": self._created if event.created is None else event.created,
            "model": event.response_model,
        }
        if event.system_fingerprint is not None:
            head["system_fingerprint"] = event.system_fingerprint
        self._head = encode(head)[:-1] + b',"choices":['
        if event.usage is not None:
            self._usage = event.usage

    def _choice(self, choice: int, text: str, finish: str | None = None) -> bytes:
        return encode_event(
            b'%b{"text":%b,"index":%d,"logprobs":null,"finish_reason":%b}%b'
            % (self._head, encode(text), choice, encode(finish), self._tail)
        )

    def _finish(self) -> bytes:
        end = encode_event(b"[DONE]")
        if not self._include_usage or self._usage is None:
            return end
        return encode_event(self._head + b'],"usage":' + encode(encode_usage(self._usage)) + b"}") + end
