"""What conditions may speak of, and that nothing but true lets a call through."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.bootstrap.expression import refused
from ostiary.core.limit import CONDITION_CHARS_MAX
from ostiary.gateway.route.condition import FIELDS, Conditions, said_by_caller, unknown_in

GOOD = (
    'principal.team == "search"',
    'principal.tenant.startsWith("acme") && request.stream',
    "request.input_tokens > 2000 || request.max_tokens == 0",
    '"images" in request.needs',
    'has(request.metadata.kind) && request.metadata.kind == "batch"',
    'request.metadata["kind"] == "batch"',
    'size(request.model) > 3 && request.label != "regulated"',
    'principal.key == "it said: request.nothing"',
    'request.operation == "chat" ? true : principal.environment == "sandbox"',
)


@pytest.mark.parametrize("text", GOOD)
def test_what_is_known_is_taken(text):
    assert refused(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('principal.taem == "a"', "`principal` has no `taem`; did you mean `team`?"),
        ("request.input_token > 1", "`request` has no `input_token`; did you mean `input_tokens`?"),
        ('princpal.team == "a"', "no name `princpal`; did you mean `principal`?"),
        ("siez(request.model) > 1", "no function `siez`; did you mean `size`?"),
        ('request.model.matches("(a+)+$")', "no method `matches`"),
        ('request.needs.exists(request, request == "a")', "no method `exists`"),
        ("request.needs.all(x, true)", "no method `all`"),
        ('request["model"] == "a"', "`request` is used by its fields"),
        ('principal.team.name == "a"', "`team` has no fields, so no `name`"),
        ('request.metadata.a.b == "a"', "`a` has no fields, so no `b`"),
        ("principal.team ==", "is no expression"),
        ("principal.team", "gives ``, not true or false"),
        ("request.input_tokens", "gives `0`, not true or false"),
        ("request.model > 3", "compares what cannot be compared"),
        ("(" * 200 + "true" + ")" * 200, "is no expression"),
        ("true " + " " * CONDITION_CHARS_MAX, f"at most {CONDITION_CHARS_MAX} characters"),
    ],
)
def test_what_is_not_known_or_not_bounded_is_refused_with_its_reason(text, reason):
    assert reason in (refused(text) or "")


@given(st.text(max_size=60))
def test_any_text_is_judged_without_an_exception(text):
    unknown_in(text)
    said_by_caller(text)


@given(st.from_regex(r"[a-z_]{1,12}", fullmatch=True))
def test_no_name_but_the_known_ones_passes(name):
    for owner, fields in FIELDS.items():
        assert (unknown_in(f"{owner}.{name} == 1") is None) == (name in fields)


def test_only_true_is_true():
    def broken(_):
        raise KeyError("nothing of that name")

    said = {"true": True, "false": False, "one": 1, "text": "true", "none": None}
    programs = {text: (lambda _, value=value: value) for text, value in said.items()}
    holds = Conditions({**programs, "broken": broken}).on(dict)
    assert holds("true") is True
    assert holds("false") is False
    assert [holds(text) for text in ("one", "text", "none", "broken", "not there")] == [None] * 5


def test_the_facts_are_asked_for_once_and_only_where_there_is_a_condition():
    asked = []
    holds = Conditions({"a": bool, "b": bool}).on(lambda: asked.append(1) or {})
    assert asked == []
    holds("a")
    holds("b")
    assert asked == [1]


def test_what_callers_say_is_found():
    assert said_by_caller('request.metadata.tier == "a" && request.metadata["region"] == "b"') == ("tier", "region")
    assert said_by_caller('principal.team == "a"') == ()


def test_a_worker_loads_the_engine_alone_and_only_for_conditions():
    code = (
        "import sys, ostiary.bootstrap.data as data;"
        "assert not any('typer' in name or name.split('.')[0] == 'cel' for name in sys.modules);"
        "from ostiary.bootstrap.expression import refused;"
        "assert refused('true') is None;"
        "assert not any(name.split('.')[0] in ('typer', 'rich', 'prompt_toolkit') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
