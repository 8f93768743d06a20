"""What every store does with text and numbers that are meant to hurt it."""

import random

import pytest

from ostiary.core.error import CallerError, Code
from ostiary.govern.teams.model import Team
from ostiary.govern.tenants.model import Tenant
from ostiary.govern.usage.model import Dimension, OpenCall, Place, UsageQuery
from tests.contract.test_key_store import change, digest, key
from tests.contract.test_usage_store import add, batch, call, report

HOSTILE = [
    "'; DROP TABLE keys; --",
    'a"b\\c%s%(x)s$1?:name',
    "select",
    "naïve ☃ 𝔘𝔫𝔦 \u202e\ufeff",
    "line\nbreak\ttab\x01\x7f",
    "",
    "x" * 256,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_text_of_any_kind_is_kept_as_it_is(stores, text):
    stores.tenants.create(Tenant(text, 5), change(tenant=text))
    stores.teams.create(Team("t1", text, text, "production", (text,)), change())
    whole = key(name=text, key_id=text, tenant=text, team=text, models=(text, "\0"))
    stores.keys.create(whole, digest(1), change(action=text, tenant=text, object_id=text))
    add(stores, [call(0, tenant=text, team=text, asked=text, served=text, error=text, request_id=text)])
    assert stores.installation.remember(f"fact {text}", text) == text
    stores.reopen()
    assert stores.tenants.find(text).id == text
    assert stores.teams.find(text, text).models == (text,)
    assert stores.keys.find(text, text) == whole
    assert [entry.models for _, entry in stores.keys.entries()] == [(text, "\0")]
    assert stores.outbox.since(2)[0][1].action == text
    assert list(report(stores, Dimension.MODEL)) == [(text,)]
    assert [row.served for row in stores.usage.consumed(UsageQuery((), team=text))] == [text]


def test_a_call_for_a_model_with_a_nul_in_its_name_is_counted(stores):
    """A caller may name a model as it likes; a record that cannot be stored would hold up all that follow."""
    add(stores, [call(0, asked="a\0b", request_id="r\0", error="e\0"), call(1)])
    found = report(stores, Dimension.MODEL)
    assert sum(line.requests for line in found.values()) == 2
    assert {group[0].replace("\u2400", "\0") for group in found} == {"a\0b", "chat"}


@pytest.mark.parametrize("char", ["a", "☃", "𝔘"])
def test_a_call_for_a_model_whose_name_has_no_end_is_counted(stores, char):
    """Of letters that no compression makes short: an index of a database has a bound on what it takes."""
    name = "".join(chr(ord(char) + ord(one) % 20) for one in random.Random(1).choices("abcdefghijklmnopqrst", k=20_000))
    opened = {4: OpenCall(4, 1, "acme", "search", "k", name, "r")}
    add(stores, [call(0, asked=name, served=name), call(1)], opened=opened)
    lines = report(stores, Dimension.MODEL)
    assert sum(line.requests for line in lines.values()) == 2
    assert all("chat".startswith(group[0]) or name.startswith(group[0]) for group in lines)
    assert min(len(group[0].encode()) for group in lines if group[0] != "chat") > 250


@pytest.mark.parametrize("text", ["nul\0", "half \ud800"])
def test_text_that_cannot_be_kept_is_refused_or_kept_whole(stores, text):
    refused = None
    try:
        stores.tenants.create(Tenant(text, 5), change())
    except CallerError as error:
        refused = error
    if refused is None:
        assert stores.tenants.find(text) == Tenant(text, 5)
    else:
        assert refused.code is Code.OBJECT_INVALID
        assert stores.tenants.list() == []
        assert stores.outbox.since(0) == []


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_a_number_that_cannot_be_kept_is_refused_and_nothing_is_written(stores, number):
    with pytest.raises(CallerError) as caught:
        stores.tenants.create(Tenant("acme", number), change())
    assert caught.value.code is Code.OBJECT_INVALID
    with pytest.raises(CallerError):
        stores.usage.apply("usage", "r1.0", Place(), Place(0, 1, 1), batch([call(0, input_tokens=number)]))
    assert stores.usage.place("usage", "r1.0") == Place()
    stores.tenants.create(Tenant("acme", 2**63 - 1), change())
    assert stores.tenants.list() == [Tenant("acme", 2**63 - 1)]
