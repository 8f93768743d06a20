"""The two forms of a vector."""

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.error import Code, UpstreamError
from ostiary.gateway.wire.vector import listed, packed

numbers = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20)


@given(values=numbers)
def test_a_vector_is_the_same_in_both_forms(values):
    raw = json.dumps(values).encode()
    text = json.loads(packed(raw))
    assert list(struct.unpack(f"<{len(values)}f", base64.b64decode(text))) == values
    assert json.loads(listed(packed(raw))) == values
    assert listed(raw) is raw
    assert packed(packed(raw)) == packed(raw)


@pytest.mark.parametrize("raw", [b'["a"]', b"[1e300]", b"{}", b"null", b"[[1]]"])
def test_what_is_no_list_of_numbers_is_not_packed(raw):
    with pytest.raises(UpstreamError) as caught:
        packed(raw)
    assert caught.value.code is Code.UPSTREAM_PROTOCOL


@pytest.mark.parametrize("raw", [b'"AAA="', b'"%%%%"', b'"AAAAPw"'])
def test_what_is_no_packed_vector_is_not_listed(raw):
    with pytest.raises(UpstreamError) as caught:
        listed(raw)
    assert caught.value.code is Code.UPSTREAM_PROTOCOL
