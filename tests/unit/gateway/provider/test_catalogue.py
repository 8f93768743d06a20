"""Each row of the catalogue, from an entry of the configuration file to the request line and credential that go out.

`rows.toml` has a case for each row: what the file must say besides the name, and what is then sent where. Adding a
provider of a known dialect is a row there and a case here.
"""

import datetime as dt
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ostiary.bootstrap.compile import compile_file, snapshot_of
from ostiary.bootstrap.data import provider_dialect
from ostiary.control.catalogue import Profile, catalogue, price_lists
from ostiary.core.call import ChatCall, DialectName, EmbeddingsCall, Operation
from ostiary.core.error import OperatorError
from ostiary.core.message import Message, Role, TextPart
from ostiary.core.secret import Secret
from ostiary.gateway.ports import PhaseTimeouts, UpstreamRequest
from ostiary.net.credentials import ProviderCredentials
from ostiary.settings import AuthSettings, ProviderSettings, load
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import ProfileRow, Residency
from ostiary.testing.clock import FakeClock

ROWS = catalogue()
CASES = tomllib.loads((Path(__file__).parent / "rows.toml").read_text(encoding="utf-8"))
MODEL = "a-model"
EMBEDDER = "amazon.titan-embed-text-v2:0"
KEY = "a-key-of-the-provider"
CHAT = ChatCall(MODEL, (Message(Role.USER, (TextPart("Hello."),)),))


class Secrets:
    def get(self, ref):
        return Secret(KEY)


def target_of(tmp_path, entry, operation):
    file = tmp_path / "ostiary.yaml"
    file.write_text(f"providers: {{it: {entry}}}\nmodels: {{m: {{targets: [{{provider: it, model: {MODEL}}}]}}}}\n")
    declared = compile_file(load(file), tmp_path / "secrets")
    index = Index(snapshot_of(declared, (), 0))
    found = index.targets(index.models["m"], operation)
    return found[0] if found else None


def sent(target, operation):
    """The request line and the credential's headers of a request to a target."""
    dialect = provider_dialect(target.provider, target.provider.dialect)
    if operation is Operation.CHAT:
        encoded = dialect.encode_chat(CHAT, model=target.request_model, max_tokens=8, drop=False)
    else:
        call = EmbeddingsCall(MODEL, ("Hello.",))
        # Bedrock's form of embeddings is the model's, so that its name must be a known one.
        model = EMBEDDER if dialect.name is DialectName.BEDROCK else target.request_model
        encoded = dialect.encode_embeddings(call, model=model, drop=False)
    row = target.provider
    request = UpstreamRequest(
        row.origin,
        encoded.method,
        target.address(encoded.path),
        encoded.headers,
        encoded.body,
        PhaseTimeouts(1, 1, 1, 1),
    )
    credentials = ProviderCredentials(None, None, Secrets(), FakeClock())
    found = credentials.headers(row, request)
    told = row.auth.scheme if found is None else "; ".join(f"{a.decode()}: {b.decode()}" for a, b in found)
    default = {"https": 443, "http": 80}[row.origin.scheme]
    port = "" if row.origin.port == default else f":{row.origin.port}"
    return f"{request.method.decode()} {row.origin.scheme}://{row.origin.host}{port}{request.target.decode()}", told


def test_there_is_a_case_for_each_row_and_no_other():
    assert list(CASES) == list(ROWS)


@pytest.mark.parametrize("name", CASES)
def test_a_row_becomes_the_request_its_documentation_shows(tmp_path, name):
    case = CASES[name]
    settings = "".join(f", {key}: {value}" for key, value in case.get("settings", {}).items())
    for operation in (Operation.CHAT, Operation.EMBEDDINGS):
        target = target_of(tmp_path, f"{{catalogue: {name}{settings}}}", operation)
        line, told = ("", case["auth"]) if target is None else sent(target, operation)
        assert (line, told) == (case.get(operation.value, ""), case["auth"])


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_whole(name):
    row = ROWS[name]
    url = urlsplit(row.base_url)
    local = url.hostname in ("127.0.0.1", "localhost")
    assert row.docs.startswith("https://")
    assert url.scheme == "https" or local
    assert local == (row.residency is Residency.PRIVATE)
    schemes = set(AuthSettings.__annotations__["scheme"].__args__)
    assert {row.auth, *row.auth_also} <= schemes
    assert bool(row.env) == (row.auth in ("bearer", "x-api-key", "header"))
    assert bool(row.header) == (row.auth == "header")
    assert set(row.wanted()) <= set(ProviderSettings.__struct_fields__)
    assert row.prices == "" or row.prices in price_lists()
    assert set(row.operations) <= {Operation.CHAT, Operation.EMBEDDINGS}
    assert row.dialect not in row.also
    if DialectName.OPENAI not in (row.dialect, *row.also):
        of_vertex = Profile(vertex_embeddings=row.profile.vertex_embeddings)
        assert row.profile == (of_vertex if row.dialect is DialectName.GEMINI else Profile())
    if row.data is not None:
        assert row.data.reviewed == dt.date.fromisoformat(row.data.reviewed).isoformat()
        assert row.data.sources
        assert all(source.startswith("https://") for source in row.data.sources)


