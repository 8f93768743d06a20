"""Sources of credentials, step by step: what each asks for, what it makes of the answers, and what it refuses."""

import base64
import json
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from ostiary.core.error import OperatorError, OstiaryError, UpstreamError
from ostiary.core.limit import CREDENTIAL_LIFETIME_SECONDS_MAX
from ostiary.core.secret import Secret
from ostiary.gateway.provider.auth import aws, entra, google
from ostiary.gateway.provider.auth.sigv4 import AwsKeys
from ostiary.gateway.provider.auth.source import is_fetched, source_of
from ostiary.gateway.provider.auth.token import Ask, Came, Grant, ReadFile, ask
from ostiary.snapshot.tables import AuthRow, SecretRef

NOW = 1_800_000_000.0
TOKEN = b'{"access_token":"ya29.token","expires_in":3599,"token_type":"Bearer"}'
RSA = rsa.generate_private_key(65537, 2048)


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def drive(steps, *answers):
    """The grant, and what was asked for on the way."""
    asked, came = [], list(answers)
    try:
        step = next(steps)
        while True:
            asked.append(step)
            answer = came.pop(0)
            step = steps.send(answer if isinstance(answer, Came) else Came(200, answer))
    except StopIteration as end:
        assert not came
        return end.value, asked


def form(step):
    return {name: values[0] for name, values in parse_qs(step.body.decode(), strict_parsing=True).items()}


def account(key=RSA, **more):
    return Secret(
        json.dumps(
            {
                "type": "service_account",
                "client_email": "robot@example.iam.gserviceaccount.com",
                "private_key": pem(key),
                "private_key_id": "k1",
                "token_uri": "https://oauth2.googleapis.com/token",
                **more,
            }
        )
    )


