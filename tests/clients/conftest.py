"""The gateway and the clients of these tests."""

import ssl
import zlib

import anthropic
import openai
import pytest

from tests.clients.house import CONFIGURATION, KEY, NARROW_KEY, Upstream, gateway
from tests.clients.sdk import Sdk

TIMEOUT_SECONDS = 30.0


@pytest.fixture(scope="session")
def upstream():
    with Upstream() as running:
        yield running


@pytest.fixture(scope="session")
def url(upstream, tmp_path_factory):
    """Where the gateway listens."""
    configuration = CONFIGURATION.format(upstream=upstream.url, key=KEY, narrow=NARROW_KEY)
    with gateway(tmp_path_factory.mktemp("gateway"), configuration) as found:
        yield found


@pytest.fixture(scope="session")
def trust():
    """One TLS context for all clients: each would load the system's certificates anew, though none speaks TLS here."""
    return ssl.create_default_context()


@pytest.fixture(params=["blocking", "async"])
def blocking(request):
    return request.param == "blocking"


@pytest.fixture
def alone(request):
    """The name of a model that behaves so, at a target of this test's own: one that keeps failing is passed over."""
    seed = zlib.crc32(request.node.nodeid.encode())
    return lambda provider, behaviour: f"{provider}/{behaviour}; seed={seed}"


def options(blocking, sdk, trust):
    http = sdk.DefaultHttpxClient if blocking else sdk.DefaultAsyncHttpxClient
    return {"max_retries": 0, "timeout": TIMEOUT_SECONDS, "http_client": http(verify=trust)}


@pytest.fixture
async def openai_sdk(blocking, url, trust):
    kind = openai.OpenAI if blocking else openai.AsyncOpenAI
    sdk = Sdk(kind(base_url=f"{url}/v1", api_key=KEY, **options(blocking, openai, trust)), blocking=blocking)
    yield sdk
    await sdk.call(lambda client: client.close())


@pytest.fixture
async def anthropic_sdk(blocking, url, trust):
    kind = anthropic.Anthropic if blocking else anthropic.AsyncAnthropic
    sdk = Sdk(kind(base_url=url, api_key=KEY, **options(blocking, anthropic, trust)), blocking=blocking)
    yield sdk
    await sdk.call(lambda client: client.close())
