import pytest

from tests.contract.backends import BACKENDS, backend


@pytest.fixture(params=BACKENDS)
def stores(request, tmp_path):
    stores = backend(request.param, tmp_path)
    yield stores
    stores.end()
