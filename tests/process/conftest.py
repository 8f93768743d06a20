"""What tests of the running system share: providers, and one gateway for tests that leave it as it was."""

import pytest

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
