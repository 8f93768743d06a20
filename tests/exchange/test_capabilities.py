"""A call is kept from what certainly cannot do it, and from nothing else."""

import base64

import pytest

from ostiary.core.capability import Capability
from ostiary.core.error import Code
from ostiary.core.event import Kind
from ostiary.gateway.dialect import Addressed
from ostiary.snapshot.tables import KnownModelRow, TargetRow, TeamRow, TraitsRow
from tests.exchange.harness import House, fallback, model

PIXELS = base64.b64encode(b"pixels").decode()
BLIND = TraitsRow(
    can=(Capability.PROMPT_CACHING,),
    cannot=tuple(one for one in Capability if one is not Capability.PROMPT_CACHING),
    context_window=1_000,
    max_output_tokens=500,
)
SEEING = TraitsRow(can=tuple(Capability), context_window=10**6, max_output_tokens=10**5)
TEAMS = (TeamRow(tenant="acme", name="search", environment="production", models=("*",)),)
DIALECTS = {"openai": "oai", "anthropic": "ant", "gemini": "goo", "openai-responses": "res"}


def house(**fields):
    return House(
        models=(
            *(model(f"blind-{dialect}", TargetRow(host, "blind", 1, BLIND)) for dialect, host in DIALECTS.items()),
            model("unknown", ("oai", "who-knows")),
            model(
                "both",
                TargetRow("oai", "blind", 1, BLIND),
                TargetRow("spare", "seeing", 1, SEEING),
                strategy="priority",
            ),
            model("falls", TargetRow("oai", "blind", 1, BLIND), fallbacks=(fallback("seeing"),)),
            model("sinks", TargetRow("oai", "blind", 1, BLIND), fallbacks=(fallback("blind-openai"),)),
            model("seeing", TargetRow("spare", "seeing", 1, SEEING)),
            model("any/*", TargetRow("oai", "*")),
        ),
        known_models=(KnownModelRow("list", "blind", BLIND),),
        teams=TEAMS,
        **fields,
    )


def openai(*parts, **fields):
    content = [{"type": "text", "text": "Look."}, *parts]
    return {"messages": [{"role": "user", "content": content}], **fields}


def anthropic(*blocks, **fields):
    content = [{"type": "text", "text": "Look."}, *blocks]
    return {"max_tokens": 64, "messages": [{"role": "user", "content": content}], **fields}


def gemini(*parts, **fields):
    return {"contents": [{"role": "user", "parts": [{"text": "Look."}, *parts]}], **fields}


def responses(*parts, **fields):
    content = [{"type": "input_text", "text": "Look."}, *parts]
    return {"input": [{"type": "message", "role": "user", "content": content}], **fields}


