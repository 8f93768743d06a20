"""A credential's digest may be kept for good; what it stands for is as of now."""

import pytest

from ostiary.snapshot.keys import KeyEntry, KeyTable, encode_base
from ostiary.store.published.keyring import PublishedKeys
from ostiary.testing.clock import FakeClock

PEPPER = b"p" * 32
KEY = b"a-key-of-the-search-team"


def entry(name="first", **fields):
    return KeyEntry("k", name, "acme", "search", "production", **fields)


def table(entries, delta=None):
    return KeyTable(encode_base(1, entries.items()), delta or {})


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def keys(clock):
    return PublishedKeys(PEPPER, clock)


def test_a_kept_digest_finds_its_key_as_soon_as_there_is_one_and_not_after_it_is_revoked(keys):
    kept = keys.digest(KEY)
    assert keys.find(kept) is None
    keys.swap(table({kept: entry()}))
    assert keys.find(kept).key_name == "first"
    keys.swap(table({kept: entry()}, {kept: entry("renamed")}))
    assert keys.find(kept).key_name == "renamed"
    keys.swap(table({kept: entry()}, {kept: None}))
    assert keys.find(kept) is None


def test_a_kept_digest_finds_nothing_once_its_key_is_expired(keys, clock):
    kept = keys.digest(KEY)
    keys.swap(table({kept: entry(expires_ns=clock.now_ns() + 1_000_000_000)}))
    assert keys.find(kept) is not None
    clock.advance(1.0)
    assert keys.find(kept) is None


def test_a_digest_is_the_same_whatever_happens_to_the_keys_and_another_with_another_pepper(keys, clock):
    kept = keys.digest(KEY)
    keys.swap(table({kept: entry()}))
    assert keys.digest(KEY) == kept
    assert keys.digest(KEY + b"x") != kept
    assert PublishedKeys(b"q" * 32, clock).digest(KEY) != kept
