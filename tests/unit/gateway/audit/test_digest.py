import hmac

from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.digest import KeyedDigest
from ostiary.gateway.audit.digest import Digests


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=40), st.binary(max_size=300))
def test_a_keyed_digest_is_the_hmac_of_the_standard_library(key, beginning, message):
    expected = hmac.digest(key, beginning + message, "sha256")
    digest = KeyedDigest(key, beginning)
    assert digest.digest(message) == expected
    assert digest.digest(message) == expected, "a digest can be used again"
    running = digest.start()
    for i in range(0, len(message), 7):
        running.update(message[i : i + 7])
    assert running.hexdigest() == expected.hex()


def test_digests_are_keyed_and_separated():
    one, two = Digests(b"1" * 32), Digests(b"2" * 32)
    assert one.content(b"hello") == one.content(b"hello")
    assert one.content(b"hello") != two.content(b"hello")
    assert one.name != two.name
    names = {
        digests.person(tenant, person)
        for digests in (one, two)
        for tenant, person in (("a", "b"), ("a", "c"), ("b", "b"), ("a\x00", "b"))
    }
    assert len(names) == 8
    assert all(len(name) == 64 for name in names)
    assert one.content(b"a\x00b") != one.person("a", "b")


def test_printing_a_digest_shows_nothing_of_its_key():
    assert "secret" not in repr(KeyedDigest(b"secret" * 6)) + str(vars(Digests(b"secret" * 6)))
