import pytest

from ostiary.simulator.content import OPENING, Source, measure, sample, text_of, tokens


def test_a_source_depends_on_seed_and_parts_alone():
    assert [Source(1, b"a").below(1000) for _ in range(3)] == [Source(1, b"a").below(1000)] * 3
    assert len({Source(seed, part).name("x") for seed in (0, 1) for part in (b"a", b"b")}) == 4
    assert Source(0, b"ab", b"c").name("") != Source(0, b"a", b"bc").name("")


@pytest.mark.parametrize("count", [0, 5, 40])
def test_text_opens_by_saying_what_it_is(count):
    pieces = tokens(Source(0), count)
    assert "".join(pieces).startswith(OPENING)
    assert count == 0 or len(pieces) == count


def test_a_given_text_is_told_in_pieces():
    assert tokens(Source(0), 0, "a b  c") == ["a", " b", " ", " c"]
    assert tokens(Source(0), 2, "a b c") == ["a", " b"]


@pytest.mark.parametrize(("value", "count"), [("", 0), ("abcde", 2), ([1, "abcd"], 2), ({"a": "abcd"}, 2), (None, 1)])
def test_measure(value, count):
    assert measure(value) == count


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, str),
        ({"type": "integer"}, int),
        ({"type": "boolean"}, bool),
        ({"type": "null"}, type(None)),
        ({"type": ["string", "null"]}, str),
        ({"type": "array", "items": {"type": "integer"}}, list),
        ({"properties": {}}, dict),
        ({}, str),
        (True, str),
        (None, str),
    ],
)
def test_samples_have_the_kind_asked_for(schema, kind):
    assert isinstance(sample(schema, Source(0)), kind)


def test_a_sample_of_a_schema_without_end_ends():
    schema = {"type": "object"}
    schema["properties"] = {"self": schema}
    assert sample(schema, Source(0))


def test_text_of_content():
    assert text_of("a") == "a"
    assert text_of([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]) == "a b"
    assert text_of(None) == ""
