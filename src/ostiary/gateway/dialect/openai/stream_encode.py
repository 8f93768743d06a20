"""A client's stream in OpenAI's form: chunk objects, a usage chunk where it was asked for, `[DONE]`.

The first chunk of a choice gives its role. Usage is kept until the end: OpenAI reports it once, after the last
choice. Signatures but those of tool calls, citations and redacted thinking have no place in this form.
"""

from typing import Final

from ostiary.core.error import OstiaryError
from ostiary.core.message import RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    Finished,
    LogprobsDelta,
    PartStarted,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from ostiary.core.usage import Usage
from ostiary.gateway.dialect.openai.reply import (
    FINISH_WORDS,
    encode_logprobs,
    encode_tier,
    tool_call_body,
)
from ostiary.gateway.wire.json import encode
from ostiary.gateway.wire.openai import error_object
from ostiary.gateway.wire.openai_usage import encode_usage
from ostiary.gateway.wire.sse import EVENT_STREAM, KEEPALIVE, encode_event

_MEMBERS: Final[dict[type, str]] = {TextPart: "content", RefusalPart: "refusal", ThinkingPart: "reasoning_content"}


class StreamEncoder:
    """See gateway/dialect: bytes out of canonical events."""

    media_type = EVENT_STREAM
    keepalive = KEEPALIVE

    def __init__(self, *, include_usage: bool, created: int) -> None:
        self._include_usage = include_usage
        self._created = created
        self._head = b""
        self._tail = b""
        self._usage: Usage | None = None
        self._roles: set[int] = set()
        self._members: dict[tuple[int, int], str] = {}
        self._tools: dict[tuple[int, int], tuple[int, bool]] = {}
        self._tool_counts: dict[int, int] = {}
        self._start(Started("", ""))

    def encode(self, event: StreamEvent) -> bytes:
        if isinstance(event, TextDelta):
            member = self._members.get((event.choice, event.part), "content")
            return self._delta(event.choice, {member: event.text})
        if isinstance(event, ArgumentsDelta):
            return self._arguments(event.choice, event.part, event.text)
        if isinstance(event, PartStarted):
            return self._part(event)
        if isinstance(event, ChoiceFinished):
            return self._role(event.choice) + self._choice(event.choice, {}, b"null", FINISH_WORDS[event.finish_reason])
        if isinstance(event, LogprobsDelta):
            items = encode_logprobs(event.logprobs)
            logprobs = {"content": None, "refusal": items} if event.refusal else {"content": items, "refusal": None}
            return self._role(event.choice) + self._choice(event.choice, {}, encode(logprobs), None)
        if isinstance(event, UsageReported):
            self._usage = event.usage
            return b""
        if isinstance(event, Started):
            self._start(event)
            return self._role(0)
        if isinstance(event, Finished):
            return self._finish()
        return b""

    def wrote(self, data: bytes) -> None:
        """An error fits behind anything."""

    def error(self, error: OstiaryError, request_id: str) -> bytes:
        return encode_event(encode({**error_object(error), "request_id": request_id}))

    def _start(self, event: Started) -> None:
        head: dict[str, object] = {
            "id": event.id,
            "object": "chat.completion.chunk",
            "created": self._created if event.created is None else event.created,
            "model": event.response_model,
        }
        if event.service_tier is not None:
            head["service_tier"] = encode_tier(event.service_tier)
        if event.system_fingerprint is not None:
            head["system_fingerprint"] = event.system_fingerprint
        self._head = encode(head)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}' if self._include_usage else b"]}"
        if event.usage is not None:
            self._usage = event.usage

    def _part(self, event: PartStarted) -> bytes:
        value = event.value
        place = (event.choice, event.part)
        if isinstance(value, ToolUsePart):
            index = self._tool_counts.get(event.choice, 0)
            self._tool_counts[event.choice] = index + 1
            self._tools[place] = (index, value.custom)
            call: dict[str, object] = {"index": index, "id": value.id, **tool_call_body(value)}
            return self._delta(event.choice, {"tool_calls": [call]})
        member = _MEMBERS.get(type(value))
        if member is None:
            return b""
        self._members[place] = member
        text = value.text if isinstance(value, TextPart | RefusalPart | ThinkingPart) else ""
        return self._delta(event.choice, {member: text}) if text else b""

    def _arguments(self, choice: int, part: int, text: str) -> bytes:
        index, custom = self._tools.get((choice, part), (0, False))
        member, key = ("custom", "input") if custom else ("function", "arguments")
        return self._delta(choice, {"tool_calls": [{"index": index, member: {key: text}}]})

    def _role(self, choice: int) -> bytes:
        if choice in self._roles:
            return b""
        self._roles.add(choice)
        return self._choice(choice, {"role": "assistant", "content": ""}, b"null", None)

    def _delta(self, choice: int, delta: dict[str, object]) -> bytes:
        if choice in self._roles:
            return self._choice(choice, delta, b"null", None)
        return self._role(choice) + self._choice(choice, delta, b"null", None)

    def _choice(self, choice: int, delta: dict[str, object], logprobs: bytes, finish: str | None) -> bytes:
        # One event, as `encode_event` would write it: this is done for every word of an answer.
        reason = b"null" if finish is None else encode(finish)
        return b'data: %b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}%b\n\n' % (
            self._head,
            choice,
            encode(delta),
            logprobs,
            reason,
            self._tail,
        )

    def _finish(self) -> bytes:
        end = encode_event(b"[DONE]")
        if not self._include_usage or self._usage is None:
            return end
        return encode_event(self._head + b'],"usage":' + encode(encode_usage(self._usage)) + b"}") + end
