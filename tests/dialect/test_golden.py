"""The corpus: one file per case, `<client's dialect>/<case>.<provider's dialect>.txt`, in four sections.

`client request` and `provider answer` are written by hand; `provider request` and `client answer` are what the
dialects make of them, byte for byte. `OSTIARY_UPDATE_GOLDEN=1` writes those two anew: read the difference. Words
after a section's name are options: `drop` allows fields to be left out, `model=x` names the provider's model,
`status 429` is an answer's HTTP status, and `stream` or `array` say what a path says that asks for events or for a
streamed array. A section `provider request` that says `refused` ends the case. Where a stream is no text, a line of
`provider answer` is one event, its name and its JSON, and the test makes the bytes.
"""

import json
import os
import re
from pathlib import Path

import anthropic.types
import openai.types
import openai.types.chat
import openai.types.responses
import pytest
from pydantic import TypeAdapter

from ostiary.core.error import OstiaryError
from ostiary.gateway.dialect import Addressed
from ostiary.gateway.wire.json import parse
from ostiary.gateway.wire.sse import SseParser
from tests.dialect.known import CLIENTS, PROVIDERS, WRITERS

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*/*.*.txt"))
SECTION = re.compile(rb"^--- (client request|provider request|provider answer|client answer)(.*)\n", re.MULTILINE)
CREATED = 1700000000


def read_case(path):
    pieces = SECTION.split(path.read_bytes())
    assert pieces[0] == b"", path
    return {pieces[i].decode(): (pieces[i + 1].decode().split(), pieces[i + 2]) for i in range(1, len(pieces), 3)}


def refusal(error):
    return f"refused {error.code} {error.param}\n{error.message}\n".encode()


def addressed_by(options):
    """What the request's path says, to dialects that put it there."""
    return Addressed("chat", "stream" in options or "array" in options, "stream" in options)


def provider_request(client, provider, options, body):
    document = parse(body)
    addressed = addressed_by(options)
    model = next((word[6:] for word in options if word.startswith("model=")), "provider-model")
    peek = client.peek_chat(document, addressed)
    if client is provider:
        encoded = provider.forward_chat(document, model=model, report_usage=True, max_tokens=None, addressed=addressed)
    else:
        call = client.decode_chat(document, addressed)
        encoded = provider.encode_chat(call, model=model, max_tokens=None, drop="drop" in options)
    head = b"POST " + encoded.path + b"\n" + b"".join(b"%b: %b\n" % pair for pair in encoded.headers)
    dropped = f"dropped: {', '.join(encoded.dropped)}\n".encode() if encoded.dropped else b""
    return peek, head + dropped + b"\n" + encoded.body + b"\n"


def client_answer(client, provider, peek, case, addressed):
    options, body = case
    if options:
        error = provider.decode_error(int(options[1]), [(b"retry-after", b"2")], body)
        answer = client.encode_error(error, "request-1")
        return (
            b"%d\n" % answer.status
            + b"".join(b"%b: %b\n" % pair for pair in answer.headers)
            + b"\n"
            + answer.body
            + b"\n"
        )
    if not peek.stream:
        if client is provider:
            provider.tap_chat_reply(body)
            return body
        return client.encode_chat_reply(provider.decode_chat_reply(body), created=CREATED) + b"\n"
    readable = getattr(WRITERS.get(provider.name), "readable", None)
    if readable is not None:
        body = readable(body)
    decoder = provider.stream_decoder(events=client is not provider)
    encoder = client.stream_encoder(include_usage=peek.include_usage, created=CREATED, addressed=addressed)
    out = []
    try:
        for step in (lambda: decoder.feed(body), decoder.close):
            for frame in step():
                before = len(out)
                if client is not provider:
                    out += [encoder.encode(event) for event in frame.events]
                elif peek.include_usage or not frame.usage_only:
                    out.append(frame.raw)
                encoder.wrote(b"".join(out[before:]))
    except OstiaryError as error:
        out.append(encoder.error(error, "request-1"))
    return b"".join(out)


def chunks(body):
    """The chunks of a stream in Google's form, events or an array."""
    if body.startswith(b"["):
        return json.loads(body)
    return [json.loads(event.data) for event in SseParser().feed(body)]


def official(name, stream, body):
    """Read an answer as the vendor's own SDK does, strictly."""
    if name == "gemini":
        response = pytest.importorskip("google.genai.types").GenerateContentResponse
        for chunk in chunks(body) if stream else [json.loads(body)]:
            if "error" not in chunk:
                response.model_validate(chunk)
        return
    if name == "openai":
        model = openai.types.chat.ChatCompletionChunk if stream else openai.types.chat.ChatCompletion
    elif name == "openai-responses":
        model = openai.types.responses.ResponseStreamEvent if stream else openai.types.responses.Response
    else:
        model = anthropic.types.RawMessageStreamEvent if stream else anthropic.types.Message
    if not stream:
        model.model_validate_json(body)
        return
    parser = SseParser()
    for event in parser.feed(body):
        assert event.data
        if event.data == b"[DONE]" or b'"error":{' in event.data or b'"ping"' in event.data:
            continue
        if name == "openai":
            model.model_validate_json(event.data)
        else:
            assert json.loads(event.data)["type"] == event.event
            TypeAdapter(model).validate_json(event.data)


@pytest.mark.parametrize("path", CASES, ids=[f"{path.parent.name}-{path.stem}" for path in CASES])
def test_a_case_is_translated_as_recorded(path):
    client, provider = CLIENTS[path.parent.name], PROVIDERS[path.name.split(".")[-2]]
    case = read_case(path)
    options, request = case["client request"]
    answer_options, answer = case.get("provider answer", ([], b""))
    try:
        peek, sent = provider_request(client, provider, options, request)
    except OstiaryError as error:
        peek, sent = None, refusal(error)
    got = (
        client_answer(client, provider, peek, (answer_options, answer), addressed_by(options))
        if peek is not None
        else b""
    )
    if os.environ.get("OSTIARY_UPDATE_GOLDEN") == "1":
        head = b"--- client request" + b"".join(b" " + word.encode() for word in options) + b"\n"
        text = head + request + b"--- provider request\n" + sent
        if peek is not None:
            status = b"".join(b" " + word.encode() for word in answer_options)
            text += b"--- provider answer" + status + b"\n" + answer + b"--- client answer\n" + got
        path.write_bytes(text)
        case = read_case(path)
    assert sent == case["provider request"][1]
    if peek is not None:
        assert got == case["client answer"][1]
        if not answer_options and client is not provider:
            official(client.name, peek.stream, got)


def test_every_pair_has_a_corpus():
    pairs = {(path.parent.name, path.name.split(".")[-2]) for path in CASES}
    assert pairs == {(a, b) for a in CLIENTS for b in PROVIDERS}
