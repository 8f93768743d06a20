"""Answers as Amazon Bedrock sends them, written from its documentation and without the product's code: this dialect has
no client part that could write them."""

import json
import struct
import zlib

from ostiary.core.message import RedactedThinkingPart, RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import FinishReason
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    Finished,
    PartStarted,
    SignatureDelta,
    Started,
    TextDelta,
    UsageReported,
)

STOPS = {
    FinishReason.STOP: "end_turn",
    FinishReason.STOP_SEQUENCE: "stop_sequence",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_USE: "tool_use",
    FinishReason.REFUSAL: "content_filtered",
    FinishReason.CONTENT_FILTER: "guardrail_intervened",
    FinishReason.PAUSE: "end_turn",
    FinishReason.CONTEXT_WINDOW: "model_context_window_exceeded",
}
RAW = "\x00raw\x00"


def message(headers, payload):
    """One message of the event stream, its headers all text."""
    head = b"".join(
        struct.pack(">B", len(name)) + name.encode() + b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return body + struct.pack(">I", zlib.crc32(body))


def event(name, payload):
    """An event with its JSON, given as a value or as bytes."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    kind = "exception" if name.endswith("Exception") else "event"
    return message({f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}, data)


def readable(text):
    """The stream that a golden file shows: one event a line, its name and its JSON."""
    lines = [line for line in text.split(b"\n") if line]
    return b"".join(event(line.partition(b" ")[0].decode(), line.partition(b" ")[2]) for line in lines)


def usage(value):
    return {
        "inputTokens": value.input_tokens - value.cached_tokens - value.cache_write_tokens,
        "outputTokens": value.output_tokens,
        "totalTokens": value.total_tokens,
        "cacheReadInputTokens": value.cached_tokens,
        "cacheWriteInputTokens": value.cache_write_tokens,
        "cacheDetails": [{"ttl": "1h", "inputTokens": value.cache_write_1h_tokens}],
    }


def block(part):
    if isinstance(part, TextPart | RefusalPart):
        return {"text": part.text}
    if isinstance(part, ThinkingPart):
        text = {"text": part.text} | ({"signature": part.signature} if part.signature else {})
        return {"reasoningContent": {"reasoningText": text}}
    if isinstance(part, RedactedThinkingPart):
        return {"reasoningContent": {"redactedContent": part.data}}
    assert isinstance(part, ToolUsePart)
    return {"toolUse": {"toolUseId": part.id, "name": part.name, "input": RAW + part.arguments + RAW}}


def write_reply(reply):
    choice = reply.choices[0]
    body = {
        "output": {"message": {"role": "assistant", "content": [block(part) for part in choice.parts]}},
        "stopReason": STOPS[choice.finish_reason],
        "metrics": {"latencyMs": 1},
    }
    if reply.usage is not None:
        body["usage"] = usage(reply.usage)
    # Arguments stand in the answer as they are, whatever their blanks.
    pieces = json.dumps(body).split('"' + json.dumps(RAW)[1:-1])
    out = [pieces[0]]
    for piece in pieces[1:]:
        raw, _, rest = piece.partition(json.dumps(RAW)[1:-1] + '"')
        out.append(json.loads(f'"{raw}"') + rest)
    return "".join(out).encode()


def write_stream(events):
    out, open_, counts = [], None, None
    for one in events:
        if isinstance(one, Started):
            out.append(event("messageStart", {"role": "assistant", "p": "abcd"}))
        elif isinstance(one, UsageReported):
            counts = usage(one.usage)
        elif isinstance(one, Finished):
            out.append(event("metadata", {"metrics": {"latencyMs": 1}} | ({"usage": counts} if counts else {})))
        elif one.choice != 0:
            continue
        elif isinstance(one, ChoiceFinished):
            if open_ is not None:
                out.append(event("contentBlockStop", {"contentBlockIndex": open_}))
            out.append(event("messageStop", {"stopReason": STOPS[one.finish_reason]}))
        elif isinstance(one, PartStarted):
            if open_ is not None:
                out.append(event("contentBlockStop", {"contentBlockIndex": open_}))
            open_ = one.part
            out.append(start(one))
        elif isinstance(one, TextDelta | ArgumentsDelta | SignatureDelta):
            kinds = {p.part: p.value for p in events if isinstance(p, PartStarted) and p.choice == 0}
            out.append(delta(one.part, grown(one, kinds[one.part])))
    return b"".join(out)


def delta(index, value):
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": value})


def start(one):
    value = one.value
    if isinstance(value, ToolUsePart):
        tool = {"toolUseId": value.id, "name": value.name}
        return event("contentBlockStart", {"contentBlockIndex": one.part, "start": {"toolUse": tool}})
    if isinstance(value, RedactedThinkingPart):
        return delta(one.part, {"reasoningContent": {"redactedContent": value.data}})
    if isinstance(value, ThinkingPart):
        return delta(one.part, {"reasoningContent": {"text": value.text}})
    return delta(one.part, {"text": value.text})


def grown(one, part):
    if isinstance(one, ArgumentsDelta):
        return {"toolUse": {"input": one.text}}
    if isinstance(one, SignatureDelta):
        return {"reasoningContent": {"signature": one.signature}}
    return {"reasoningContent": {"text": one.text}} if isinstance(part, ThinkingPart) else {"text": one.text}
