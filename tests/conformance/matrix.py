"""What works from every client's dialect to every provider's: each cell is a whole call through the gateway in process,
to a simulated provider that answers in its own wire format, judged by what arrived there and by what came back.

A feature is stated once, in canonical values. A client's dialect that has no form for it is `n/a`; a provider's that
has none is a refusal, shown with the gateway's own words.
"""

import asyncio
import itertools
import json

import msgspec

from ostiary.core.call import ChatCall, Reasoning
from ostiary.core.error import CallerError, Code, OstiaryError
from ostiary.core.fold import fold
from ostiary.core.message import (
    Base64Source,
    CacheControl,
    FilePart,
    FormatKind,
    ImagePart,
    Message,
    RefusalPart,
    ResponseFormat,
    Role,
    TextPart,
    Tool,
    ToolChoice,
    ToolMode,
    ToolUsePart,
)
from ostiary.core.reply import FinishReason
from ostiary.gateway.dialect import Encoded
from ostiary.gateway.dialect.completions import Completions
from ostiary.gateway.wire.json import parse
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.snapshot.tables import AuthRow, SecretRef, TeamRow
from tests.dialect.known import BOTH, CLIENTS, PROVIDERS
from tests.exchange.harness import House, model, provider

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKJSVFT0YK"
SCHEMA = b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}'
WEATHER = Tool("weather", "The weather of a city.", SCHEMA)
CLOCK = Tool("clock", "The time in a city.", SCHEMA)


def said(*parts):
    return (Message(Role.USER, parts or (TextPart("Say something."),), path="messages[0]"),)


def call(messages=None, **fields):
    return ChatCall(original_model="m", messages=messages or said(), max_tokens=256, **fields)


class Feature(msgspec.Struct, frozen=True):
    """One column: the call that asks for it, how the provider behaves, and what must be true of what the provider got
    (None where its request cannot be read back) and of the answer."""

    name: str
    call: ChatCall
    judge: object
    behaviour: Behaviour = Behaviour()


def part(kind):
    return lambda sent, reply: any(isinstance(one, kind) for one in reply.choices[0].parts)


def parts_of(sent):
    return [one for message in sent.messages for one in message.parts]


FEATURES = (
    Feature("plain", call(), part(TextPart)),
    Feature("stream", call(stream=True, include_usage=True), part(TextPart)),
    Feature("tools", call(tools=(WEATHER,)), part(ToolUsePart)),
    Feature("tools, streamed", call(tools=(WEATHER,), stream=True), part(ToolUsePart)),
    Feature(
        "parallel tools",
        call(said(TextPart("Use both in parallel.")), tools=(WEATHER, CLOCK)),
        lambda sent, reply: sum(isinstance(one, ToolUsePart) for one in reply.choices[0].parts) == 2,
    ),
    Feature(
        "tool choice",
        call(tools=(WEATHER, CLOCK), tool_choice=ToolChoice(ToolMode.NAMED, "clock")),
        lambda sent, reply: [one.name for one in reply.choices[0].parts if isinstance(one, ToolUsePart)] == ["clock"],
    ),
    Feature(
        "structured output",
        call(response_format=ResponseFormat(FormatKind.JSON_SCHEMA, "city", SCHEMA, strict=True)),
        lambda sent, reply: "city" in json.loads(reply.choices[0].parts[0].text),
    ),
    Feature(
        "images",
        call(said(TextPart("What is it?"), ImagePart(Base64Source("image/png", PIXEL)))),
        lambda sent, reply: sent is None or any(isinstance(one, ImagePart) for one in parts_of(sent)),
    ),
    Feature(
        "files",
        call(said(TextPart("Read it."), FilePart(Base64Source("application/pdf", PDF), "a.pdf"))),
        lambda sent, reply: sent is None or any(isinstance(one, FilePart) for one in parts_of(sent)),
    ),
    Feature(
        "thinking",
        msgspec.structs.replace(call(reasoning=Reasoning(effort="medium")), max_tokens=4096),
        lambda sent, reply: sent is None or sent.reasoning is not None,
    ),
    Feature(
        "caching",
        call(said(TextPart("A long text.", cache=CacheControl()), TextPart("And now?"))),
        lambda sent, reply: sent is None or any(getattr(one, "cache", None) for one in parts_of(sent)),
    ),
    Feature(
        "log-probabilities",
        call(logprobs=True, top_logprobs=2),
        lambda sent, reply: bool(reply.choices[0].logprobs),
    ),
    Feature("stop", call(stop=("END",)), lambda sent, reply: sent is None or sent.stop == ("END",)),
    Feature(
        "usage",
        call(),
        lambda sent, reply: reply.usage is not None and reply.usage.input_tokens > 0 and reply.usage.output_tokens > 0,
    ),
    Feature(
        "refusals",
        call(),
        lambda sent, reply: (
            part(RefusalPart)(sent, reply)
            or reply.choices[0].finish_reason in (FinishReason.REFUSAL, FinishReason.CONTENT_FILTER)
            or "refusal" in reply.choices[0].parts[0].text
        ),
        Behaviour(fault=Fault.REFUSAL),
    ),
    Feature("errors", call(), None, Behaviour(status=429, retry_after="3")),
)

