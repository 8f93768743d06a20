"""TLS of the server itself: the minimum, certificates that change, clients that must show one."""

import contextlib
import socket
import ssl

import pytest
import trustme

from tests.process.house import House, until


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def issue(authority, folder, name="server"):
    """Put a fresh certificate and its key where the configuration says; its serial number."""
    made = authority.issue_cert("127.0.0.1", "localhost")
    (folder / f"{name}.key").write_bytes(made.private_key_pem.bytes())
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    (folder / f"{name}.crt").write_bytes(chain)
    return made, serial(chain)


def serial(pem):
    return ssl.PEM_cert_to_DER_cert(pem.decode().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")


def client(authority, maximum=None):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if maximum is not None:
        context.maximum_version = maximum
    return context


def shown(house, context):
    """The certificate a new connection gets."""
    with (
        socket.create_connection(("127.0.0.1", house.port), 5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        assert secured.version() == "TLSv1.3"
        return secured.getpeercert(binary_form=True)


def installed(folder, provider, extra=""):
    return House(folder, provider.port, server=f", tls: {{certificate_file: server.crt, key_file: server.key{extra}}}")


def test_a_certificate_is_replaced_without_a_restart_and_a_broken_one_is_not_taken(tmp_path, provider, authority):
    _, first = issue(authority, tmp_path)
    house = installed(tmp_path, provider)
    house.tls = client(authority)
    with house.start():
        assert house.scheme == "https"
        assert shown(house, house.tls) == first
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shown(house, client(authority, ssl.TLSVersion.TLSv1_2))
        # A client in clear is not answered, and disturbs nobody.
        with socket.create_connection(("127.0.0.1", house.port), 5) as plain:
            plain.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"HTTP/1.1 200" not in plain.recv(1000)
        old = house.connect()
        assert house.chat(connection=old).status == 200
        _, second = issue(authority, tmp_path)
        until(lambda: shown(house, house.tls) == second, 8.0, "the new certificate")
        assert house.chat(connection=old).status == 200, "an open connection keeps living"
        (tmp_path / "server.key").write_text("-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")
        until(lambda: house.logged("refresh_refused"), 8.0, "the refusal")
        assert shown(house, house.tls) == second
        assert "server.crt" in house.logged("refresh_refused")[0]["reason"]
        _, third = issue(authority, tmp_path)
        until(lambda: shown(house, house.tls) == third, 8.0, "the mended certificate")
        assert len(house.logged("refresh_refused")) == 1, "a bad pair is told once"
        assert house.chat(connection=old).status == 200
        old.close()
        assert house.stop() == 0


def test_with_a_client_authority_only_clients_it_vouches_for_get_through(tmp_path, provider, authority):
    issue(authority, tmp_path)
    clients = trustme.CA()
    clients.cert_pem.write_to_path(tmp_path / "clients.crt")
    house = installed(tmp_path, provider, ", client_ca_file: clients.crt")
    known, unknown, stranger = client(authority), client(authority), client(authority)
    clients.issue_cert("someone@example.org").configure_cert(known)
    authority.issue_cert("someone@example.org").configure_cert(stranger)
    house.tls = known
    with house.start():
        assert house.chat().status == 200
        for context in (unknown, stranger):
            house.tls = context
            with contextlib.closing(house.connect()) as refused, pytest.raises((ssl.SSLError, ConnectionError)):
                house.chat(connection=refused)
        house.tls = known
        assert house.chat().status == 200


def test_a_certificate_that_cannot_be_used_refuses_the_start_with_file_and_line(tmp_path, provider, authority):
    issue(authority, tmp_path)
    other = trustme.CA().issue_cert("127.0.0.1")
    (tmp_path / "server.key").write_bytes(other.private_key_pem.bytes())
    house = installed(tmp_path, provider)
    told = house.command("serve", code=2)
    assert "ostiary.yaml:2: server.tls" in told
    assert "cannot be loaded" in told
