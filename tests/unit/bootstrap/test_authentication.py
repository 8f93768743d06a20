"""The `auth` section of a provider: what each scheme needs, what it may leave out, and what is refused by name."""

import pytest

from ostiary.bootstrap.compile import compile_file
from ostiary.core.error import OperatorError
from ostiary.settings import load
from ostiary.snapshot.tables import AuthRow, KeyRow, SecretRef

HOST = "https://bedrock-runtime.eu-west-1.amazonaws.com"
VARIABLES = (
    "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE",
)  # fmt: skip
SECRET = SecretRef("env", "SECRET")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def row(tmp_path, auth, base_url=HOST, dialect="bedrock"):
    file = tmp_path / "ostiary.yaml"
    file.write_text(f"providers:\n  p:\n    dialect: {dialect}\n    base_url: {base_url}\n    auth: {auth}\n")
    return compile_file(load(file), tmp_path / "secrets").providers[0].auth


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("{scheme: bearer, secret: '${env:SECRET}'}", AuthRow("bearer", SECRET)),
        ("{secret: '${env:SECRET}'}", AuthRow("bearer", SECRET)),
        ("{scheme: none}", AuthRow()),
        ("{scheme: header, header: Api-Key, secret: '${env:SECRET}'}", AuthRow("header", SECRET, header="api-key")),
        (
            "{scheme: aws-sigv4, key_id: AKIA, secret: '${env:SECRET}', session_token: '${env:TOKEN}'}",
            AuthRow("aws-sigv4", SECRET, region="eu-west-1", service="bedrock", key_id="AKIA", session_token=SecretRef("env", "TOKEN")),
        ),
        (
            "{scheme: aws-instance, region: us-east-1, service: x, role_arn: 'arn:aws:iam::1:role/r'}",
            AuthRow("aws-instance", region="us-east-1", service="x", role_arn="arn:aws:iam::1:role/r"),
        ),
        (
            "{scheme: aws-web-identity, role_arn: 'arn:a', token_file: /t}",
            AuthRow("aws-web-identity", region="eu-west-1", service="bedrock", role_arn="arn:a", token_file="/t"),
        ),
        ("{scheme: google-service-account, secret: '${env:SECRET}', scopes: [a]}", AuthRow("google-service-account", SECRET, scopes=("a",))),
        ("{scheme: google-metadata}", AuthRow("google-metadata")),
        (
            "{scheme: azure-entra, tenant: t, client_id: c, secret: '${env:SECRET}'}",
            AuthRow("azure-entra", SECRET, tenant="t", client_id="c"),
        ),
        ("{scheme: azure-managed-identity}", AuthRow("azure-managed-identity")),
    ],
)  # fmt: skip
def test_a_scheme_becomes_its_row(tmp_path, auth, expected):
    assert row(tmp_path, auth) == expected


@pytest.mark.parametrize(
    ("auth", "reason"),
    [
        ("{scheme: aws-sigv4, key_id: AKIA}", "`secret` is missing"),
        ("{scheme: header, secret: '${env:S}'}", "`header` is missing"),
        ("{scheme: bearer, secret: '${env:S}', header: a}", r"auth\.header: the scheme `bearer` has no use for it"),
        ("{scheme: header, secret: '${env:S}', header: 'a b'}", r"auth\.header"),
        ("{scheme: aws-sigv4, secret: '${env:S}'}", "`key_id` is missing"),
        ("{scheme: aws-sigv, secret: '${env:S}'}", "did you mean `aws-sigv4`"),
        ("{scheme: aws-web-identity}", "AWS_ROLE_ARN is not set"),
        ("{scheme: aws-container}", "AWS_CONTAINER_CREDENTIALS_FULL_URI is not set"),
        ("{scheme: aws-container, endpoint: 'http://example.com/'}", r"auth\.endpoint: a token endpoint must be https"),
        ("{scheme: azure-workload-identity, tenant: t}", "AZURE_CLIENT_ID is not set"),
        ("{scheme: azure-entra, tenant: 'a/b', client_id: c, secret: '${env:S}'}", r"auth\.tenant"),
        ("{secret: '${env:S}', secrets: ['${env:T}']}", r"auth\.secrets: `secret` is there as well"),
        ("{secrets: [{secret: '${env:S}', name: a}, {secret: '${env:T}', name: a}]}", "the name `a` is there twice"),
        ("{scheme: aws-sigv4, key_id: k, secrets: ['${env:S}']}", r"auth\.secrets: the scheme `aws-sigv4` has no use"),
        ("{secrets: [{secret: '${env:S}', weight: 0}]}", "auth"),
        ("{scheme: aws-instance, secretz: a}", "did you mean `secret`"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_its_reason(tmp_path, auth, reason):
    with pytest.raises(OperatorError, match=reason) as caught:
        row(tmp_path, auth)
    assert "ostiary.yaml:5" in caught.value.message


def test_a_region_is_needed_where_the_host_names_none(tmp_path):
    with pytest.raises(OperatorError, match="`region` is missing"):
        row(tmp_path, "{scheme: aws-instance}", "https://gateway.example")


def test_what_a_platform_tells_its_workloads_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x")
    assert row(tmp_path, "{scheme: aws-container}").endpoint == "http://169.254.170.2/v2/credentials/x"
    monkeypatch.setenv("AWS_PROFILE", "work")
    found = row(tmp_path, "{scheme: aws-profile}")
    assert (found.profile, found.file.endswith("/.aws/credentials")) == ("work", True)
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.setenv(name, "told")
    found = row(tmp_path, "{scheme: azure-workload-identity}")
    assert (found.tenant, found.client_id, found.token_file) == ("told", "told", "told")


def test_two_secrets_written_out_stand_in_two_files(tmp_path):
    found = row(tmp_path, "{scheme: aws-sigv4, key_id: A, secret: one, session_token: two}")
    assert found.secret != found.session_token


def test_several_secrets_have_names_and_weights_and_none_is_the_only_one(tmp_path):
    found = row(tmp_path, "{secrets: ['${env:A}', {secret: '${env:B}', name: new, weight: 3}]}")
    assert found.secret is None
    assert found.keys == (KeyRow("1", SecretRef("env", "A")), KeyRow("new", SecretRef("env", "B"), 3))
    assert found.secrets() == (SecretRef("env", "A"), SecretRef("env", "B"))
