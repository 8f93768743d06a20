"""The closed vocabularies: nothing in them without use, nothing in use without them."""

import re

import typer.main

from ostiary.cli.main import app
from ostiary.core import limit
from ostiary.core.error import REASONS, Code
from tests.tidy.tree import SRC, modules

RESERVED = {
    Code.GATEWAY_NOT_READY: "a data worker does not listen before it has its configuration",
}
"""Codes that nothing raises in this version, and why they stay: clients may branch on them."""


def _uses(word, *, beside):
    pattern = re.compile(rf"\b{re.escape(word)}\b")
    return [one.name for one in modules(SRC) if one.path != beside and pattern.search(one.text)]


def test_every_bound_is_enforced_somewhere():
    names = [name for name in vars(limit) if name.isupper()]
    assert names
    unused = [name for name in names if not _uses(name, beside=SRC / "core/limit.py")]
    assert unused == []


def test_every_bound_says_its_unit():
    units = ("LINES", "BYTES", "SECONDS", "COUNT", "CHARS", "RECORDS", "ENTRIES", "DEPTH")
    things = (
        "CHUNKS REQUESTS CONNECTIONS KEYS MESSAGES PARTS TOOLS CHOICES SEQUENCES TOKENS INPUTS EVENTS INFORMATIONAL "
        "DESTINATION ADDRESSES WAITERS VALUES SOURCES EXCHANGES ATTEMPTS FAILURES SHARE RETRIES TARGETS SCOPES MINUTE FALLBACKS "
        "PROMPTS IMAGES DOCUMENTS FRAGMENTS RESPONSES PROTOCOLS TAGS PURGES ANSWERS NEIGHBOURS DIMENSIONS SIMILARITY"
    ).split()
    for name in (name for name in vars(limit) if name.isupper()):
        assert any(word in name.split("_") for word in (*units, *things)), name


def test_every_reason_is_raised_or_reserved():
    raised = {code for code in Code if _uses(f"Code.{code.name}", beside=SRC / "core/error.py")}
    assert set(Code) - raised == set(RESERVED)


def test_every_reason_is_documented():
    assert set(REASONS) == set(Code)
    for code, reason in REASONS.items():
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", code)
        assert reason.cause.endswith(".")
        assert reason.advice.endswith(".")
        assert reason.status == 0 or 400 <= reason.status <= 599


def _commands(command, path):
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, (*path, name))


def test_every_command_and_option_says_what_it_does():
    for path, command in _commands(typer.main.get_command(app), ("ostiary",)):
        assert command.help, " ".join(path)
        for one in command.params:
            if one.name != "help":
                assert getattr(one, "help", None), f"{' '.join(path)}: {one.name}"