ASKING = {**BOTH, "openai-completions": Completions()}
"""The dialects of clients."""

OLDER_FORM = {"plain", "stream", "log-probabilities", "stop", "usage", "refusals", "errors"}
"""What the older form of OpenAI's has a way to ask for."""

PATHS = {
    "openai-completions": b"/v1/completions",
    "openai": b"/v1/chat/completions",
    "anthropic": b"/v1/messages",
    "openai-responses": b"/v1/responses",
}


def house():
    """A gateway with one provider of every dialect, each behind a model of the dialect's name."""
    rows = tuple(
        provider(name, name, auth=AuthRow("bearer", SecretRef("env", "X")), path="/v1", count_tokens=False)
        for name in PROVIDERS
    )
    models = tuple(model(name, (name, "served"), attempts=1) for name in PROVIDERS)
    team = TeamRow(tenant="acme", name="search", environment="production", models=("*",))
    return House(providers=rows, models=models, teams=(team,))


def asked(client, target, feature):
    """The request as a client of the dialect writes it. CallerError where its form has no way to."""
    if client != "openai-completions":
        return BOTH[client].encode_chat(feature.call, model=target, max_tokens=None, drop=False)
    if feature.name not in OLDER_FORM:
        raise CallerError(Code.REQUEST_UNSUPPORTED, "The form has no place for it.")
    body = {"model": target, "prompt": "Say something.", "max_tokens": 256, "stream": feature.call.stream}
    if feature.call.stop:
        body["stop"] = list(feature.call.stop)
    if feature.call.logprobs:
        body["logprobs"] = feature.call.top_logprobs
    if feature.call.stream:
        body["stream_options"] = {"include_usage": True}
    return Encoded(PATHS[client], json.dumps(body).encode(), ())


async def cell(client, target, feature):
    """ "works", "n/a", "refused: why" or "fails: why"."""
    try:
        encoded = asked(client, target, feature)
    except CallerError as error:
        return f"n/a: {error.message}"
    one = house()
    one.upstream.then(feature.behaviour)
    path, _, query = (b"/v1beta" + encoded.path if client == "gemini" else PATHS[client]).partition(b"?")
    sink = await one.post(path, encoded.body, headers=dict(encoded.headers), query=query)
    one.check()
    if feature.judge is None:
        told = (sink.status, sink.headers.get(b"retry-after"))
        return "works" if told == (429, b"3") else f"fails: {told}"
    if sink.status != 200:
        message = ASKING[client].decode_error(sink.status, tuple(sink.headers.items()), sink.body).message
        return f"{'refused' if not one.upstream.sent else 'fails'}: {message}"
    try:
        if sink.streamed:
            decoder = ASKING[client].stream_decoder()
            frames = [*decoder.feed(sink.body), *decoder.close()]
            reply = fold([event for frame in frames for event in frame.events])
        else:
            reply = ASKING[client].decode_chat_reply(sink.body)
        sent = None
        if target in CLIENTS and target != "gemini":
            sent = CLIENTS[target].decode_chat(parse(one.upstream.sent[0].body))
        return "works" if feature.judge(sent, reply) else "fails: the answer lacks it"
    except (OstiaryError, LookupError, ValueError, AttributeError) as error:
        return f"fails: {type(error).__name__} {error}"


def run():
    """Every cell, by (client, provider, feature's name)."""

    async def every():
        return {
            (client, target, feature.name): await cell(client, target, feature)
            for client, target, feature in itertools.product(ASKING, PROVIDERS, FEATURES)
        }

    return asyncio.run(every())


MARKS = {"works": "✓", "n/a": "–", "refused": "✗", "fails": "FAILS"}


def page():
    """docs/conformance.md."""
    cells = run()
    out = [
        "# What works with what",
        "",
        "Generated by `make docs` from `tests/conformance`: every cell is a whole call through the gateway, from a client",
        "that speaks one dialect to a simulated provider that speaks another, judged by what arrived and what came back.",
        "",
        "✓ works · – the client's own form has no way to ask for it · ✗ refused by its name before anything is sent, unless",
        "leaving it out is allowed (`x-ostiary-drop-unsupported: true`); the reasons stand below · FAILS does not work.",
        "",
        "Realtime sessions are relayed, not translated: they work where the provider speaks them ([realtime.md](realtime.md)).",
        "",
    ]
    reasons = {}
    for client in ASKING:
        out += [f"## From `{client}`", "", "| feature | " + " | ".join(f"`{name}`" for name in PROVIDERS) + " |"]
        out.append("|---|" + "---|" * len(PROVIDERS))
        for feature in FEATURES:
            row = []
            for target in PROVIDERS:
                kind, _, why = cells[client, target, feature.name].partition(": ")
                note = ""
                if why and kind != "n/a":
                    note = f" [{reasons.setdefault(why, len(reasons) + 1)}](#reasons)"
                row.append(MARKS[kind] + note)
            out.append(f"| {feature.name} | " + " | ".join(row) + " |")
        out.append("")
    out += ["## Reasons", ""]
    out += [f"{number}. {why}" for why, number in reasons.items()]
    return "\n".join(out) + "\n"
