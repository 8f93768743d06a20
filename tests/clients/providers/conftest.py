"""The gateway of these tests, and the models they ask for: one of a provider of each dialect."""

import pytest

from tests.clients.house import gateway
from tests.clients.providers.installation import DIALECTS, Upstream, configuration


@pytest.fixture(scope="session")
def upstream():
    with Upstream() as running:
        yield running


@pytest.fixture(scope="session")
def url(upstream, tmp_path_factory):
    """Where the gateway listens."""
    with gateway(tmp_path_factory.mktemp("gateway"), configuration(upstream.url)) as found:
        yield found


@pytest.fixture(params=list(DIALECTS))
def model(request):
    """The name of a model, which is that of its provider's dialect."""
    return request.param
