import os
import ssl

import pytest
import trustme

from ostiary.core import limit
from ostiary.core.error import Code, UpstreamError
from ostiary.net import tls
from ostiary.snapshot.tables import TlsRow


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


@pytest.mark.parametrize("row", [TlsRow(), TlsRow(minimum_version="1.2")])
def test_every_context_verifies(row):
    context = tls.context(row)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_tls_1_3_is_the_default_and_1_2_the_exception():
    assert tls.context(TlsRow()).minimum_version == ssl.TLSVersion.TLSv1_3
    assert tls.context(TlsRow(minimum_version="1.2")).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("version", ["1.1", "1.0", "", "any"])
def test_older_versions_do_not_exist(version):
    with pytest.raises(UpstreamError) as caught:
        tls.context(TlsRow(minimum_version=version))
    assert caught.value.code == Code.UPSTREAM_TLS


def test_a_ca_file_takes_the_place_of_the_systems(ca_file):
    assert len(tls.context(TlsRow(ca_file)).get_ca_certs()) == 1


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
def test_a_ca_file_that_cannot_be_used_is_named(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UpstreamError) as caught:
        tls.context(TlsRow(str(path)))
    assert "CA bundle" in caught.value.message


def test_an_encrypted_key_fails_instead_of_asking(authority, tmp_path, ca_file):
    certificate = authority.issue_cert("gateway.test")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    (tmp_path / "key.pem").write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    with pytest.raises(UpstreamError) as caught:
        tls.context(TlsRow(ca_file, str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")))
    assert "client certificate" in caught.value.message


async def test_a_context_is_made_once_per_row(clock, ca_file):
    contexts = tls.TlsContexts(clock)
    first = await contexts.get(TlsRow(ca_file))
    clock.advance(limit.TLS_CHECK_SECONDS * 10)
    assert await contexts.get(TlsRow(ca_file)) is first
    assert await contexts.get(TlsRow(ca_file, minimum_version="1.2")) is not first


async def test_a_changed_file_is_loaded_and_a_broken_one_reported_once(clock, ca_file):
    problems = []
    contexts = tls.TlsContexts(clock, problems.append)
    first = await contexts.get(TlsRow(ca_file))
    trustme.CA().cert_pem.write_to_path(ca_file)
    os.utime(ca_file, ns=(1, 1))
    assert await contexts.get(TlsRow(ca_file)) is first  # not looked at yet
    clock.advance(limit.TLS_CHECK_SECONDS)
    second = await contexts.get(TlsRow(ca_file))
    assert second is not first
    os.unlink(ca_file)
    for _ in range(3):
        clock.advance(limit.TLS_CHECK_SECONDS)
        assert await contexts.get(TlsRow(ca_file)) is second
    assert len(problems) == 1


async def test_a_file_that_was_never_good_is_tried_again(clock, authority, tmp_path):
    path = tmp_path / "late.pem"
    contexts = tls.TlsContexts(clock)
    with pytest.raises(UpstreamError):
        await contexts.get(TlsRow(str(path)))
    authority.cert_pem.write_to_path(str(path))
    assert await contexts.get(TlsRow(str(path)))
