"""Whatever stands in the operator's file: it is compiled or refused with a reason, and never a surprise."""

import copy
import os
import random
import re

import pytest
import yaml

from ostiary.bootstrap.compile import compile_file
from ostiary.core.error import OperatorError
from ostiary.settings import load, schema

BASE = yaml.safe_load("""
providers:
  sim: {dialect: openai, base_url: "http://127.0.0.1:9/v1", auth: {secret: "${env:K}"}, prices: openai}
models:
  chat: {targets: [{provider: sim, model: gpt-4o-mini}]}
  other: {targets: [{provider: sim, model: gpt-4o-mini}]}
tenants:
  - name: acme
    teams: [{name: search, models: ["*"], keys: [{name: app, secret: "${env:K}"}]}]
""")
LIKELY = (
    "2026-02-03",
    "2026-13-40",
    "1",
    "0.5",
    "http://127.0.0.1:9/v1",
    "sim",
    "chat",
    "prod",
    "search",
    "acme",
    "${env:K}",
    "openai",
    "UTC",
    "a.b",
    "10.0.0.0/8",
    "key",
    "x-a",
)
ODD = (
    *(
        "",
        "x",
        "é\u202e",
        "2026-13-40",
        "0000-00-00",
        "9999-12-31",
        "1e40",
        "999999999.999999999",
        "-1",
        "0",
        "a" * 5_000,
    ),
    *(-1, 0, 1.5, 10**12, 10**30, -(10**30), 1e308, True, None, [], {}),
    *("${env:NOPE}", "${file:/nope}", "http://[::1", "https://x:99999/", "http://u:p@h/", "postgresql://[::1"),
    *("*", "a/*", "(", "x && (", "metadata['a'", "Europe/Nowhere", "../..", "UTC+25", "127.0.0.1:0", "{region}"),
)


class Files:
    """Files made at random after the schema that the product publishes, with a thing or two that may not be there."""

    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.schema = schema()
        self.defs = self.schema.get("$defs", {})

    def seen(self, schema):
        while "$ref" in schema:
            schema = self.defs[schema["$ref"].rsplit("/", 1)[1]]
        return schema

    def value(self, schema, depth=0):
        draw, schema = self.draw, self.seen(schema)
        if "anyOf" in schema:
            kinds = [one for one in schema["anyOf"] if self.seen(one).get("type") != "null"]
            return self.value(draw.choice(kinds), depth)
        if "enum" in schema:
            return draw.choice(schema["enum"])
        match schema.get("type"):
            case "object" if schema.get("properties"):
                wanted = schema.get("required", ())
                likely = 0.5 if depth < 4 else 0.15
                return {
                    name: self.value(one, depth + 1)
                    for name, one in schema["properties"].items()
                    if name in wanted or draw.random() < likely
                }
            case "object":
                inner = schema.get("additionalProperties")
                names = draw.sample(("sim", "chat", "a", "b/*", "x-y"), 2)
                return {name: self.value(inner, depth + 1) for name in names} if isinstance(inner, dict) else {}
            case "array":
                return [self.value(schema["items"], depth + 1) for _ in range(draw.randint(0, 2))]
            case "integer" | "number":
                least = schema.get("minimum", 1)
                return draw.choice((least, least + 1, schema.get("maximum", 100)))
            case "boolean":
                return draw.random() < 0.5
            case "string":
                fitting = [text for text in LIKELY if re.search(schema.get("pattern", ""), text)]
                return draw.choice(fitting or ["x"])
        return "x"

    def section(self, path):
        """The schema at a path of names and of "*", for whichever."""
        schema = self.schema
        for name in path:
            schema = self.seen(schema)
            schema = schema["items"] if schema.get("type") == "array" else schema
            schema = self.seen(schema)
            schema = schema["additionalProperties"] if name == "*" else schema["properties"][name]
        found = self.seen(schema)
        return self.seen(found["items"]) if found.get("type") == "array" else found

    def file(self):
        draw, found = self.draw, copy.deepcopy(BASE)
        tops = self.seen(self.schema)["properties"]
        for name in draw.sample(sorted(tops), draw.choice((0, 0, 1))):
            merge(found, {name: self.value(tops[name])})
        places = (
            (found["providers"]["sim"], ("providers", "*")),
            (found["models"]["chat"], ("models", "*")),
            (found["tenants"][0], ("tenants",)),
            (found["tenants"][0]["teams"][0], ("tenants", "teams")),
        )
        for place, path in places:
            if draw.random() < 0.4:
                made = self.value(self.section(path))
                merge(place, {name: one for name, one in made.items() if draw.random() < 0.4})
        if draw.random() < 0.6:
            path = draw.choice([path for path in leaves(found) if path])
            place = found
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = draw.choice(ODD)
        return found


def merge(base, more):
    for name, one in more.items():
        if isinstance(one, dict) and isinstance(base.get(name), dict):
            merge(base[name], one)
        else:
            base.setdefault(name, one)


def leaves(value, path=()):
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, one in inner:
        yield from leaves(one, (*path, step))
    yield path


@pytest.mark.parametrize("seed", range(40 if os.environ.get("OSTIARY_DRILL") else 4))
def test_every_file_is_compiled_or_refused_with_a_reason(tmp_path, monkeypatch, seed):
    monkeypatch.setenv("K", "k" * 30)
    monkeypatch.chdir(tmp_path)
    files, compiled, surprises = Files(seed), 0, []
    path = tmp_path / "ostiary.yaml"
    for _ in range(150):
        text = yaml.safe_dump(files.file(), allow_unicode=True)
        path.write_text(text, encoding="utf-8")
        try:
            compile_file(load(path), tmp_path / "secrets")
            compiled += 1
        except OperatorError as error:
            if "please report" in error.message:
                surprises.append((error.message, text))
    assert surprises == []
    assert compiled > 10
