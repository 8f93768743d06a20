"""Forms: what is read is what was sent, an edit changes one value, and what two parsers could read differently is
refused."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import MULTIPART_PARTS_MAX
from ostiary.gateway.wire.multipart import parse

TYPE = b"multipart/form-data; boundary=b"


def part(head, value):
    return b"--b\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


def named(name, value, more=b""):
    return part(b'Content-Disposition: form-data; name="%b"%b' % (name, more), value)


END = b"--b--\r\n"
MODEL = named(b"model", b"gpt")

boundaries = st.from_regex(re.compile(rb"[0-9A-Za-z'()+_,\-./:=?]{1,40}"), fullmatch=True)
names = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\\r\n', exclude_categories=("Cc", "Cs")), min_size=1, max_size=20
)
values = st.binary(max_size=60)
files = st.one_of(st.none(), st.text("abc. äé", max_size=10))


def written(boundary, parts):
    body = b""
    for name, filename, value in parts:
        tail = b"" if filename is None else b'; filename="%b"' % filename.encode()
        body += b'--%b\r\ncontent-disposition: form-data; name="%b"%b\r\n' % (boundary, name.encode(), tail)
        body += b"\r\n" + value + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


@given(boundaries, st.lists(st.tuples(names, files, values), max_size=5), st.binary(max_size=20))
def test_what_is_read_is_what_was_sent_and_an_edit_changes_one_value(boundary, parts, new):
    parts = [one for one in parts if b"--" + boundary not in one[2]]
    body = written(boundary, parts)
    form = parse(body, b'multipart/form-data; boundary="%b"' % boundary)
    assert [(one.name, body[one.start : one.end]) for one in form.parts] == [(name, value) for name, _, value in parts]
    assert [one.filename for one in form.parts] == [None if name is None else name.encode() for _, name, _ in parts]
    assert parse(body, form.media_type) == form
    for place, (name, filename, _) in enumerate(parts):
        if [one[0] for one in parts].count(name) > 1 or b"--" + boundary in new:
            continue
        edited = form.edit(name, new)
        assert edited == written(boundary, [*parts[:place], (name, filename, new), *parts[place + 1 :]])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_or_a_refusal(noise):
    for body in (noise, b"--b" + noise, b"--b\r\n" + noise + b"\r\n--b--", MODEL + noise + END, MODEL + b"--b" + noise):
        with contextlib.suppress(CallerError):
            form = parse(body, TYPE)
            assert sum(one.end - one.start for one in form.parts) < len(body)
            assert b"--b" not in b"".join(body[one.start : one.end] for one in form.parts[:1])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b--x",
        b"preamble\r\n" + MODEL + END,
        b"\r\n" + MODEL + END,
        MODEL,
        MODEL + b"--b",
        MODEL + b"--b-",
        MODEL + b"--c--\r\n",
        MODEL + END + b"epilogue",
        MODEL + END + b"\r\n",
        MODEL + END + MODEL + END,
        MODEL + b"--b \r\n" + MODEL[5:] + END,
        MODEL + b"--bb\r\n" + MODEL[5:] + END,
        MODEL.replace(b"\r\n", b"\n") + END,
        named(b"model", b"a\n--b\nb") + END,
        named(b"model", b"a\r--b\rb") + END,
        named(b"model", b"--b") + END,
        named(b"model", b"a--b") + END,
        b"--b\r\n\r\nvalue\r\n" + END,
        b"--b\r\nContent-Disposition: form-data; name=model\r\n" + END,
        part(b"Content-Type: text/plain", b"x") + END,
        part(b"Content-Disposition: attachment; name=model", b"x") + END,
        part(b"Content-Disposition: form-data", b"x") + END,
        part(b'Content-Disposition: form-data; name=""', b"x") + END,
        part(b'Content-Disposition: form-data; name="a\\"b"', b"x") + END,
        part(b'Content-Disposition: form-data; name="\xff"', b"x") + END,
        part(b'Content-Disposition: form-data; name="' + b"n" * 300 + b'"', b"x") + END,
        part(b"Content-Disposition: form-data; name=model; name=other", b"x") + END,
        part(b"Content-Disposition: form-data; name=a; Name=b", b"x") + END,
        part(b"Content-Disposition: form-data; name=a b", b"x") + END,
        part(b"Content-Disposition: form-data; name=a,b", b"x") + END,
        part(b"Content-Disposition: form-data; filename*=utf-8''x; name=a", b"x") + END,
        part(b"Content-Disposition: form-data; name*=utf-8''x; name=a", b"x") + END,
        part(b"Content-Disposition: form-data;\r\n name=a", b"x") + END,
        part(b"Content-Disposition : form-data; name=a", b"x") + END,
        part(b"Content-Disposition: form-data; name=a\nX: y", b"x") + END,
        part(b"Content-Disposition: form-data; name=a\rX: y", b"x") + END,
        part(b"Content-Disposition: form-data; name=a\x00", b"x") + END,
        part(b"Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b", b"x") + END,
        part(b"Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64", b"eA==") + END,
        part(b"Content-Disposition: form-data; name=a\r\nContent-Type: multipart/mixed; boundary=c", b"--c--") + END,
        part(b"Content-Disposition: form-data; name=a\r\nX: " + b"y" * 5_000, b"x") + END,
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(body):
    with pytest.raises(CallerError) as caught:
        parse(body, TYPE)
    assert caught.value.code is Code.REQUEST_MALFORMED


@pytest.mark.parametrize(
    "content_type",
    [
        b"",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b"multipart/form-data; boundary=b; boundary=b",
        b"multipart/form-data; boundary=b; Boundary=c",
        b'multipart/form-data; boundary="b\\b"',
        b'multipart/form-data; boundary="b "',
        b"multipart/form-data; boundary=b b",
        b"multipart/form-data boundary=b",
        b"multipart/form-data; boundary=" + b"b" * 71,
        b"multipart/mixed; boundary=b",
        b"multipart/form-data; boundary=\xc3\xa4",
    ],
)
def test_a_content_type_without_one_plain_boundary_is_refused(content_type):
    with pytest.raises(CallerError):
        parse(MODEL + END, content_type)


@pytest.mark.parametrize(
    "content_type",
    [b"multipart/form-data;boundary=b", b'Multipart/Form-Data ; charset=utf-8; BOUNDARY="b" ', TYPE],
)
def test_a_content_type_may_be_spelt_as_clients_do(content_type):
    assert parse(MODEL + END, content_type).text("model", 10) == "gpt"
    assert parse(MODEL + END[:-2], content_type).text("model", 10) == "gpt"


def test_a_field_that_is_read_stands_there_once_and_is_text():
    form = parse(MODEL + MODEL + END, TYPE)
    with pytest.raises(CallerError, match="more than once"):
        form.text("model", 10)
    for one in (
        named(b"model", b"x", b'; filename="x"'),
        named(b"model", b"\xff"),
        named(b"model", b"x" * 11),
        part(b"Content-Disposition: form-data; name=model\r\nContent-Type: text/plain; charset=utf-16", b"x\x00"),
    ):
        with pytest.raises(CallerError) as caught:
            parse(one + END, TYPE).text("model", 10)
        assert caught.value.param == "model"
    assert parse(END, TYPE).text("model", 10) is None
    with pytest.raises(KeyError):
        parse(END, TYPE).edit("model", b"x")


def test_a_value_that_holds_the_boundary_is_not_put_in():
    with pytest.raises(CallerError):
        parse(MODEL + END, TYPE).edit("model", b"x\r\n--b--\r\n")


def test_parts_are_bounded():
    assert len(parse(MODEL * MULTIPART_PARTS_MAX + END, TYPE).parts) == MULTIPART_PARTS_MAX
    with pytest.raises(CallerError) as caught:
        parse(MODEL * (MULTIPART_PARTS_MAX + 1) + END, TYPE)
    assert caught.value.code is Code.REQUEST_LIMIT


def test_bytes_of_files_are_never_looked_at():
    data = bytes(range(256)) * 40
    form = parse(named(b"file", data, b'; filename="a \\"b\\".bin"') + MODEL + END, TYPE)
    (file, _) = form.parts
    assert form.raw[file.start : file.end] == data
    assert (
        form.edit("model", b"other")
        == named(b"file", data, b'; filename="a \\"b\\".bin"') + named(b"model", b"other") + END
    )
