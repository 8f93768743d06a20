"""The corpus: one file per case, `<client's dialect>/<case>.<provider's dialect>.txt`, in four sections.

`client request` and `provider answer` are written by hand; `provider request` and `client answer` are what the
dialects make of them, byte for byte. `OSTIARY_UPDATE_GOLDEN=1` writes those two anew: read the difference. Words
after a section's name are options: `drop` allows fields to be left out, `status 429` is an answer's HTTP status.
A section `provider request` that says `refused` ends the case.
"""

import os
import re
from pathlib import Path

import anthropic.types
import openai.types
import openai.types.chat
import pytest

from ostiary.core.error import OstiaryError
from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.wire.json import parse
from ostiary.gateway.wire.sse import SseParser

HERE = Path(__file__).parent
DIALECTS = {"openai": OpenAI(), "anthropic": Anthropic()}
CASES = sorted(HERE.glob("*/*.*.txt"))
SECTION = re.compile(rb"^--- (client request|provider request|provider answer|client answer)(.*)\n", re.MULTILINE)
CREATED = 1700000000


def read_case(path):
    pieces = SECTION.split(path.read_bytes())
    assert pieces[0] == b"", path
    return {pieces[i].decode(): (pieces[i + 1].decode().split(), pieces[i + 2]) for i in range(1, len(pieces), 3)}


def refusal(error):
    return f"refused {error.code} {error.param}\n{error.message}\n".encode()


def provider_request(client, provider, options, body):
    document = parse(body)
    peek = client.peek_chat(document)
    if client is provider:
        encoded = provider.forward_chat(document, model="provider-model", report_usage=True, max_tokens=None)
    else:
        call = client.decode_chat(document)
        encoded = provider.encode_chat(call, model="provider-model", max_tokens=None, drop="drop" in options)
    head = b"POST " + encoded.path + b"\n" + b"".join(b"%b: %b\n" % pair for pair in encoded.headers)
    dropped = f"dropped: {', '.join(encoded.dropped)}\n".encode() if encoded.dropped else b""
    return peek, head + dropped + b"\n" + encoded.body + b"\n"


def client_answer(client, provider, peek, options, body):
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
    decoder = provider.stream_decoder(events=client is not provider)
    encoder = client.stream_encoder(include_usage=peek.include_usage, created=CREATED)
    out = []
    try:
        for step in (lambda: decoder.feed(body), decoder.close):
            for frame in step():
                if client is not provider:
                    out += [encoder.encode(event) for event in frame.events]
                elif peek.include_usage or not frame.usage_only:
                    out.append(frame.raw)
    except OstiaryError as error:
        out.append(encoder.error(error, "request-1"))
    return b"".join(out)


def official(name, stream, body):
    """Read an answer as the vendor's own SDK does, strictly."""
    if name == "openai":
        model = openai.types.chat.ChatCompletionChunk if stream else openai.types.chat.ChatCompletion
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
            kind = event.event
            assert kind
            anthropic._models.TypeAdapter(model).validate_json(event.data)


@pytest.mark.parametrize("path", CASES, ids=[f"{path.parent.name}-{path.stem}" for path in CASES])
def test_a_case_is_translated_as_recorded(path):
    client, provider = DIALECTS[path.parent.name], DIALECTS[path.name.split(".")[-2]]
    case = read_case(path)
    options, request = case["client request"]
    answer_options, answer = case.get("provider answer", ([], b""))
    try:
        peek, sent = provider_request(client, provider, options, request)
    except OstiaryError as error:
        peek, sent = None, refusal(error)
    got = client_answer(client, provider, peek, answer_options, answer) if peek is not None else b""
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
    assert pairs == {(a, b) for a in DIALECTS for b in DIALECTS}
