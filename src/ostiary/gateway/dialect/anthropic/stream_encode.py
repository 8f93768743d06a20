"""A client's stream in Anthropic's form: message_start, content blocks one after the other, message_delta,
message_stop.

Blocks are numbered in the order they begin and never overlap. What comes while the arguments of an open tool call are
not whole is kept until they are, or until the end: so calls that a provider tells in turns stay apart. Text that
comes back to a block already closed begins a new one; arguments that come back to a whole tool call cannot be told in
this form and end the stream in an error.

Arguments that do not begin as an object are told inside one, as in a plain answer (`reply.py`). Those that begin as
one and break off later are told as they came: when that shows, their beginning has left.
Stop reason and usage are kept until the end, where both stand in one event. Only the first choice has a place.
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, OstiaryError, UpstreamError
from ostiary.core.limit import STREAM_KEPT_CHARS_MAX
from ostiary.core.message import Part, RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    CitationsDelta,
    Finished,
    LogprobsDelta,
    PartStarted,
    SignatureDelta,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from ostiary.core.usage import Usage
from ostiary.gateway.dialect.anthropic.error import error_object
from ostiary.gateway.dialect.anthropic.reply import encode_block, encode_usage, stop_word
from ostiary.gateway.wire.json import encode
from ostiary.gateway.wire.sse import EVENT_STREAM, KEEPALIVE, encode_event

_NONE: Final = -1
_EVENT_CHARS: Final = 128
"""What an event that is kept takes besides its text, roughly."""

_JSON_BLANKS: Final = " \t\r\n"
_ANY: Final = msgspec.json.Decoder(msgspec.Raw)

_PartEvent = PartStarted | TextDelta | ArgumentsDelta | SignatureDelta | CitationsDelta


class _OpenTool:
    """The tool call whose block is open: what came of its arguments, and how they are told."""

    __slots__ = ("_begun", "_blank", "_judged_at", "_pieces", "_size", "_wrapped")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = 0
        self._judged_at = 0
        self._blank = ""
        self._begun = False
        self._wrapped = False

    def tell(self, text: str) -> str:
        """What to send for a piece of the arguments."""
        self._size += len(text)
        if self._size <= STREAM_KEPT_CHARS_MAX:
            self._pieces.append(text)
        if self._begun:
            return _inside(text) if self._wrapped else text
        text = self._blank + text
        if not text.strip(_JSON_BLANKS):
            self._blank = text
            return ""
        self._begun = True
        self._wrapped = not text.lstrip(_JSON_BLANKS).startswith("{")
        return '{"INVALID_JSON":"' + _inside(text) if self._wrapped else text

    def end(self) -> str:
        """What to send after the last piece."""
        return '"}' if self._wrapped else ""

    def whole(self) -> bool:
        """Whether the arguments are an object as they stand: then at most blanks can follow, where a number or a text
        may go on. Asked again and again it takes linear time: what was not whole is looked at once more when it has
        doubled. Beyond a bound they are not looked at and count as not whole."""
        if self._wrapped or self._size < 2 * self._judged_at or self._size > STREAM_KEPT_CHARS_MAX:
            return False
        try:
            _ANY.decode("".join(self._pieces))
        except (msgspec.DecodeError, RecursionError):
            self._judged_at = self._size
            return False
        return True


class StreamEncoder:
    """See gateway/dialect: bytes out of canonical events."""

    media_type = EVENT_STREAM
    keepalive = KEEPALIVE

    def __init__(self) -> None:
        self._started = False
        self._open = _NONE
        self._index = _NONE
        self._kinds: dict[int, Part] = {}
        self._tool: _OpenTool | None = None
        self._kept: dict[int, list[_PartEvent]] = {}
        self._kept_chars = 0
        self._usage = Usage()
        self._tier: str | None = None
        self._finish: ChoiceFinished | None = None

    def encode(self, event: StreamEvent) -> bytes:
        if isinstance(event, Started):
            return self._start(event)
        if isinstance(event, UsageReported):
            self._usage = event.usage
            return b""
        if isinstance(event, Finished):
            return self._end()
        if event.choice != 0 or isinstance(event, LogprobsDelta):
            return b""
        if isinstance(event, ChoiceFinished):
            self._finish = event
            return self._let_out(everything=True) + self._close()
        if event.part == self._open or (self._tool is None and not self._kept):
            return self._tell(event)
        self._keep(event)
        return self._let_out()

    def wrote(self, data: bytes) -> None:
        """An error fits behind anything."""

    def error(self, error: OstiaryError, request_id: str) -> bytes:
        return encode_event(encode(error_object(error, request_id)), b"error")

    def _start(self, event: Started) -> bytes:
        self._started = True
        self._tier = event.service_tier
        if event.usage is not None:
            self._usage = event.usage
        message: dict[str, object] = {
            "id": event.id,
            "type": "message",
            "role": "assistant",
            "model": event.response_model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": encode_usage(self._usage, self._tier),
        }
        return encode_event(encode({"type": "message_start", "message": message}), b"message_start")

    def _keep(self, event: _PartEvent) -> None:
        self._kept_chars += _EVENT_CHARS + (len(event.text) if isinstance(event, TextDelta | ArgumentsDelta) else 0)
        if self._kept_chars > STREAM_KEPT_CHARS_MAX:
            raise UpstreamError(Code.UPSTREAM_TOO_LARGE, "The provider mixes parts of its answer that are too large.")
        self._kept.setdefault(event.part, []).append(event)

    def _let_out(self, *, everything: bool = False) -> bytes:
        """What was kept, part by part, as far as no open tool call waits for more."""
        out: list[bytes] = []
        while self._kept and (everything or self._tool is None or self._tool.whole()):
            out += [self._tell(event) for event in self._kept.pop(next(iter(self._kept)))]
        if not self._kept:
            self._kept_chars = 0
        return b"".join(out)

    def _tell(self, event: _PartEvent) -> bytes:
        return self._part(event.part, event.value) if isinstance(event, PartStarted) else self._delta(event)

    def _part(self, part: int, value: Part) -> bytes:
        self._kinds[part] = value
        out = self._close()
        self._open = part
        self._index += 1
        block = encode_block(_empty(value))
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        out += encode_event(encode(start), b"content_block_start")
        if isinstance(value, TextPart | RefusalPart) and value.text:
            out += self._piece({"type": "text_delta", "text": value.text})
        elif isinstance(value, ThinkingPart):
            if value.text:
                out += self._piece({"type": "thinking_delta", "thinking": value.text})
            if value.signature:
                out += self._piece({"type": "signature_delta", "signature": value.signature})
        elif isinstance(value, ToolUsePart):
            self._tool = _OpenTool()
            out += self._arguments(self._tool.tell(value.arguments))
        return out

    def _delta(self, event: TextDelta | ArgumentsDelta | SignatureDelta | CitationsDelta) -> bytes:
        if isinstance(event, SignatureDelta) and not isinstance(self._kinds[event.part], ThinkingPart):
            return b""  # only thinking has a place for one here
        if event.part == self._open:
            out = b""
        elif isinstance(event, ArgumentsDelta) and not event.text.strip(_JSON_BLANKS):
            return b""  # blanks behind an object that was whole
        else:
            out = self._reopen(event.part, event)
        if isinstance(event, TextDelta):
            if isinstance(self._kinds[event.part], ThinkingPart):
                return out + self._piece({"type": "thinking_delta", "thinking": event.text})
            return out + self._piece({"type": "text_delta", "text": event.text})
        if isinstance(event, ArgumentsDelta):
            return out + self._arguments(event.text if self._tool is None else self._tool.tell(event.text))
        if isinstance(event, SignatureDelta):
            return out + self._piece({"type": "signature_delta", "signature": event.signature})
        head = b'{"type":"content_block_delta","index":%d,"delta":{"type":"citations_delta","citation":' % self._index
        return out + encode_event(head + event.citation + b"}}", b"content_block_delta")

    def _reopen(self, part: int, event: StreamEvent) -> bytes:
        """Begin a new block for what comes back to a part that is closed."""
        value = self._kinds.get(part)
        if not isinstance(event, TextDelta) or isinstance(value, ToolUsePart):
            raise UpstreamError(
                Code.UPSTREAM_PROTOCOL, "The provider mixes parts of its answer in a way this API has no form for."
            )
        return self._part(part, ThinkingPart("") if isinstance(value, ThinkingPart) else TextPart(""))

    def _arguments(self, text: str) -> bytes:
        return self._piece({"type": "input_json_delta", "partial_json": text}) if text else b""

    def _piece(self, delta: dict[str, str]) -> bytes:
        body = b'{"type":"content_block_delta","index":%d,"delta":%b}' % (self._index, encode(delta))
        return encode_event(body, b"content_block_delta")

    def _close(self) -> bytes:
        if self._open == _NONE:
            return b""
        self._open = _NONE
        tool, self._tool = self._tool, None
        rest = b"" if tool is None else self._arguments(tool.end())
        return rest + encode_event(b'{"type":"content_block_stop","index":%d}' % self._index, b"content_block_stop")

    def _end(self) -> bytes:
        out = b"" if self._started else self._start(Started("", ""))
        out += self._let_out(everything=True) + self._close()
        finish = self._finish
        values = self._kinds.values()
        delta = {
            "stop_reason": stop_word(
                None if finish is None else finish.finish_reason,
                tools=any(isinstance(value, ToolUsePart) for value in values),
                refused=any(isinstance(value, RefusalPart) for value in values),
            ),
            "stop_sequence": None if finish is None else finish.stop_sequence,
        }
        body = {"type": "message_delta", "delta": delta, "usage": encode_usage(self._usage, None)}
        out += encode_event(encode(body), b"message_delta")
        return out + encode_event(b'{"type":"message_stop"}', b"message_stop")


def _inside(text: str) -> str:
    """`text` as it stands inside a JSON string."""
    return encode(text)[1:-1].decode()


def _empty(value: Part) -> Part:
    """How a part is announced: its text, thinking and arguments follow in deltas."""
    if isinstance(value, TextPart):
        return TextPart("", citations=value.citations)
    if isinstance(value, RefusalPart):
        return TextPart("")
    if isinstance(value, ThinkingPart):
        return ThinkingPart("")
    if isinstance(value, ToolUsePart):
        return ToolUsePart(value.id, value.name, "")
    return value