def test_a_google_service_account_signs_an_assertion_and_gets_a_token():
    grant, (step,) = drive(google.service_account(account(), (), NOW), TOKEN)
    assert (grant.value.reveal(), grant.expires_at) == ("ya29.token", NOW + 3599)
    assert (step.origin.host, step.target, step.method) == ("oauth2.googleapis.com", b"/token", b"POST")
    fields = form(step)
    assert fields["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    head, claims, signature = fields["assertion"].split(".")
    decoded = [base64.urlsafe_b64decode(part + "==") for part in (head, claims, signature)]
    assert json.loads(decoded[0]) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert json.loads(decoded[1]) == {
        "iss": "robot@example.iam.gserviceaccount.com",
        "scope": google.CLOUD_PLATFORM,
        "aud": "https://oauth2.googleapis.com/token",
        "iat": NOW,
        "exp": NOW + 3600,
    }
    RSA.public_key().verify(decoded[2], f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize(
    "secret",
    [
        Secret("not json"),
        Secret("{}"),
        Secret('{"type":"authorized_user","client_email":"a","private_key":"b"}'),
        account(private_key="nonsense"),
        account(ec.generate_private_key(ec.SECP256R1())),
        account(token_uri="http://evil.example/token"),
        account(token_uri="file:///etc/passwd"),
    ],
)
def test_a_key_file_that_cannot_work_is_refused_without_repeating_it(secret):
    with pytest.raises(OperatorError) as caught:
        drive(google.service_account(secret, (), NOW), TOKEN)
    assert "PRIVATE" not in caught.value.message


def external(**more):
    return Secret(
        json.dumps(
            {
                "type": "external_account",
                "audience": "//iam.googleapis.com/projects/1/x",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": "https://sts.googleapis.com/v1/token",
                "credential_source": {"file": "/var/run/token"},
                **more,
            }
        )
    )


def test_a_foreign_identity_is_exchanged_at_google():
    grant, (read, step) = drive(google.workload_identity(external(), ("a", "b"), NOW), b"subject\n", TOKEN)
    assert read == ReadFile("/var/run/token")
    fields = form(step)
    assert (fields["subject_token"], fields["scope"]) == ("subject", "a b")
    assert fields["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
    assert grant.value.reveal() == "ya29.token"


def test_a_foreign_identity_may_become_a_service_account():
    url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken"
    source = {
        "url": "http://127.0.0.1:9/t",
        "headers": {"X": "y"},
        "format": {"type": "json", "subject_token_field_name": "t"},
    }
    secret = external(service_account_impersonation_url=url, credential_source=source)
    last = b'{"accessToken":"sa-token","expireTime":"2027-01-15T09:00:00Z"}'
    grant, asked = drive(google.workload_identity(secret, (), NOW), b'{"t":"subject"}', TOKEN, last)
    assert (asked[0].method, asked[0].headers, asked[0].origin.port) == (b"GET", ((b"x", b"y"),), 9)
    assert form(asked[1])["scope"] == google.CLOUD_PLATFORM
    assert (b"authorization", b"Bearer ya29.token") in asked[2].headers
    assert json.loads(asked[2].body) == {"scope": [google.CLOUD_PLATFORM], "lifetime": "3600s"}
    assert grant == Grant(grant.value, datetime(2027, 1, 15, 9, tzinfo=UTC).timestamp())
    assert grant.value.reveal() == "sa-token"


@pytest.mark.parametrize("source", [{}, {"file": "a", "url": "https://b"}, {"environment_id": "aws1"}])
def test_an_external_account_says_where_its_token_is(source):
    with pytest.raises(OperatorError):
        drive(google.workload_identity(external(credential_source=source), (), NOW))


def test_the_machines_own_google_token():
    grant, (step,) = drive(google.metadata((), NOW), TOKEN)
    assert step.metadata
    assert (step.origin.host, step.headers) == ("metadata.google.internal", ((b"metadata-flavor", b"Google"),))
    assert grant.expires_at == NOW + 3599


def test_an_azure_application_by_its_secret_and_by_its_workload_token():
    grant, (step,) = drive(entra.client_secret("tenant/..", "client", Secret("s"), (), NOW), TOKEN)
    assert step.target == b"/tenant%2F../oauth2/v2.0/token"
    assert form(step) == {
        "grant_type": "client_credentials",
        "client_id": "client",
        "scope": entra.COGNITIVE_SERVICES,
        "client_secret": "s",
    }
    assert grant.value.reveal() == "ya29.token"
    _, (read, step) = drive(entra.workload_identity("t", "c", "/token", ("x",), NOW), b"jwt", TOKEN)
    assert read == ReadFile("/token")
    assert form(step)["client_assertion"] == "jwt"


def test_a_managed_identity_says_when_its_token_ends():
    answer = b'{"access_token":"a","expires_on":"%d"}' % (NOW + 100)
    grant, (step,) = drive(entra.managed_identity("c", (), NOW), answer)
    assert step.metadata
    assert (step.origin.host, step.headers) == ("169.254.169.254", ((b"metadata", b"true"),))
    assert b"resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=c" in step.target
    assert grant.expires_at == NOW + 100


STS = b"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>a&amp;b</SecretAccessKey><SessionToken>tok/en==</SessionToken>
<Expiration>2027-01-15T09:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
ROLE = b'{"Code":"Success","AccessKeyId":"ASIA","SecretAccessKey":"s","Token":"t","Expiration":"2027-01-15T09:00:00Z"}'
END = datetime(2027, 1, 15, 9, tzinfo=UTC).timestamp()


def keys(value):
    return value.access_key_id, value.secret_access_key.reveal(), value.session_token and value.session_token.reveal()


def test_a_role_is_assumed_with_ones_own_keys():
    own = aws.fixed(AwsKeys("AKIA", Secret("s")), NOW)
    grant, (step,) = drive(aws.assume_role(own, "arn:aws:iam::1:role/r", "eu-west-1", NOW), STS)
    assert (keys(grant.value), grant.expires_at) == (("ASIAEXAMPLE", "a&b", "tok/en=="), END)
    assert step.origin.host == "sts.eu-west-1.amazonaws.com"
    assert form(step)["RoleArn"] == "arn:aws:iam::1:role/r"
    assert b"/eu-west-1/sts/aws4_request" in dict(step.headers)[b"authorization"]


def test_a_role_is_assumed_with_a_web_identity():
    grant, (read, step) = drive(aws.web_identity("/t", "arn", "us-east-1", NOW), b"jwt\n", STS)
    assert (read, form(step)["WebIdentityToken"]) == (ReadFile("/t"), "jwt")
    assert b"authorization" not in dict(step.headers)
    assert keys(grant.value)[0] == "ASIAEXAMPLE"


def test_a_containers_role():
    grant, (step,) = drive(aws.container("http://169.254.170.2/v2/credentials/x", "", NOW), ROLE)
    assert (step.metadata, step.target) == (True, b"/v2/credentials/x")
    assert (keys(grant.value), grant.expires_at) == (("ASIA", "s", "t"), END)
    _, (_, step) = drive(aws.container("http://169.254.170.23/v1/credentials", "/t", NOW), b"token\n", ROLE)
    assert step.headers == ((b"authorization", b"token"),)


def test_a_machines_role_by_the_second_version_of_its_metadata():
    grant, asked = drive(aws.instance(NOW), b"session", b"my-role\n", ROLE)
    assert [(step.method, step.target) for step in asked] == [
        (b"PUT", b"/latest/api/token"),
        (b"GET", b"/latest/meta-data/iam/security-credentials/"),
        (b"GET", b"/latest/meta-data/iam/security-credentials/my-role"),
    ]
    assert all((b"x-aws-ec2-metadata-token", b"session") in step.headers for step in asked[1:])
    assert keys(grant.value) == ("ASIA", "s", "t")
    with pytest.raises(UpstreamError):
        drive(aws.instance(NOW), b"session", b"../../evil", ROLE)


def test_a_profile_of_the_shared_file():
    text = b"[default]\naws_access_key_id = A\naws_secret_access_key = S%s\n\n[profile work]\naws_access_key_id=B\naws_secret_access_key=T\naws_session_token=U\n"
    grant, (read,) = drive(aws.profile("/c", "default", NOW), text)
    assert (read, keys(grant.value), grant.expires_at) == (ReadFile("/c"), ("A", "S%s", None), None)
    assert keys(drive(aws.profile("/c", "work", NOW), text)[0].value) == ("B", "T", "U")
    for broken in (b"", b"[default]\n", b"no section", b"[default]\naws_access_key_id=A\n", b"\xff"):
        with pytest.raises(OperatorError):
            drive(aws.profile("/c", "default", NOW), broken)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Came(400, b'{"error":"invalid_grant","error_description":"secret-in-text"}'), "400 (invalid_grant)"),
        (Came(500, b"<html>secret-in-text"), "500"),
        (Came(400, b'{"error":"secret-in-text 1"}'), "400"),
        (Came(200, b"secret-in-text"), "no JSON object"),
        (Came(200, b'{"expires_in":5}'), "no access_token"),
        (Came(200, b'{"access_token":"a"}'), "when its token ends"),
        (Came(200, b'{"access_token":"a\\r\\nx: y","expires_in":5}'), "no header can hold"),
    ],
)
def test_an_endpoint_that_refuses_is_told_in_plain_words(answer, said):
    with pytest.raises(UpstreamError) as caught:
        drive(entra.client_secret("t", "c", Secret("s"), (), NOW), answer)
    assert said in caught.value.message
    assert "secret-in-text" not in caught.value.message