def test_there_are_enough_of_them():
    assert len(ROWS) >= 60


def test_no_two_rows_are_found_by_one_port_or_offered_by_one_variable():
    ports = [row.local_port for row in ROWS.values() if row.local_port]
    offered = [row.env for row in ROWS.values() if row.env and row.discover and not row.wanted()]
    assert len(set(ports)) == len(ports)
    assert len(set(offered)) == len(offered)


def test_each_flag_of_a_profile_is_used_by_some_row():
    for name in ProfileRow.__struct_fields__:
        assert any(getattr(row.profile, name) != getattr(Profile(), name) for row in ROWS.values()), name


# --- what settings say --------------------------------------------------------------------------------------


def test_what_is_to_be_filled_in_is_asked_for_by_name(tmp_path):
    with pytest.raises(OperatorError, match="`resource` is missing"):
        target_of(tmp_path, "{catalogue: azure}", Operation.CHAT)
    with pytest.raises(OperatorError, match="region"):
        target_of(tmp_path, "{catalogue: bedrock, region: 'eu/x'}", Operation.CHAT)
    with pytest.raises(OperatorError, match="nothing fills `{zone}`"):
        target_of(tmp_path, "{dialect: openai, base_url: 'https://{zone}.test/v1'}", Operation.CHAT)


def test_what_fills_a_placeholder_may_be_a_reference(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME_REGION", "eu-central-1")
    target = target_of(tmp_path, "{catalogue: bedrock, region: '${env:HOME_REGION}'}", Operation.CHAT)
    assert target.provider.origin.host == "bedrock-runtime.eu-central-1.amazonaws.com"
    monkeypatch.setenv("HOME_REGION", "evil.test/")
    with pytest.raises(OperatorError, match="letters, digits"):
        target_of(tmp_path, "{catalogue: bedrock, region: '${env:HOME_REGION}'}", Operation.CHAT)


@pytest.mark.parametrize(
    ("url", "auth", "path"),
    [
        ("https://mine.openai.azure.com/openai/v1", "header", "/openai/v1"),
        ("https://mine.openai.azure.com/openai/deployments/{model}", "header", "/openai/deployments/a-model"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", "bearer", ""),
        ("https://api.groq.com/openai/v1", "bearer", "/openai/v1"),
    ],
)
def test_a_known_host_brings_its_row(tmp_path, url, auth, path):
    dialect = ", dialect: bedrock" if "bedrock" in url else ""
    target = target_of(tmp_path, f"{{base_url: '{url}'{dialect}}}", Operation.CHAT)
    assert target.provider.auth.scheme == auth
    assert target.base_path.decode() == path


def test_a_host_that_only_looks_like_a_known_one_is_unknown(tmp_path):
    for host in ("openai.azure.com.evil.test", "evil.test", "api.groq.com.evil.test"):
        target = target_of(tmp_path, f"{{dialect: openai, base_url: 'https://{host}/v1'}}", Operation.CHAT)
        assert target.provider.auth.scheme == "none"


def test_settings_go_before_the_row(tmp_path):
    entry = "{catalogue: mistral, profile: {seed_field: seed, omit: []}, operations: [embeddings], query: 'a=b'}"
    target = target_of(tmp_path, entry, Operation.EMBEDDINGS)
    assert target.provider.profile == ProfileRow(
        max_tokens_field="max_tokens", stream_usage=False, developer_role=False, tool_choice_required="any"
    )
    assert target.address(b"/x") == b"/v1/x?a=b"
    assert target.address(b"/x?y=z") == b"/v1/x?y=z&a=b"
    assert target_of(tmp_path, entry, Operation.CHAT) is None
    assert target_of(tmp_path, "{catalogue: groq}", Operation.COUNT_TOKENS) is not None


def test_a_models_name_stays_one_segment_of_an_address(tmp_path):
    file = tmp_path / "ostiary.yaml"
    file.write_text("providers: {az: {catalogue: azure-deployments, resource: mine}}\n")
    index = Index(snapshot_of(compile_file(load(file), tmp_path), (), 0))
    for name, path in (
        ("gpt-4o", b"/openai/deployments/gpt-4o"),
        ("../../files", b"/openai/deployments/..%2F..%2Ffiles"),
        ("..", b"/openai/deployments/%2E%2E"),
        ("a?b#c", b"/openai/deployments/a%3Fb%23c"),
        ("", b"/openai/deployments"),
    ):
        (target,) = index.targets(index.passthrough("az", name), Operation.PASSTHROUGH)
        assert target.base_path == path
        assert target.address(b"/x") == path + b"/x?api-version=2024-10-21"
