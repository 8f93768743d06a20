"""The bytes of everything beside conversations: older completions, moderations, images, sound and rankings. Pure.

Written from OpenAI's and Cohere's published references, not from the gateway.
"""

import base64
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final

import msgspec

from ostiary.simulator import content
from ostiary.simulator.behaviour import SIMULATED, Behaviour, Fault, Piece, Plan, Received, streamed, whole
from ostiary.simulator.openai import error, refusal

_CREATED: Final = 1_741_569_952
_PIXEL: Final = base64.b64encode(b"\x89PNG\r\n\x1a\nsimulated").decode()
_SOUND: Final = b"ID3\x04simulated\x00\xff\xfb"
_TYPES: Final = {
    "mp3": b"audio/mpeg",
    "opus": b"audio/opus",
    "aac": b"audio/aac",
    "flac": b"audio/flac",
    "wav": b"audio/wav",
    "pcm": b"audio/pcm",
}
_MILLISECONDS: Final = 2_500


def served(request: Received) -> bool:
    """Whether this file answers the request."""
    path = request.path.partition("?")[0]
    return request.method == "POST" and not path.endswith("/chat/completions") and path.endswith(tuple(_ANSWERS))


def model_of(request: Received) -> str:
    """The model that a form names; empty where it names none or is none."""
    value = _form(request).get("model", b"") if _is_form(request) else b""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def answer(request: Received, behaviour: Behaviour) -> Plan:
    """The plan for one request. Never raises but for fields of another type than any real request has."""
    refused = refusal(request, behaviour)
    if refused is not None:
        return refused
    source = content.Source(behaviour.seed, request.body)
    body: dict[str, Any] | None
    if _is_form(request):
        body = {
            name: value.decode() if isinstance(value, bytes) and not name.startswith("\0") else value
            for name, value in _form(request).items()
        }
    else:
        try:
            body = msgspec.json.decode(request.body)
        except msgspec.DecodeError:
            body = None
    if not isinstance(body, dict):
        return error(behaviour, 400, message="We could not parse the body of your request.")
    if not isinstance(body.get("model"), str):
        return error(behaviour, 400, message="you must provide a model parameter")
    if behaviour.fault is Fault.ERROR_EVENT and not (body.get("stream") or body.get("stream_format")):
        return whole(behaviour, 200, {"error": {"message": "simulated", "type": "server_error", "code": None}})
    path = request.path.partition("?")[0]
    end = next(end for end in _ANSWERS if path.endswith(end))
    return _ANSWERS[end](path, body, behaviour, source)


def _is_form(request: Received) -> bool:
    return request.header(b"content-type").startswith("multipart/form-data")


def _form(request: Received) -> dict[str, bytes | str]:
    """The fields of a form. A file's content stands under its name behind a NUL."""
    head = b"content-type: " + request.header(b"content-type").encode("latin-1") + b"\r\n\r\n"
    fields: dict[str, bytes | str] = {}
    for part in BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts():
        disposition = part["content-disposition"]
        name = str(disposition.params.get("name", "")) if disposition is not None else ""
        data = part.get_payload(decode=True)
        fields["\0" + name if part.get_filename() is not None else name] = data if isinstance(data, bytes) else b""
    return fields


def _completion(path: str, body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> Plan:
    del path
    prompt = body.get("prompt")
    if prompt is None:
        return error(behaviour, 400, message="Missing required parameter: 'prompt'.", param="prompt")
    prompts = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]
    pieces = [
        content.tokens(source, behaviour.tokens, behaviour.text) for _ in prompts for _ in range(body.get("n") or 1)
    ]
    finish = "stop"
    bound = body.get("max_tokens")
    if isinstance(bound, int) and any(len(one) > bound for one in pieces):
        pieces, finish = [one[:bound] for one in pieces], "length"
    if body.get("echo") and isinstance(prompt, str):
        pieces = [[prompt, *one] for one in pieces]
    used, made = content.measure(prompts), sum(map(len, pieces))
    if behaviour.fault is Fault.WRONG_USAGE:
        used, made = -5, 10**15
    usage = {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made}
    head = {"id": source.name("cmpl-sim"), "object": "text_completion", "created": _CREATED, "model": body["model"]}

    def choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
        return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}

    def events() -> Iterator[bytes]:
        counted = isinstance(body.get("stream_options"), dict) and body["stream_options"].get("include_usage") is True
        for index, one in enumerate(pieces):
            for place, text in enumerate(one):
                if behaviour.fault is Fault.ERROR_EVENT and place == behaviour.after:
                    yield b'data: {"error":{"message":"simulated","type":"server_error","param":null,"code":null}}\n\n'
                    return
                yield b"data: %b\n\n" % msgspec.json.encode({**head, "choices": [choice(index, text, None)]})
            yield b"data: %b\n\n" % msgspec.json.encode({**head, "choices": [choice(index, "", finish)]})
        if counted and behaviour.fault is not Fault.NO_USAGE:
            yield b"data: %b\n\n" % msgspec.json.encode({**head, "choices": [], "usage": usage})
        if behaviour.fault is not Fault.NO_END:
            yield b"data: [DONE]\n\n"

    if body.get("stream") is True:
        return streamed(behaviour, events())
    choices = [choice(index, "".join(one), finish) for index, one in enumerate(pieces)]
    return _told(behaviour, {**head, "choices": choices}, usage)