FUNCTION = {"name": "f", "parameters": {"type": "object"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
CASES = [
    ("openai", openai({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXELS}"}}), "images"),
    ("openai", openai({"type": "file", "file": {"filename": "a.PDF", "file_data": PIXELS}}), "files"),
    ("openai", openai({"type": "input_audio", "input_audio": {"data": PIXELS, "format": "wav"}}), "audio"),
    ("openai", openai(tools=[{"type": "function", "function": FUNCTION}]), "tools"),
    ("openai", openai(functions=[FUNCTION]), "tools"),
    ("openai", openai(response_format=SCHEMA), "structured_output"),
    ("openai", openai(reasoning_effort="high"), "thinking"),
    ("openai", openai(logprobs=True), "logprobs"),
    ("openai", openai(modalities=["text", "audio"]), "audio_output"),
    ("openai", openai(max_completion_tokens=501), "max_tokens"),
    ("openai", openai({"type": "text", "text": "word " * 2_000}), "context_window"),
    ("anthropic", anthropic({"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}), "images"),
    ("anthropic", anthropic({"type": "document", "source": {"type": "url", "url": "https://x.test/a"}}), "files"),
    (
        "anthropic",
        anthropic(
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXELS}}],
            }
        ),
        "images",
    ),
    ("anthropic", anthropic(tools=[{"name": "f", "input_schema": {"type": "object"}}]), "tools"),
    ("anthropic", anthropic(thinking={"type": "enabled", "budget_tokens": 1024}), "thinking"),
    ("anthropic", anthropic(output_config={"format": {"type": "json_schema", "schema": {}}}), "structured_output"),
    ("anthropic", anthropic(max_tokens=501), "max_tokens"),
    ("anthropic", anthropic({"type": "text", "text": "word " * 2_000}), "context_window"),
    ("gemini", gemini({"inlineData": {"mimeType": "image/png", "data": PIXELS}}), "images"),
    ("gemini", gemini({"inline_data": {"mime_type": "application/pdf", "data": PIXELS}}), "files"),
    ("gemini", gemini({"fileData": {"mimeType": "audio/wav", "fileUri": "https://x.test/a"}}), "audio"),
    ("gemini", gemini({"fileData": {"mimeType": "video/mp4", "fileUri": "https://x.test/a"}}), "video"),
    ("gemini", gemini(tools=[{"functionDeclarations": [{"name": "f"}]}]), "tools"),
    ("gemini", gemini(generationConfig={"responseJsonSchema": {"type": "object"}}), "structured_output"),
    ("gemini", gemini(generationConfig={"thinkingConfig": {"thinkingBudget": 1024}}), "thinking"),
    ("gemini", gemini(generation_config={"thinking_config": {"thinking_level": "high"}}), "thinking"),
    ("gemini", gemini(generationConfig={"responseModalities": ["IMAGE"]}), "image_output"),
    ("gemini", gemini(generationConfig={"responseLogprobs": True}), "logprobs"),
    ("gemini", gemini(generationConfig={"maxOutputTokens": 501}), "max_tokens"),
    ("openai-responses", responses({"type": "input_image", "image_url": "https://x.test/a.png"}), "images"),
    ("openai-responses", responses({"type": "input_file", "filename": "a.pdf", "file_data": PIXELS}), "files"),
    ("openai-responses", responses(tools=[{"type": "function", **FUNCTION}]), "tools"),
    ("openai-responses", responses(reasoning={"effort": "low"}), "thinking"),
    (
        "openai-responses",
        responses(text={"format": {"type": "json_schema", "name": "x", "schema": {}}}),
        "structured_output",
    ),
    ("openai-responses", responses(top_logprobs=2), "logprobs"),
    ("openai-responses", responses(max_output_tokens=501), "max_tokens"),
]


async def call(one, dialect, body, name):
    if dialect == "gemini":
        return await one.call(dialect, body, addressed=Addressed(model=name))
    return await one.call(dialect, {"model": name, **body})


def reason(dialect, sink):
    error = sink.json["error"]
    return error["details"][0]["reason"] if dialect == "gemini" else error["code"]


@pytest.mark.parametrize(("dialect", "body", "lacking"), CASES)
async def test_what_a_model_is_known_not_to_do_is_refused_in_the_callers_dialect_and_never_sent(dialect, body, lacking):
    one = house()
    sink = await call(one, dialect, body, f"blind-{dialect}")
    one.check()
    assert sink.status == 400
    assert reason(dialect, sink) == f"capability.{lacking}"
    assert "Use a model that can" in sink.json["error"]["message"]
    assert one.upstream.sent == []
    (denied,) = one.journal.of(Kind.DENIED)
    assert denied.error == f"capability.{lacking}"


@pytest.mark.parametrize(("dialect", "body", "lacking"), CASES)
async def test_of_what_is_unknown_nothing_is_refused(dialect, body, lacking):
    one = house()
    sink = await call(one, dialect, body, "unknown")
    if sink.status != 200:  # a form that another dialect cannot carry is a reason of its own
        assert not str(reason(dialect, sink)).startswith("capability.")


PLAIN = [
    ("openai", openai(max_tokens=500, reasoning_effort="none", response_format={"type": "json_object"})),
    ("openai", openai({"type": "text", "text": "word " * 1_500})),
    ("anthropic", anthropic(thinking={"type": "disabled"})),
    (
        "anthropic",
        anthropic({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Text."}}),
    ),
    ("gemini", gemini(generationConfig={"thinkingConfig": {"thinkingBudget": 0}})),
    ("openai-responses", responses(reasoning={"effort": "none"})),
]


@pytest.mark.parametrize(("dialect", "body"), PLAIN)
async def test_what_any_model_can_do_goes_through(dialect, body):
    one = house()
    sink = await call(one, dialect, body, f"blind-{dialect}")
    one.check()
    assert sink.status == 200, sink.body


async def test_another_target_that_can_is_used():
    one = house()
    image = CASES[0][1]
    assert (await call(one, "openai", image, "both")).status == 200
    assert [sent.origin.host for sent in one.upstream.sent] == ["spare.test"]
    assert (await call(one, "openai", openai(), "both")).status == 200
    assert one.upstream.sent[-1].origin.host == "oai.test"
    one.check()


async def test_a_fallback_that_can_is_used_and_says_why():
    one = house()
    sink = await call(one, "openai", CASES[0][1], "falls")
    assert sink.status == 200
    assert sink.headers[b"x-ostiary-fallback"] == Code.CAPABILITY_IMAGES.encode()
    assert sink.headers[b"x-ostiary-target"] == b"spare/seeing@seeing"
    assert reason("openai", await call(one, "openai", CASES[0][1], "sinks")) == "capability.images"
    one.check()


async def test_what_is_known_holds_behind_a_wildcard_too_with_or_without_a_date():
    one = house()
    for name in ("any/blind", "any/blind-2025-04-14", "any/blind-20250414", "any/blind@20250414"):
        assert reason("openai", await call(one, "openai", CASES[0][1], name)) == "capability.images"
    assert (await call(one, "openai", CASES[0][1], "any/blindfold")).status == 200
    assert (await call(one, "openai", CASES[0][1], "any/blind-2")).status == 200


async def test_a_limit_is_told_in_numbers():
    one = house()
    sink = await call(one, "openai", openai(max_tokens=501), "blind-openai")
    assert "500 tokens" in sink.json["error"]["message"]
    assert sink.json["error"]["param"] == "max_tokens"


async def test_escaped_letters_count_as_letters_not_as_six():
    body = b'{"model": "blind-openai", "messages": [{"role": "user", "content": "' + b"\\u0436" * 7_000 + b'"}]}'
    one = house()
    assert (await one.post(b"/v1/chat/completions", body)).status == 200
    assert (await one.post(b"/v1/chat/completions", body.replace(b"\\u0436", b"\\u0436\\u0436"))).status == 400


async def test_the_need_of_a_call_is_not_read_where_nothing_is_known(monkeypatch):
    one = house()
    for dialect in one.world.clients.values():
        monkeypatch.setattr(type(dialect), "chat_needs", None)
    assert (await call(one, "openai", openai(), "unknown")).status == 200
