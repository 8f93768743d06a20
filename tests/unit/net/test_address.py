import pytest

from ostiary.net.address import parse, vet


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "240.0.0.1",
    ],
)
def test_metadata_services_and_what_is_no_host_are_refused(text):
    assert vet(parse(text)) is not None


@pytest.mark.parametrize("text", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd00::1", "93.184.216.34", "2606::1"])
def test_public_private_and_loopback_addresses_are_allowed(text):
    assert vet(parse(text)) is None


@pytest.mark.parametrize("text", ["api.test", "2130706433", "0x7f.1", "127.1", ""])
def test_a_name_is_no_address(text):
    assert parse(text) is None
