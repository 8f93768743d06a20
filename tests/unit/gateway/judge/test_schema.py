"""Our reading of JSON Schema against another's, and its bounds."""

import time

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.limit import SCHEMA_STEPS_COUNT_MAX
from ostiary.gateway.judge.schema import TooMuch
from ostiary.gateway.judge.schema import misfit as bounded


def misfit(schema, value):
    return bounded(schema, value, SCHEMA_STEPS_COUNT_MAX)


NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([0.5, 1.0, -2.5])
    | st.sampled_from(["", "x", "long"])
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
KINDS = st.sampled_from(["string", "number", "integer", "boolean", "null", "object", "array"])


def objects(inner):
    return st.fixed_dictionaries(
        {},
        optional={
            "type": KINDS | st.lists(KINDS, min_size=1, max_size=2, unique=True),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    )


LEAVES = st.booleans() | st.fixed_dictionaries(
    {},
    optional={
        "type": KINDS,
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        "minimum": st.integers(-3, 3),
        "maximum": st.integers(-3, 3),
        "exclusiveMinimum": st.integers(-3, 3),
        "exclusiveMaximum": st.integers(-3, 3),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(0, 3),
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "$ref": st.just("#/$defs/one"),
    },
)
SCHEMAS = st.recursive(LEAVES, objects, max_leaves=6)


@given(SCHEMAS, st.none() | LEAVES.filter(lambda one: one is True or (type(one) is dict and "$ref" not in one)), VALUES)
def test_a_value_fits_where_the_reference_validator_says_so(schema, definition, value):
    whole = {"$defs": {"one": definition if definition is not None else True}, "allOf": [schema]}
    wanted = jsonschema.Draft202012Validator(whole).is_valid(value)
    assert (misfit(whole, value) is None) is wanted


def test_a_schema_that_refers_to_itself_is_followed():
    tree = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    assert misfit(tree, {"next": {"next": {"next": None}}}) is None
    assert misfit(tree, {"next": {"next": {}}}) is not None


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}]
)
def test_a_schema_without_end_is_too_much(schema):
    with pytest.raises(TooMuch):
        misfit(schema, {"a": 1})


def test_what_is_too_much_to_look_at_is_given_up_in_a_bounded_time():
    doubling = {
        "$defs": {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(60)},
        "$ref": "#/$defs/d0",
    }
    doubling["$defs"]["d60"] = False
    began = time.perf_counter()
    with pytest.raises(TooMuch):
        misfit(doubling, 1)
    assert time.perf_counter() - began < 5
    assert misfit({"items": {"type": "integer"}}, ["x"] * (SCHEMA_STEPS_COUNT_MAX + 1)) is not None
    with pytest.raises(TooMuch):
        misfit({"items": {"type": "integer"}}, [1] * SCHEMA_STEPS_COUNT_MAX + ["x"])


def test_what_it_says_holds_no_word_of_the_value():
    schema = {"properties": {"a": {"enum": ["x"]}}, "additionalProperties": {"type": "integer"}}
    assert misfit(schema, {"a": "canary"}) == "$.a is none of the values of `enum`"
    assert misfit(schema, {"canary": "canary"}) == "$.* is not of the type integer"
    assert "canary" not in misfit({"additionalProperties": False}, {"canary": 1})


@pytest.mark.parametrize(("value", "fits"), [(0.3, True), (0.7, True), (0.25, False), (1e300, True), (3, True)])
def test_multiples_are_those_of_the_written_numbers(value, fits):
    assert (misfit({"multipleOf": 0.1}, value) is None) is fits


def test_keywords_that_are_not_known_refuse_nothing():
    assert misfit({"pattern": "^(a+)+$", "format": "date", "if": {}, "minimum": "x", "required": "a"}, "aaaa!") is None
