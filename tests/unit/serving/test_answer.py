"""The bytes of an answer."""

from hypothesis import given
from hypothesis import strategies as st

from ostiary.serving.head import answer_bytes

DATE = b"date: now"
words = st.binary(max_size=12)


def line_by_line(status, headers, framing, body, *, keep):
    """The same, written out as RFC 9112 has it."""
    text = b"HTTP/1.1 %d %b\r\n" % status + DATE + b"\r\n"
    for name, value in headers:
        text += b"%b: %b\r\n" % (name, value)
    if not keep:
        text += b"connection: close\r\n"
    return text + (framing + b"\r\n" if framing else b"") + b"\r\n" + body


@given(
    st.sampled_from([(200, b"OK"), (101, b"Switching Protocols"), (204, b"No Content"), (529, b"Unknown")]),
    st.lists(st.tuples(words, words), max_size=5),
    st.sampled_from([b"", b"content-length: 5", b"transfer-encoding: chunked"]),
    words,
    st.booleans(),
)
def test_an_answer_is_its_lines(status, headers, framing, body, keep):
    got = answer_bytes(status[0], tuple(headers), DATE, framing, body, keep=keep)
    assert got == line_by_line(status, headers, framing, body, keep=keep)
