"""Parts of a list, as queries ask for them."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.error import CallerError, Code
from ostiary.gateway.wire.paging import Page, PageWords, page_of

WORDS = PageWords("limit", "after_id", "before_id")
ONE_WAY = PageWords("pageSize", "pageToken")


@given(st.lists(st.text(min_size=1), unique=True, max_size=30), st.integers(1, 40))
def test_page_after_page_gives_every_item_once_and_in_order(names, size):
    seen, after = [], {}
    while True:
        page = page_of(names, urlencode({"limit": size, **after}).encode(), WORDS)
        seen += names[page.start : page.stop]
        assert page.stop - page.start <= size
        if not page.more:
            break
        after = {"after_id": names[page.stop - 1]}
    assert seen == names


@given(st.lists(st.text(min_size=1), unique=True, min_size=1, max_size=30), st.integers(1, 40))
def test_backwards_too(names, size):
    seen, before = [names[-1]], names[-1]
    while True:
        page = page_of(names, urlencode({"limit": size, "before_id": before}).encode(), WORDS)
        seen = names[page.start : page.stop] + seen
        if not page.more:
            break
        before = names[page.start]
    assert seen == names


def test_without_a_size_the_list_is_one_page():
    assert page_of(["a", "b"], b"", WORDS) == Page(0, 2, more=False)
    assert page_of(["a", "b"], b"colour=blue", WORDS) == Page(0, 2, more=False)
    assert page_of([], b"limit=3", WORDS) == Page(0, 0, more=False)


@pytest.mark.parametrize(
    ("query", "words", "param"),
    [
        (b"limit=0", WORDS, "limit"),
        (b"limit=1001", WORDS, "limit"),
        (b"limit=-1", WORDS, "limit"),
        (b"limit=1e2", WORDS, "limit"),
        ("limit=٣".encode().replace("٣".encode(), b"%D9%A3"), WORDS, "limit"),
        (b"after_id=c", WORDS, "after_id"),
        (b"before_id=c", WORDS, "before_id"),
        (b"after_id=a&before_id=b", WORDS, "before_id"),
        (b"pageToken=c", ONE_WAY, "pageToken"),
        (b"&".join(b"a=1" for _ in range(200)), WORDS, None),
        (b"limit=\xff", WORDS, None),
    ],
)
def test_what_asks_for_no_page_is_refused_by_its_name(query, words, param):
    with pytest.raises(CallerError) as caught:
        page_of(["a", "b"], query, words)
    assert caught.value.code is Code.REQUEST_INVALID
    assert caught.value.param == param
