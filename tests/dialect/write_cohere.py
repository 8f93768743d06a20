"""Answers as Cohere sends them, written from its documentation and without the product's code: this dialect has no
client part that could write them."""

import json

from ostiary.core.message import RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import FinishReason
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    Finished,
    LogprobsDelta,
    PartStarted,
    Started,
    TextDelta,
    UsageReported,
)

FINISH = {
    FinishReason.STOP: "COMPLETE",
    FinishReason.STOP_SEQUENCE: "STOP_SEQUENCE",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.TOOL_USE: "TOOL_CALL",
}


def usage(value):
    billed = {"input_tokens": float(value.input_tokens), "output_tokens": value.output_tokens}
    return {
        "billed_units": billed,
        "tokens": {"input_tokens": value.input_tokens + 60, "output_tokens": value.output_tokens + 2},
        "cached_tokens": value.cached_tokens,
    }


def content(part):
    if isinstance(part, ThinkingPart):
        return {"type": "thinking", "thinking": part.text}
    return {"type": "text", "text": part.text}


def call(part):
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}


def logprob(item):
    return {"text": item.token, "token_ids": [1], "logprobs": [item.logprob]}


def write_reply(reply):
    choice = reply.choices[0]
    message = {
        "role": "assistant",
        "content": [content(p) for p in choice.parts if isinstance(p, TextPart | RefusalPart | ThinkingPart)],
        "tool_calls": [call(p) for p in choice.parts if isinstance(p, ToolUsePart)],
    }
    body = {"id": reply.id, "finish_reason": FINISH.get(choice.finish_reason, "COMPLETE"), "message": message}
    if reply.usage is not None:
        body["usage"] = usage(reply.usage)
    if choice.logprobs is not None and message["content"]:
        body["logprobs"] = [logprob(item) for item in choice.logprobs]
    return json.dumps(body).encode()


def event(value):
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


def said(index, kind, **message):
    return {"type": kind, "index": index, "delta": {"message": message}}


def write_stream(events):
    """Content blocks and tool calls are numbered apart, each from 0; log-probabilities come with a piece of text."""
    out, places, end = [], {}, {}
    contents = tools = 0
    text = 0
    for one in events:
        if isinstance(one, Started):
            empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
            out.append(event({"type": "message-start", "id": one.id, "delta": {"message": empty}}))
        elif isinstance(one, UsageReported):
            end["usage"] = usage(one.usage)
        elif isinstance(one, Finished):
            out.append(event({"type": "message-end", "delta": end}))
        elif one.choice != 0:
            continue
        elif isinstance(one, ChoiceFinished):
            end["finish_reason"] = FINISH.get(one.finish_reason, "COMPLETE")
        elif isinstance(one, PartStarted) and isinstance(one.value, ToolUsePart):
            places[one.part] = (tools, one.value)
            out.append(event(said(tools, "tool-call-start", tool_calls=call(one.value))))
            tools += 1
        elif isinstance(one, PartStarted):
            places[one.part] = (contents, one.value)
            out.append(event(said(contents, "content-start", content=content(one.value))))
            text = contents if isinstance(one.value, TextPart | RefusalPart) else text
            contents += 1
        elif isinstance(one, TextDelta):
            index, part = places[one.part]
            out.append(
                event(
                    said(
                        index,
                        "content-delta",
                        content={k: v for k, v in content(type(part)(one.text)).items() if k != "type"},
                    )
                )
            )
        elif isinstance(one, ArgumentsDelta):
            index, _ = places[one.part]
            out.append(event(said(index, "tool-call-delta", tool_calls={"function": {"arguments": one.text}})))
        elif isinstance(one, LogprobsDelta) and not one.refusal:
            for item in one.logprobs if contents else ():
                out.append(event({**said(text, "content-delta", content={"text": ""}), "logprobs": logprob(item)}))
    return b"".join(out)
