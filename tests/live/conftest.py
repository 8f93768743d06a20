"""The model server, a gateway before it, and clients. `make test-live` prepares what they need."""

import os

import anthropic
import msgspec
import openai
import pytest

from tests.clients.house import KEY, Process, gateway, ostiary

CONTEXT_TOKENS = 512
CONFIGURATION = """\
data_dir: ./data
server: {{port: 0, drain_seconds: 2}}
admin:  {{port: 0}}
log:    {{level: warning}}
providers:
  onsite: {{dialect: openai, base_url: "{upstream}/v1", auth: {{secret: "${{file:provider.key}}"}}, residency: private}}
models:
  tiny: {{targets: [{{provider: onsite, model: tiny}}]}}
tenants:
  - name: acme
    teams:
      - {{name: search, models: [tiny], keys: [{{name: live, secret: {key}}}]}}
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Where the model server listens."""
    python, model = os.environ.get("OSTIARY_LIVE_PYTHON"), os.environ.get("OSTIARY_LIVE_MODEL")
    if not python or not model:
        pytest.skip("there is no model server: `make test-live` makes one and runs these tests")
    folder = tmp_path_factory.mktemp("server")
    words = ("--model", model, "--port", "0", "--n_ctx", str(CONTEXT_TOKENS), "--logits_all", "true")
    process = Process(python, "-m", "llama_cpp.server", *words, cwd=folder, says="Uvicorn running on ")
    try:
        yield process.wait_ready().partition("Uvicorn running on ")[2].split()[0]
    finally:
        process.stop()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="session")
def url(server, folder):
    """Where the gateway listens."""
    with gateway(folder, CONFIGURATION.format(upstream=server, key=KEY)) as found:
        yield found


@pytest.fixture(scope="session")
def openai_client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def anthropic_client(url):
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def recorded(folder, url):
    """What the journal holds of a finished call, by its request id."""

    def closed(request_id):
        (line,) = ostiary(folder, "audit", "show", "--kind", "closed", "--request", request_id).splitlines()
        return msgspec.json.decode(line)["record"]

    return closed
