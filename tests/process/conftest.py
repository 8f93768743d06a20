"""What tests of the running system share: providers, and one gateway for tests that leave it as it was."""

import pytest

from tests import postgresql
from tests.process.house import House, ProviderThread


@pytest.fixture(scope="session")
def provider():
    thread = ProviderThread()
    yield thread
    thread.stop()


@pytest.fixture
def house(tmp_path, provider):
    """An installation of this test's own, not started; whatever the test left running is ended."""
    made = House(tmp_path, provider.port)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory, provider):
    """A running gateway that tests share; they must leave it as it was."""
    with House(tmp_path_factory.mktemp("shared"), provider.port) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request):
    """Makes the `storage.url` of one database after another."""
    made = []

    def new():
        if request.param == "sqlite":
            return "sqlite"
        postgresql.need()
        made.append(postgresql.new_schema())
        return postgresql.url(made[-1])

    yield new
    for name in made:
        postgresql.drop_schema(name)