@pytest.mark.parametrize(
    "answer",
    [
        Came(403, b"<Error><Code>AccessDenied</Code></Error>"),
        Came(200, b"<x/>"),
        Came(200, STS.replace(b"2027-01-15", b"soon")),
    ],
)
def test_a_security_token_service_that_refuses_is_told(answer):
    with pytest.raises(UpstreamError):
        drive(aws.web_identity("/t", "arn", "us-east-1", NOW), b"jwt", answer)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/t",
        "ftp://example.com",
        "https://",
        "https://u:p@example.com/",
        "https://example.com/a b",
        "https://[::1",
        "https://example.com:99999/",
    ],
)
def test_a_token_goes_only_where_it_cannot_be_read_on_the_way(url):
    with pytest.raises(OperatorError):
        ask(b"POST", url)


def test_this_machine_may_be_asked_in_clear():
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert isinstance(ask(b"GET", f"http://{host}:1/"), Ask)


def test_no_credential_is_kept_longer_than_the_bound():
    grant, _ = drive(entra.client_secret("t", "c", Secret("s"), (), NOW), b'{"access_token":"a","expires_in":1e30}')
    assert grant.expires_at == NOW + CREDENTIAL_LIFETIME_SECONDS_MAX


@pytest.mark.parametrize("scheme", ["aws-sigv4", "google-service-account", "google-workload-identity", "azure-entra"])
def test_a_missing_secret_is_told(scheme):
    assert is_fetched(scheme)
    source = source_of(AuthRow(scheme, SecretRef("env", "X")), lambda _: None)
    with pytest.raises(OstiaryError, match="secret is not there"):
        drive(source(NOW))
