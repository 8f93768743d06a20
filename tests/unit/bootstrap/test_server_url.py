import pytest

from ostiary.bootstrap.server_url import is_local


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_this_machine_is_known_by_its_address_or_as_localhost(host):
    assert is_local(host)


@pytest.mark.parametrize("host", ["", "127.elsewhere.test", "localhost.elsewhere.test", "10.0.0.1", "0.0.0.0", "::"])
def test_what_only_looks_like_it_is_not(host):
    assert not is_local(host)
