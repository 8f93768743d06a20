import json
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.error import CallerError, Code, UpstreamError
from ostiary.core.limit import JSON_DEPTH_MAX, JSON_KEYS_MAX, JSON_NUMBER_BYTES_MAX
from ostiary.gateway.wire.json import Document, edit, parse, parse_answer, parse_value, raw_members, splice

SUITE = Path(__file__).parents[5] / "shared" / "datasets" / "json" / "parsing"
CASES = sorted(SUITE.glob("*.json")) if SUITE.is_dir() else []
# Legal JSON that is refused by design: duplicate keys, which two readers may read in two ways, and a number literal
# beyond its bound.
REFUSED = {
    "y_object_duplicated_key.json",
    "y_object_duplicated_key_and_value.json",
    "y_number_double_close_to_zero.json",
}

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**40), 10**40),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=12,
)


@pytest.mark.skipif(not CASES, reason=f"the JSON test suite is not at {SUITE}")
def test_the_parsing_suite_is_judged_as_it_says():
    for case in CASES:
        body = case.read_bytes()
        try:
            parse_value(body)
            accepted = True
        except ValueError:
            accepted = False
        if case.name[0] == "y":
            assert accepted is (case.name not in REFUSED), case.name
        elif case.name[0] == "n":
            assert not accepted, case.name


@given(value=st.dictionaries(st.text(), values, max_size=5))
def test_what_is_json_is_accepted_and_read_right(value):
    body = json.dumps(value).encode()
    assert parse(body).tree == value


@given(body=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    try:
        document = parse(body)
    except CallerError:
        return
    assert json.loads(body) == document.tree


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"text"',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'{"a":1,"a":1}',
        b'{"b":{"a":1,"\\u0061":2}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xff"}',
        b"{} {}",
        b'{"a":1}\0',
        b'{"a":"\0"}',
        b'{"a":"' + b"x" * 100,
        b'{"a":' + b"9" * 100_000 + b"}",
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_what_two_readers_could_read_in_two_ways_is_refused(body):
    with pytest.raises(CallerError) as caught:
        parse(body)
    assert caught.value.code is Code.REQUEST_MALFORMED


def test_an_upstreams_bad_json_is_the_upstreams_fault():
    for body in (b"", b"[]", b'{"a":1,"a":2}', b'{"usage":NaN}', b"<html>", b'{"a":' + b"[" * 1000):
        with pytest.raises(UpstreamError) as caught:
            parse_answer(body)
        assert caught.value.code is Code.UPSTREAM_PROTOCOL


def test_a_fault_is_named_by_position_and_never_quotes_the_body():
    with pytest.raises(CallerError) as caught:
        parse(b'{"secret-name":1,\n"secret-name":2}')
    assert "duplicate key at line 2 column 15" in caught.value.message
    assert "secret" not in caught.value.message


def test_depth_is_bounded_exactly():
    inner = JSON_DEPTH_MAX - 1
    assert parse(b'{"a":' + b"[" * inner + b"]" * inner + b"}")
    assert parse(b'{"a":"' + b"[" * 1000 + b'"}')
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        deep = opening * (JSON_DEPTH_MAX + 1) + (b"" if closing == b"]" else b"1") + closing * (JSON_DEPTH_MAX + 1)
        with pytest.raises(ValueError, match="nested deeper"):
            parse_value(deep)


@pytest.mark.parametrize(
    ("literal", "accepted"),
    [
        ("1" * JSON_NUMBER_BYTES_MAX, True),
        ("1" * (JSON_NUMBER_BYTES_MAX + 1), False),
        ("-" + "1" * JSON_NUMBER_BYTES_MAX, False),
        ("1." + "0" * (JSON_NUMBER_BYTES_MAX - 2), True),
        ("1." + "0" * (JSON_NUMBER_BYTES_MAX - 1), False),
        ("1" * 21 + "." + "1" * 21 + "e-" + "0" * 20, False),
        ("0." + "1" * 20 + "e+" + "1" * 50, False),
    ],
)
@pytest.mark.parametrize("shift", range(9))
def test_a_number_literal_is_bounded_wherever_it_stands(literal, accepted, shift):
    body = b'{"%b":[" ",%b]}' % (b"k" * shift, literal.encode())
    try:
        parse(body)
        assert accepted
    except CallerError:
        assert not accepted


def test_digits_inside_a_string_are_no_number():
    assert parse(b'{"a":"' + b"9" * 1000 + b'","b":"\\"' + b"9" * 1000 + b'"}')


def test_keys_are_bounded():
    body = b"{" + b",".join(b'"%d":1' % i for i in range(JSON_KEYS_MAX + 1)) + b"}"
    with pytest.raises(ValueError, match="keys"):
        parse_value(body)
    assert parse_value(body.replace(b',"0":1', b"").replace(b'"0":1,', b""))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"a":' + b"9" * 100_000 + b"}",
        b"[" + b",".join([b"9" * 4299] * 23) + b"]",
        b'["' + b"9" * 100_000 + b'"]',
        b'["' + b'\\"' * 50_000 + b'",' + b"1" * 30 + b"]",
        b'["' + b'\\"' * 50_000 + b'",' + b"1" * 30,
        b"[" + b",".join([b'"' + b"9" * 30 + b'"'] * 3000) + b"]",
        b"[" + b"[]," * 33_000 + b"1]",
        b"{" + b",".join(b'"%d":1' % i for i in range(9000)) + b"}",
        b"[" + b"1e308," * 16_000 + b"1]",
        b"[1" + b"," * 100_000,
        b'"' + b"\\ud83d\\ude00" * 8000 + b'"',
    ],
    ids=range(13),
)
def test_no_input_takes_long(body):
    best = 1.0
    for _ in range(3):
        began = time.perf_counter()
        try:
            parse_value(body)
        except ValueError:
            pass
        best = min(best, time.perf_counter() - began)
    assert best < 0.05 * max(1.0, len(body) / 100_000)


@given(tree=st.dictionaries(st.text(), values, min_size=1, max_size=5), indent=st.sampled_from([None, 1]))
def test_an_edit_leaves_every_other_values_bytes_alone(tree, indent):
    document = parse(json.dumps(tree, indent=indent).encode())
    before = raw_members(document)
    after = raw_members(edit(document, {"model": b'"new"', "added": b"[1, 2]"}))
    assert bytes(after.pop("model")) == b'"new"'
    assert bytes(after.pop("added")) == b"[1, 2]"
    before.pop("model", None)
    before.pop("added", None)
    assert {name: bytes(raw) for name, raw in after.items()} == {name: bytes(raw) for name, raw in before.items()}


def test_a_splice_changes_one_value_and_no_other_byte_of_a_value():
    raw = b'{"a": [1.0, {"b" : "x",  "c":1e2}], "d": "\\u00e9"}'
    out = splice(raw, {("a", 1, "b"): b'"y"'})
    assert out == b'{"a":[1.0,{"b":"y","c":1e2}],"d":"\\u00e9"}'
    for path in (("z",), ("a", 9), ("a", "b"), ("d", 0)):
        with pytest.raises(KeyError):
            splice(raw, {path: b"1"})
    assert isinstance(raw_members(Document(raw, {}))["a"], msgspec.Raw)
