"""What is remembered of a head that comes again is what it said, never what was so at the time."""

import msgspec
import pytest

from ostiary.core.error import Code
from ostiary.core.http import Accepted, Answer
from ostiary.core.limit import EXCHANGES_MAX
from tests.exchange.harness import KEY, PRINCIPAL, House

PATHS = (
    b"/v1/chat/completions",
    b"/v1/messages",
    b"/v1/responses",
    b"/v1beta/models/gpt:generateContent",
    b"/v1/embeddings",
    b"/passthrough/openai/v1/files",
)
SAID = {
    b"x-ostiary-sensitivity": b"public",
    b"x-ostiary-metadata": b'{"feature":"search"}',
    b"x-ostiary-session": b"s",
    b"content-length": b"10",
}


@pytest.fixture
def house():
    return House()


def again(house, path, before, **options):
    """The same head once more, with another length."""
    head = house.head(path, headers={**SAID, b"content-length": b"12"}, **options)
    return house.gateway.accept(msgspec.structs.replace(head, before=before))


@pytest.mark.parametrize("path", PATHS)
def test_the_second_call_is_as_if_the_first_had_never_been(house, path):
    first = house.gateway.accept(house.head(path, headers=SAID))
    house.clock.advance(1.0)
    alone = house.gateway.accept(house.head(path, headers={**SAID, b"content-length": b"12"}))
    second = again(house, path, first)
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert second.context.request_id not in (first.context.request_id, alone.context.request_id)
    assert msgspec.structs.replace(second.context, request_id=alone.context.request_id) == alone.context
    assert second.body_bytes_max == alone.body_bytes_max
    assert second.context.headers[b"content-length"] == b"12"


def test_a_key_revoked_in_between_is_refused(house):
    first = house.gateway.accept(house.head(PATHS[0], headers=SAID))
    house.gateway._keys.principal = None
    second = again(house, PATHS[0], first)
    assert isinstance(second, Answer)
    assert second.status == 401
    assert [code for _, code in house.refusals.seen] == [Code.AUTH_INVALID]


def test_a_call_too_many_is_refused(house):
    first = house.gateway.accept(house.head(PATHS[0], headers=SAID))
    house.world.open_calls = EXCHANGES_MAX
    second = again(house, PATHS[0], first)
    assert isinstance(second, Answer)
    assert second.status == 503


def test_the_key_itself_is_not_kept(house):
    first = house.gateway.accept(house.head(PATHS[0], headers=SAID))
    assert first.context.key_digest == house.gateway._keys.digest(KEY)


def test_a_key_that_comes_again_is_not_hashed_again(house, monkeypatch):
    first = house.gateway.accept(house.head(PATHS[0], headers=SAID))
    digests = []
    monkeypatch.setattr(house.gateway._keys, "digest", digests.append)
    monkeypatch.setattr(house.gateway._keys, "find", {first.context.key_digest: PRINCIPAL}.get)
    second = again(house, PATHS[0], first)
    assert isinstance(second, Accepted)
    assert digests == []
