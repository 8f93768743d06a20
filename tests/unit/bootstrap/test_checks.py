"""What answers are checked for, from the file to the snapshot."""

import pytest

from ostiary.bootstrap.compile import compile_file
from ostiary.core.error import OperatorError
from ostiary.settings import load
from ostiary.snapshot.tables import ChecksRow, PoorSign, QualityRow

FILE = """
providers:
  onsite: {dialect: openai, base_url: "http://127.0.0.1:8000/v1", residency: private, auth: {scheme: none}}
models:
  chat:
    targets: [{provider: onsite, model: small}]
    fallbacks: [{model: better, on: [REASONS]}]
    MORE
  better: {targets: [{provider: onsite, model: large}]}
"""


@pytest.fixture
def declared(tmp_path):
    def compiled(reasons, more=""):
        file = tmp_path / "ostiary.yaml"
        file.write_text(FILE.replace("REASONS", reasons).replace("MORE", more))
        return compile_file(load(file), tmp_path / "secrets")

    return compiled


def checks(found):
    return {row.name: row.checks for row in found.models}


def test_answers_are_checked_only_for_what_something_stands_ready_for(declared):
    assert checks(declared("error")) == {"chat": None, "better": None}
    assert checks(declared("error, schema"))["chat"] == ChecksRow(schema=True)
    assert checks(declared("quality"))["chat"] == ChecksRow(quality=QualityRow((PoorSign.EMPTY,)))
    ready = 'degraded: {on: [schema], answers: [{text: "no"}]}'
    assert checks(declared("error", ready))["chat"] == ChecksRow(schema=True)


def test_what_is_poor_is_told_in_the_entry(declared):
    found = declared("quality", "quality: {signs: [length], min_characters: 9, poor_when: 'answer.characters > 2'}")
    row = QualityRow((PoorSign.LENGTH,), 9, "answer.characters > 2")
    assert checks(found)["chat"] == ChecksRow(quality=row)


@pytest.mark.parametrize(
    ("reasons", "more", "told"),
    [
        ("error", "quality: {min_characters: 3}", "nothing stands ready for `quality`"),
        ("quality", "quality: {poor_when: 'answer.lenght > 3'}", "`answer` has no `lenght`"),
        ("quality", "quality: {poor_when: 'request.model == \"x\"'}", "no name `request`"),
        ("quality", "quality: {poor_when: 'answer.text.matches(\"(a+)+\")'}", "no method `matches`"),
        ("quality", "quality: {poor_when: 'answer.characters'}", "not true or false"),
        ("quality", "quality: {signs: [boring]}", "boring"),
    ],
)
def test_what_cannot_be_meant_is_refused(declared, reasons, more, told):
    with pytest.raises(OperatorError, match=told.replace("(", r"\(")):
        declared(reasons, more)


def test_a_reason_that_cannot_happen_yet_is_warned_of(declared):
    assert declared("error").warnings == ()
    (warning,) = declared("guard").warnings
    assert "models.chat: `guard` never happens yet" in warning
