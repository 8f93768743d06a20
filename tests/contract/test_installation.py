"""What holds of every store of facts."""

import pytest

from ostiary.core.error import Code, OstiaryError


def test_a_fact_is_what_was_remembered_first(stores):
    assert stores.installation.recall("pepper") is None
    assert stores.installation.remember("pepper", "one") == "one"
    assert stores.installation.remember("pepper", "two") == "one"
    stores.reopen()
    assert stores.installation.recall("pepper") == "one"
    assert stores.installation.recall("digest") is None


def test_a_closed_store_says_so(stores):
    other = stores.other()
    other.close()
    with pytest.raises(OstiaryError) as caught:
        other.tenants.list()
    assert caught.value.code is Code.STORE_UNAVAILABLE
