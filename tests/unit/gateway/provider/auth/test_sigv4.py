"""Amazon's signatures: its published example, and the vendor's own signer on random requests."""

from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core.http import Origin
from ostiary.core.secret import Secret
from ostiary.gateway.ports import PhaseTimeouts, UpstreamRequest
from ostiary.gateway.provider.auth.sigv4 import AwsKeys, Signer, host_of

try:  # at the top: one of its dependencies tries the network out when it is first imported
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
except ImportError:
    SigV4Auth = None

KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SECOND = 1_000_000_000


def asked(target, headers=(), body=b"", *, method=b"GET", host="example.amazonaws.com"):
    return UpstreamRequest(Origin("https", host, 443), method, target, headers, body, PhaseTimeouts(1, 1, 1, 1))


def sign(target, *, headers=(), body=b"", method=b"GET", host="example.amazonaws.com", token=None):
    keys = AwsKeys(KEY, Secret(SECRET), None if token is None else Secret(token))
    moment = int(datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC).timestamp()) * SECOND
    request = asked(target, tuple(headers), body, method=method, host=host)
    return dict(Signer(keys, "us-east-1", "service").headers(request, moment))


@pytest.mark.parametrize(
    ("method", "target", "signature"),
    [
        (b"GET", b"/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (b"POST", b"/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (b"GET", b"/?Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ],
)
def test_the_published_cases_have_their_published_signatures(method, target, signature):
    value = sign(target, method=method)[b"authorization"].decode()
    assert value == (
        f"AWS4-HMAC-SHA256 Credential={KEY}/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}"
    )


@pytest.mark.skipif(SigV4Auth is None, reason="botocore is not installed")
@given(
    # Dots alone are no model (see the snapshot's index), and the vendor's signer folds them away.
    model=st.text(min_size=1, max_size=20).filter(lambda model: model not in (".", "..")),
    query=st.lists(st.tuples(st.text("abcXY", min_size=1, max_size=3), st.text(max_size=4)), max_size=3),
    values=st.dictionaries(
        st.sampled_from(["accept", "x-a", "x-b", "content-type"]), st.text("ab c", max_size=9), max_size=3
    ),
    body=st.binary(max_size=50),
    token=st.one_of(st.none(), st.just("session/token==")),
)
@settings(max_examples=200, deadline=None)
def test_the_vendors_signer_signs_the_same(model, query, values, body, token):
    path = f"/model/{quote(model, safe='')}/converse"
    search = "&".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in query)
    url = f"https://example.amazonaws.com{path}" + (f"?{search}" if search else "")
    request = AWSRequest("POST", url, headers=dict(values), data=body)
    request.context["timestamp"] = "20150830T123600Z"
    signer = SigV4Auth(Credentials(KEY, SECRET, token), "service", "us-east-1")
    if token:
        request.headers["X-Amz-Security-Token"] = token
    request.headers["X-Amz-Date"] = "20150830T123600Z"
    theirs = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    target = (path + (f"?{search}" if search else "")).encode()
    headers = [(name.encode(), value.encode()) for name, value in values.items()]
    ours = sign(target, method=b"POST", headers=headers, body=body, token=token)[b"authorization"].decode()
    assert ours.rpartition("=")[2] == theirs


def test_a_host_says_its_port_only_where_it_is_not_the_usual_one():
    assert host_of(Origin("https", "a", 443)) == b"a"
    assert host_of(Origin("http", "::1", 8080)) == b"[::1]:8080"


def test_the_key_of_a_day_is_derived_once_and_anew_the_next_day():
    signer = Signer(AwsKeys(KEY, Secret(SECRET)), "us-east-1", "service")
    first = signer.headers(asked(b"/"), 0)
    assert signer.headers(asked(b"/"), 0) == first
    assert signer.headers(asked(b"/"), 86_400 * SECOND) != first
    assert signer.headers(asked(b"/"), 0) == first
