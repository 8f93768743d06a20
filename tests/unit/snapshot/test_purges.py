"""Which answers a purge is about."""

import pytest

from ostiary.core.error import OperatorError
from ostiary.snapshot.purges import Purges, PurgeTable, decode_purges, encode_purges

PURGES = Purges(9, (("acme", "model:chat", 9), ("", "tag:docs", 7), ("evil", "", 5)))
TAGS = ("model:chat", "team:search", "tag:docs")


@pytest.mark.parametrize(
    ("tenant", "tags", "number", "covered"),
    [
        ("acme", TAGS, 8, True),
        ("acme", TAGS, 9, False),
        ("other", TAGS, 8, False),
        ("other", TAGS, 6, True),
        ("other", ("model:chat",), 0, False),
        ("evil", (), 4, True),
        ("evil", (), 5, False),
        ("acme", (), 0, False),
        ("acme", (), 10, True),
    ],
)
def test_an_answer_is_covered_by_a_later_purge_of_its_tenant_or_of_all_by_any_of_its_tags(
    tenant, tags, number, covered
):
    assert PurgeTable(PURGES).covers(tenant, tags, number) is covered


def test_without_purges_nothing_is_covered_and_beyond_the_floor_everything_is():
    assert not PurgeTable(Purges()).covers("acme", TAGS, 0)
    table = PurgeTable(Purges(20, (), floor=12))
    assert table.covers("acme", (), 11)
    assert not table.covers("acme", (), 12)


def test_the_file_comes_back_as_it_was_written_and_another_is_refused():
    assert decode_purges(encode_purges(PURGES)) == PURGES
    for data in (b"", b"OSTIARY-PURGES 2\n", encode_purges(PURGES)[:-3]):
        with pytest.raises(OperatorError):
            decode_purges(data)
