"""AWS keys: fixed ones, those of a profile, and temporary ones of a role.

Sources: AWS SDKs and Tools Reference Guide, "Shared config and credentials files", "Container credential provider",
"IMDS credential provider"; AWS Security Token Service API reference, "AssumeRole", "AssumeRoleWithWebIdentity".
"""

import configparser
import html
import re
from typing import Final
from urllib.parse import urlencode

from ostiary.core.error import Code, OperatorError
from ostiary.core.http import Header
from ostiary.core.secret import Secret
from ostiary.gateway.ports import PhaseTimeouts, UpstreamRequest
from ostiary.gateway.provider.auth.sigv4 import AwsKeys, Signer
from ostiary.gateway.provider.auth.token import (
    FORM,
    Came,
    Grant,
    ReadFile,
    Steps,
    ask,
    bounded,
    members,
    moment,
    refused,
    text_member,
)

_SESSION_NAME: Final = "ostiary"
_ROLE_SECONDS: Final = 3600
_INSTANCE: Final = "http://169.254.169.254/latest"
_INSTANCE_TOKEN_SECONDS: Final = b"21600"
_NO_TIMEOUTS: Final = PhaseTimeouts(0, 0, 0, 0)  # what is signed has none
_MEMBER: Final = {
    name: re.compile(rf"<{name}>([^<]+)</{name}>")
    for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration", "Code")
}
_ROLE_NAME: Final = re.compile(r"[\w+=,.@-]{1,128}")


def fixed(keys: AwsKeys, now: float) -> Steps:  # noqa: ARG001 - every source is begun at a time
    """Keys that do not end."""
    yield from ()
    return Grant(keys, None)


def profile(file: str, name: str, now: float) -> Steps:  # noqa: ARG001 - every source is begun at a time
    """The keys of a profile in the shared credentials file."""
    came = yield ReadFile(file)
    return Grant(profile_keys(came.body.decode("utf-8", "replace"), name), None)


def profile_keys(text: str, name: str) -> AwsKeys:
    """A profile's keys, where the file is `credentials` ([name]) or `config` ([profile name])."""
    parser = configparser.ConfigParser(interpolation=None, default_section="\x00")
    try:
        parser.read_string(text)
    except configparser.Error:
        raise OperatorError(Code.CONFIG_INVALID, "the AWS credentials file cannot be read") from None
    section = next((one for one in (name, f"profile {name}") if parser.has_section(one)), None)
    if section is None:
        raise OperatorError(Code.CONFIG_INVALID, f"the AWS credentials file has no profile `{name}`")
    found = parser[section]
    key_id, secret = found.get("aws_access_key_id", ""), found.get("aws_secret_access_key", "")
    if not key_id or not secret:
        raise OperatorError(Code.CONFIG_INVALID, f"the AWS profile `{name}` has no access key")
    token = found.get("aws_session_token", "")
    return AwsKeys(key_id, Secret(secret), Secret(token) if token else None)


def assume_role(own: Steps, role_arn: str, region: str, now: float) -> Steps:
    """The keys of a role, asked for with one's own keys."""
    grant = yield from own
    assert isinstance(grant.value, AwsKeys)
    fields = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": role_arn,
        "RoleSessionName": _SESSION_NAME,
        "DurationSeconds": str(_ROLE_SECONDS),
    }
    body = urlencode(fields).encode()
    step = ask(b"POST", f"https://sts.{region}.amazonaws.com/", headers=(FORM,), body=body)
    request = UpstreamRequest(step.origin, step.method, step.target, step.headers, body, _NO_TIMEOUTS)
    proof = Signer(grant.value, region, "sts").headers(request, int(now * 1_000_000_000))
    came = yield ask(b"POST", f"https://sts.{region}.amazonaws.com/", headers=(FORM, *proof), body=body)
    return _session(came, now)


def web_identity(token_file: str, role_arn: str, region: str, now: float) -> Steps:
    """The keys of a role, for the token a cluster puts into a file."""
    came = yield ReadFile(token_file)
    token = came.body.decode("utf-8", "replace").strip()
    if came.status != 200 or not token:
        raise refused("the web identity's token file holds no token")
    fields = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": role_arn,
        "RoleSessionName": _SESSION_NAME,
        "WebIdentityToken": token,
    }
    url = f"https://sts.{region}.amazonaws.com/"
    came = yield ask(b"POST", url, headers=(FORM,), body=urlencode(fields).encode())
    return _session(came, now)


def container(url: str, token_file: str, now: float) -> Steps:
    """The keys of a container's role (ECS, or EKS Pod Identity, which wants a token from a file)."""
    headers: list[Header] = []
    if token_file:
        came = yield ReadFile(token_file)
        token = came.body.strip()
        if not token or not token.isascii() or not token.decode().isprintable():
            raise refused("the container's token file holds no token")
        headers.append((b"authorization", token))
    came = yield ask(b"GET", url, headers=headers)
    return _role(came, now, "the container's credential endpoint")


def instance(now: float) -> Steps:
    """The keys of a virtual machine's role, by version 2 of its metadata service."""
    ttl = (b"x-aws-ec2-metadata-token-ttl-seconds", _INSTANCE_TOKEN_SECONDS)
    what = "the instance metadata service"
    came = yield ask(b"PUT", f"{_INSTANCE}/api/token", headers=[ttl])
    if came.status != 200 or not came.body:
        raise refused(f"{what} answered {came.status}")
    session = (b"x-aws-ec2-metadata-token", came.body.strip())
    roles = f"{_INSTANCE}/meta-data/iam/security-credentials/"
    came = yield ask(b"GET", roles, headers=[session])
    role = came.body.decode("utf-8", "replace").strip().partition("\n")[0]
    if came.status != 200 or not _ROLE_NAME.fullmatch(role):
        raise refused(f"{what} knows no role of this machine")
    came = yield ask(b"GET", roles + role, headers=[session])
    return _role(came, now, what)


def _role(came: Came, now: float, what: str) -> Grant:
    tree = members(came, what)
    keys = AwsKeys(
        text_member(tree, "AccessKeyId", what),
        Secret(text_member(tree, "SecretAccessKey", what)),
        Secret(text_member(tree, "Token", what)),
    )
    return Grant(keys, bounded(moment(text_member(tree, "Expiration", what), what), now))


def _session(came: Came, now: float) -> Grant:
    """The credentials in an answer of the security token service, which is XML."""
    what = "the security token service"
    text = came.body.decode("utf-8", "replace")
    found = {name: match[1] for name, form in _MEMBER.items() if (match := form.search(text)) is not None}
    if came.status != 200:
        word = found.get("Code", "")
        raise refused(f"{what} answered {came.status}{f' ({word})' if word.isalnum() else ''}")
    missing = next((name for name in _MEMBER if name != "Code" and name not in found), None)
    if missing is not None:
        raise refused(f"{what} gave no {missing}")
    values = {name: html.unescape(value.strip()) for name, value in found.items()}
    keys = AwsKeys(values["AccessKeyId"], Secret(values["SecretAccessKey"]), Secret(values["SessionToken"]))
    return Grant(keys, bounded(moment(values["Expiration"], what), now))
