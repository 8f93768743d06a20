"""Every field of a request that OpenAI's own description of its API knows is carried, or refused by its name.

Driven by the description: each property, at every depth, is set to every kind of value it may have, in a request that
is the same otherwise. What comes of it at a provider, or of the names of what was left out, must differ from what
comes of the request without it, unless the refusal names it; a refusal turns into a drop of the same name where the
caller allows it. Nothing vanishes.
"""

from pathlib import Path

import msgspec
import pytest
import yaml

from ostiary.core.error import CallerError, Code
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.dialect.responses import Responses
from ostiary.gateway.wire.json import parse
from tests.dialect.known import PROVIDERS

DESCRIPTION = Path(__file__).parents[3] / "shared" / "datasets" / "openai" / "openapi.yaml"
pytestmark = pytest.mark.skipif(not DESCRIPTION.is_file(), reason=f"OpenAI's description is not at {DESCRIPTION}")

USER = {"role": "user", "content": "x"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
DEPTH_MAX = 12

# What a field needs beside it to mean anything.
CONTEXT = {
    "CreateChatCompletionRequest": {
        "tool_choice": {"tools": [{"type": "function", "function": {"name": "text"}}]},
        "parallel_tool_calls": {"tools": [{"type": "function", "function": {"name": "text"}}]},
        "top_logprobs": {"logprobs": True},
    },
    "CreateResponse": {
        "tool_choice": {"tools": [{"type": "function", "name": "text"}]},
        "parallel_tool_calls": {"tools": [{"type": "function", "name": "text"}]},
        "top_logprobs": {"include": ["message.output_text.logprobs"]},
    },
}
# Values that describe no request by themselves, by the property's name.
SAMPLES = {
    "image_url": "https://example.com/a.png",
    "url": "https://example.com/a.png",
    "file_url": "https://example.com/a.pdf",
    "file_data": "data:application/pdf;base64,AA",
    "parameters": SCHEMA,
    "schema": SCHEMA,
    "logit_bias": {"5": 1},
}
# What an object must have though the description does not say so, by its kind or by the property's name.
NEEDED = {
    "input_image": {"image_url": SAMPLES["image_url"]},
    "input_file": {"file_url": SAMPLES["file_url"]},
    "file": {"file_data": SAMPLES["file_data"]},
}
# What may be said without changing anything: why, by the path in the request and the value (None: any).
NOTHING = [
    ("stream_options.include_usage", None, "the gateway always asks for usage, to meter by it"),
    ("stream_options.include_obfuscation", None, "padding is between the client and the server it speaks to"),
    ("stream_options", {}, "an object without members says nothing"),
    ("stream", False, "the default"),
    ("logprobs", False, "the default"),
    ("store", False, "nothing is stored for whoever speaks another form, nor unasked"),
    ("background", False, "the default"),
    ("modalities[0]", "text", "the default"),
    ("verbosity", "medium", "the default"),
    ("text", {}, "an object without members says nothing"),
    ("text.verbosity", "medium", "the default"),
    ("text.format", {"type": "text"}, "the default"),
    ("response_format", {"type": "text"}, "the default"),
    ("reasoning", {}, "an object without members says nothing"),
    ("reasoning.mode", "standard", "the default"),
    ("reasoning.context", "auto", "the default"),
    ("truncation", "disabled", "the default"),
    ("function_call", "auto", "the default"),
    ("include[0]", "reasoning.encrypted_content", "what was encrypted is given in every answer that has it"),
    ("parallel_tool_calls", True, "the default"),
    ("input[0].id", None, "an item's name in a store that is not asked"),
    ("input[0].status", None, "an item's state in a store that is not asked"),
    ("input[0].type", "message", "the kind of an item that has a role"),
    ("input[0].content[0].logprobs[0]", None, "what a model gave, not what it is given"),
    ("input[0].content[0].logprobs[0].top_logprobs[0]", None, "what a model gave, not what it is given"),
    ("input[0].caller", {"type": "direct"}, "the default"),
    ("detail", "auto", "the default"),
    ("strict", False, "the default"),
    ("defer_loading", False, "the default"),
    ("allowed_callers[0]", "direct", "the default"),
    ("messages[0]", {"role": "assistant"}, "a turn in which nothing is said"),
]  # fmt: skip
# The same where one provider knows nothing else.
STRUCTURED = [
    ("text.format.strict", True, "a structured answer always keeps to its schema"),
    ("response_format.json_schema.strict", True, "a structured answer always keeps to its schema"),
]
ONE_WAY = {
    "anthropic": STRUCTURED[:1],
    "bedrock": [
        *STRUCTURED,
        ("service_tier", "auto", "the default"),
    ],
    "cohere": [
        *STRUCTURED,
        ("service_tier", "auto", "there is one tier"),
        ("service_tier", "default", "there is one tier"),
        ("tool_choice", "auto", "the default"),
    ],
    "gemini": [
        *STRUCTURED,
        ("service_tier", "auto", "the usual tier is asked for by saying nothing"),
        ("service_tier", "default", "the usual tier is asked for by saying nothing"),
    ],
}


@pytest.fixture(scope="module")
def schemas():
    with DESCRIPTION.open("rb") as file:
        return yaml.load(file, Loader=yaml.CSafeLoader)["components"]["schemas"]


def resolved(schemas, schema):
    """A schema with its reference followed and what it is all of in one."""
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "allOf" not in schema:
        return schema
    whole = {"type": "object", "properties": {}, "required": []}
    for part in [*schema["allOf"], {key: value for key, value in schema.items() if key != "allOf"}]:
        part = resolved(schemas, part)
        if part.get("type", "object") != "object" or "anyOf" in part or "enum" in part:
            return part
        whole["properties"] |= part.get("properties", {})
        whole["required"] += part.get("required", [])
    return whole


def options(schema):
    return [option for option in schema.get("anyOf") or schema.get("oneOf") or () if option.get("type") != "null"]


def sampled(schema, name):
    """Whether a property takes the value listed for its name."""
    kind = dict if schema.get("type") == "object" else str if schema.get("type") == "string" else None
    return name in SAMPLES and kind is type(SAMPLES[name])


def minimal(schemas, schema, name="", depth=0):
    """The smallest value of a schema."""
    schema = resolved(schemas, schema)
    if sampled(schema, name):
        return SAMPLES[name]
    if options(schema):
        return minimal(schemas, options(schema)[0], name, depth + 1)
    if "enum" in schema or "const" in schema:
        return schema["enum"][0] if "enum" in schema else schema["const"]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        members = schema.get("properties") or {}
        if not members and schema.get("additionalProperties", True):
            return {"a": "b"}
        needed = [key for key in schema.get("required", []) if key in members]
        least = {key: minimal(schemas, members[key], key, depth + 1) for key in needed}
        return least | NEEDED.get(least.get("type"), NEEDED.get(name, {}))
    if kind == "array":
        return [minimal(schemas, schema["items"], "", depth + 1)] if depth < DEPTH_MAX else []
    return {"string": "text", "boolean": True, "integer": 7, "number": 0.5}[kind]


class Sweep:
    """Sets one thing after the other in one kind of request and says what came of each. `faults` collects what should
    not be."""

    def __init__(self, schemas, client, provider, nothing):
        self._schemas = schemas
        self._client = client
        self._provider = provider
        self._nothing = nothing
        self.faults = []
        self.outcomes = {"carried": 0, "refused": 0, "nothing": 0}

    def outcome(self, tree, *, drop=False):
        try:
            call = self._client.decode_chat(parse(msgspec.json.encode(tree)))
            sent = self._provider.encode_chat(call, model="m", max_tokens=None, drop=drop)
        except CallerError as error:
            return error
        return sent

    def walk(self, schema, path, put, before, depth=0):
        """Every value of `schema` at `path`; `put` makes a request of a value, `before` is the request without."""
        schema = resolved(self._schemas, schema)
        name = path.rpartition(".")[2]
        if sampled(schema, name):
            self.judge(path, SAMPLES[name], before, put(SAMPLES[name]))
        elif options(schema):
            for option in options(schema):
                self.walk(option, path, put, before, depth)
        elif "enum" in schema or "const" in schema:
            for value in schema.get("enum") or [schema["const"]]:
                self.judge(path, value, before, put(value))
        elif schema.get("type") == "boolean":
            for value in (True, False):
                self.judge(path, value, before, put(value))
        elif schema.get("type") == "array":
            self.walk(schema["items"], f"{path}[0]", lambda value: put([value]), before, depth + 1)
        else:
            least = minimal(self._schemas, schema, name)
            # What is refused as a whole is not looked into.
            if self.judge(path, least, before, put(least)) and isinstance(least, dict) and depth < DEPTH_MAX:
                self._members(schema, path, put, before, depth)

    def _members(self, schema, path, put, before, depth):
        least = minimal(self._schemas, schema, path.rpartition(".")[2])
        for key, inner in (schema.get("properties") or {}).items():
            needed = key in least
            if needed and key in ("type", "role", "object"):
                continue

            def inside(value, key=key):
                return put({**least, key: value})

            self.walk(inner, f"{path}.{key}", inside, before if needed else put(least), depth + 1)

    def judge(self, path, value, before, after):
        """Whether the value went anywhere."""
        sent = self.outcome(after)
        where = f"{path} = {value!r}"
        if isinstance(sent, CallerError):
            self.outcomes["refused"] += 1
            top = path.partition(".")[0].partition("[")[0]
            if sent.code is not Code.REQUEST_UNSUPPORTED or not (sent.param or "").startswith(top):
                self.faults.append(f"{where}: {sent.code} names {sent.param}")
            else:
                dropped = self.outcome(after, drop=True)
                if not isinstance(dropped, CallerError) and sent.param not in dropped.dropped:
                    self.faults.append(f"{where}: refused as {sent.param} but dropped as {dropped.dropped}")
            return False
        without = self.outcome(before)
        if not isinstance(without, CallerError) and without == sent:
            if not any(_matches(path, value, entry) for entry in self._nothing):
                self.faults.append(f"{where}: vanished")
            self.outcomes["nothing"] += 1
        else:
            self.outcomes["carried"] += 1
        return True


def _matches(path, value, entry):
    place, known, _ = entry
    return (path == place or path.endswith(f".{place}")) and (known is None or known == value)


REQUESTS = {
    "CreateChatCompletionRequest": (OpenAI(), {"model": "m", "messages": [USER]}, "messages"),
    "CreateResponse": (Responses(), {"model": "m", "input": [USER]}, "input"),
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_no_field_of_the_description_vanishes(schemas, request_name, provider):
    client, base, turns = REQUESTS[request_name]
    sweep = Sweep(schemas, client, PROVIDERS[provider], NOTHING + ONE_WAY.get(provider, []))
    for key, schema in resolved(schemas, schemas[request_name])["properties"].items():
        if key == "model":
            continue
        context = base | CONTEXT[request_name].get(key, {})
        if isinstance(sweep.outcome(context), CallerError):
            context = base
        if key == turns:
            # A turn is looked at before another, since the last one may mean more than it says.
            each = next(option for option in [schema, *options(resolved(schemas, schema))] if "items" in option)
            sweep.walk(each["items"], f"{turns}[0]", lambda item, t=turns: base | {t: [item, USER]}, base)
        else:
            sweep.walk(schema, key, lambda value, c=context, k=key: c | {k: value}, context)
    assert not sweep.faults, "\n".join(sweep.faults)
    assert sweep.outcomes["carried"] > 40
    assert sweep.outcomes["refused"] > 5


def test_no_field_of_an_embeddings_request_vanishes(schemas):
    client = PROVIDERS["openai"]
    base = {"model": "m", "input": "x"}
    for key, schema in resolved(schemas, schemas["CreateEmbeddingRequest"])["properties"].items():
        for option in options(resolved(schemas, schema)) or [schema]:
            value = minimal(schemas, option, key)
            call = client.decode_embeddings(parse(msgspec.json.encode(base | {key: value})))
            sent = msgspec.json.decode(client.encode_embeddings(call, model="m", drop=False).body)
            assert sent[key] in (("m",) if key == "model" else (value, [value]))
