import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.error import Code, GatewayError
from ostiary.core.http import Origin
from ostiary.net.head import HeadEncoder

ORIGIN = Origin("https", "api.test", 443)


def test_a_post_has_host_identity_headers_and_length_in_this_order():
    assert HeadEncoder(ORIGIN).encode(b"POST", b"/v1/x?y=1", ((b"authorization", b"Bearer k"),), 5) == (
        b"POST /v1/x?y=1 HTTP/1.1\r\nhost: api.test\r\naccept-encoding: identity\r\n"
        b"authorization: Bearer k\r\ncontent-length: 5\r\n\r\n"
    )


def test_a_get_without_body_has_no_length_and_an_empty_post_has():
    encoder = HeadEncoder(ORIGIN)
    assert b"content-length" not in encoder.encode(b"GET", b"/", (), 0)
    assert b"content-length: 0\r\n" in encoder.encode(b"POST", b"/", (), 0)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (Origin("https", "api.test", 443), b"api.test"),
        (Origin("https", "api.test", 8443), b"api.test:8443"),
        (Origin("http", "127.0.0.1", 80), b"127.0.0.1"),
        (Origin("http", "::1", 11434), b"[::1]:11434"),
    ],
)
def test_the_host_names_the_port_where_it_is_not_the_usual_one(origin, host):
    assert b"\r\nhost: %b\r\n" % host in HeadEncoder(origin).encode(b"GET", b"/", (), 0)


@pytest.mark.parametrize("host", ["", "a b", "a\r\nx: y", "a/b", "ü.test", "a@b"])
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(GatewayError):
        HeadEncoder(Origin("https", host, 443))


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nb: c"),
        (b"x", b"a\rb"),
        (b"x", b"a\nb"),
        (b"x", b"a\0b"),
        (b"x\r\ny", b"a"),
        (b"x y", b"a"),
        (b"X-Upper", b"a"),
        (b"", b"a"),
        (b"x:", b"a"),
        (b"host", b"evil.test"),
        (b"content-length", b"0"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"accept-encoding", b"gzip"),
        (b"expect", b"100-continue"),
        (b"upgrade", b"h2c"),
    ],
)
def test_a_header_that_could_change_the_framing_is_refused(header):
    with pytest.raises(GatewayError) as caught:
        HeadEncoder(ORIGIN).encode(b"POST", b"/", (header,), 0)
    assert caught.value.code == Code.GATEWAY_INTERNAL


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"post", b"/"),
        (b"POST\r\n", b"/"),
        (b"", b"/"),
        (b"POST", b""),
        (b"POST", b"x"),
        (b"POST", b"/a b"),
        (b"POST", b"/a\r\nx: y"),
        (b"POST", b"http://evil.test/"),
        (b"POST", b"/\xff"),
    ],
)
def test_a_method_or_target_that_is_none_is_refused(method, target):
    with pytest.raises(GatewayError):
        HeadEncoder(ORIGIN).encode(method, target, (), 0)


def test_what_was_refused_once_is_refused_again():
    encoder = HeadEncoder(ORIGIN)
    for _ in range(2):
        with pytest.raises(GatewayError):
            encoder.encode(b"POST", b"/", ((b"host", b"x"),), 0)
        with pytest.raises(GatewayError):
            encoder.encode(b"POST", b"/a b", (), 0)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"x-b", b"c"]), st.binary(max_size=20)), max_size=5))
def test_a_head_has_exactly_the_lines_it_was_given(headers):
    try:
        head = HeadEncoder(ORIGIN).encode(b"POST", b"/", tuple(headers), 7)
    except GatewayError:
        assert any(byte in value for _, value in headers for byte in (b"\r", b"\n", b"\0"))
        return
    lines = head.split(b"\r\n")
    assert lines[3:-3] == [b"%b: %b" % header for header in headers]
    assert lines[-2:] == [b"", b""]


def test_what_is_kept_of_a_head_is_not_given_to_another_request():
    encoder = HeadEncoder(ORIGIN)
    for number in range(200):  # more than are kept
        first = ((b"authorization", b"Bearer %d" % number),)
        for _ in range(2):
            assert b"Bearer %d\r\n" % number in encoder.encode(b"POST", b"/", first, number)
            assert encoder.encode(b"POST", b"/", first, number).endswith(b"content-length: %d\r\n\r\n" % number)
            assert b"Bearer" not in encoder.encode(b"POST", b"/", (), 0)