def _moderation(path: str, body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> Plan:
    del path
    given = body.get("input")
    if not given:
        return error(behaviour, 400, message="Missing required parameter: 'input'.", param="input")
    texts = isinstance(given, list) and all(isinstance(one, str) for one in given)
    results = [
        {
            "flagged": False,
            "categories": {"harassment": False, "violence": False},
            "category_scores": {"harassment": source.below(1_000) / 1e6, "violence": source.below(1_000) / 1e6},
            "category_applied_input_types": {"harassment": ["text"], "violence": ["text"]},
        }
        for _ in range(len(given) if texts else 1)
    ]
    return whole(behaviour, 200, {"id": source.name("modr-sim"), "model": body["model"], "results": results})


def _images(path: str, body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> Plan:
    del source
    edits = path.endswith("/edits")
    if path.endswith("/generations") and not body.get("prompt"):
        return error(behaviour, 400, message="Missing required parameter: 'prompt'.", param="prompt")
    count = int(body.get("n") or 1)
    used, made = content.measure(body.get("prompt") or ""), 272 * count
    usage: dict[str, Any] = {
        "input_tokens": used,
        "input_tokens_details": {"text_tokens": used, "image_tokens": 0},
        "output_tokens": made,
        "total_tokens": used + made,
    }
    if behaviour.fault is Fault.WRONG_USAGE:
        usage |= {"input_tokens": -5, "output_tokens": 10**15}
    kind = "image_edit" if edits else "image_generation"
    shape = {
        "created_at": _CREATED,
        "size": "1024x1024",
        "quality": "low",
        "background": "auto",
        "output_format": "png",
    }

    def events() -> Iterator[bytes]:
        for place in range(int(body.get("partial_images") or 0)):
            if behaviour.fault is Fault.ERROR_EVENT and place == behaviour.after:
                yield b'event: error\ndata: {"type":"error","error":{"message":"simulated","type":"server_error"}}\n\n'
                return
            partial = {"type": f"{kind}.partial_image", "b64_json": _PIXEL, "partial_image_index": place, **shape}
            yield _event(partial)
        if behaviour.fault is not Fault.NO_END:
            completed: dict[str, Any] = {"type": f"{kind}.completed", "b64_json": _PIXEL, **shape}
            yield _event(completed if behaviour.fault is Fault.NO_USAGE else {**completed, "usage": usage})

    if body.get("stream") in (True, "true"):
        return streamed(behaviour, events())
    return _told(behaviour, {"created": _CREATED, "data": [{"b64_json": _PIXEL} for _ in range(count)]}, usage)


def _speech(path: str, body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> Plan:
    del path
    if not body.get("input") or not body.get("voice"):
        return error(behaviour, 400, message="Missing required parameter.", param="input")
    pieces = content.tokens(source, behaviour.tokens, behaviour.text)
    used, made = content.measure(body["input"]), 20 * len(pieces)

    def events() -> Iterator[bytes]:
        for place, _ in enumerate(pieces):
            if behaviour.fault is Fault.ERROR_EVENT and place == behaviour.after:
                yield _event({"type": "error", "error": {"message": "simulated", "type": "server_error"}})
                return
            yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(_SOUND).decode()})
        if behaviour.fault is not Fault.NO_END:
            usage = {"input_tokens": used, "output_tokens": made, "total_tokens": used + made}
            yield _event({"type": "speech.audio.done", "usage": usage})

    if body.get("stream_format") == "sse":
        return streamed(behaviour, events())
    delay = 1.0 / behaviour.tokens_per_second if behaviour.tokens_per_second > 0 else 0.0
    return Plan(
        200,
        ((b"content-type", _TYPES.get(body.get("response_format") or "mp3", b"audio/mpeg")), SIMULATED),
        (Piece(_SOUND, delay if place else 0.0) for place, _ in enumerate(pieces)),
        streamed=True,
        first_byte_seconds=behaviour.first_byte_seconds,
    )


def _transcript(path: str, body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> Plan:
    if "\0file" not in body:
        return error(behaviour, 400, message="Missing required parameter: 'file'.", param="file")
    pieces = content.tokens(source, behaviour.tokens, behaviour.text)
    text = "".join(pieces)
    form = body.get("response_format") or "json"
    tokens = {
        "type": "tokens",
        "input_tokens": 25,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 25},
        "output_tokens": len(pieces),
        "total_tokens": 25 + len(pieces),
    }

    def events() -> Iterator[bytes]:
        for place, piece in enumerate(pieces):
            if behaviour.fault is Fault.ERROR_EVENT and place == behaviour.after:
                yield _event({"type": "error", "error": {"message": "simulated", "type": "server_error"}})
                return
            yield _event({"type": "transcript.text.delta", "delta": piece})
        if behaviour.fault is not Fault.NO_END:
            yield _event({"type": "transcript.text.done", "text": text, "usage": tokens})
            yield b"data: [DONE]\n\n"

    if body.get("stream") == "true":
        return streamed(behaviour, events())
    if form in ("text", "srt", "vtt"):
        told = {
            "text": f"{text}\n",
            "srt": f"1\n00:00:00,000 --> 00:00:02,500\n{text}\n\n",
            "vtt": f"WEBVTT\n\n00:00:00.000 --> 00:00:02.500\n{text}\n\n",
        }[form]
        return Plan(
            200, ((b"content-type", b"text/plain; charset=utf-8"), SIMULATED), (Piece(told.encode()),),
            first_byte_seconds=behaviour.first_byte_seconds,
        )  # fmt: skip
    if form == "verbose_json":
        task = "translate" if path.endswith("/translations") else "transcribe"
        seconds = _MILLISECONDS / 1_000
        verbose = {"task": task, "language": "english", "duration": seconds, "text": text, "segments": []}
        return _told(behaviour, verbose, {"type": "duration", "seconds": seconds})
    return _told(behaviour, {"text": text}, tokens)


def _ranking(path: str, body: dict[str, Any], behaviour: Behaviour, source: content.Source) -> Plan:
    documents = body.get("documents")
    if not isinstance(documents, list) or not documents or "query" not in body:
        return error(behaviour, 400, message="Missing required parameter: 'documents'.", param="documents")
    scored = sorted(((source.below(1_000) / 1_000, index) for index in range(len(documents))), reverse=True)
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": score} for score, index in scored[: body.get("top_n") or len(scored)]
    ]
    if path.endswith("/v2/rerank"):
        units = 0 if behaviour.fault is Fault.NO_USAGE else -(-len(documents) // 100)
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": units}}
        return whole(behaviour, 200, {"id": source.name("sim"), "results": results, "meta": meta})
    if body.get("return_documents"):
        results = [{**one, "document": {"text": documents[one["index"]]}} for one in results]
    used = content.measure(documents) + content.measure(body["query"])
    return _told(behaviour, {"model": body["model"], "results": results}, {"total_tokens": used})


def _told(behaviour: Behaviour, document: dict[str, Any], usage: dict[str, Any]) -> Plan:
    return whole(behaviour, 200, document if behaviour.fault is Fault.NO_USAGE else {**document, "usage": usage})


def _event(document: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), msgspec.json.encode(document))


_ANSWERS: Final = {
    "/completions": _completion,
    "/moderations": _moderation,
    "/images/generations": _images,
    "/images/edits": _images,
    "/images/variations": _images,
    "/audio/speech": _speech,
    "/audio/transcriptions": _transcript,
    "/audio/translations": _transcript,
    "/rerank": _ranking,
}
