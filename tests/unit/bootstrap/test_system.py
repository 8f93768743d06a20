"""Ids that are made here."""

import time
import uuid

from ostiary.bootstrap.system import UuidIds


def test_an_id_is_a_uuid_of_version_7_that_says_when_it_was_made():
    before = time.time_ns() // 1_000_000
    made = [UuidIds().new() for _ in range(200)]
    after = time.time_ns() // 1_000_000
    for text in made:
        one = uuid.UUID(text)
        assert str(one) == text
        assert (one.version, one.variant) == (7, uuid.RFC_4122)
        assert before <= one.int >> 80 <= after
    assert len({text[14:] for text in made}) == 200, "what is behind the time is chance"


def test_ids_never_repeat_and_never_go_back(monkeypatch):
    ids, made, now = UuidIds(), [], 1_700_000_000_000_000_000
    monkeypatch.setattr("ostiary.bootstrap.system.time.time_ns", lambda: now)
    for step in (0, 0, 0, 1, 0, -5_000, 0, 5_001, 1, 0):
        now += step * 1_000_000
        made += [ids.new() for _ in range(500)]
    assert made == sorted(set(made))
    assert {len(text) for text in made} == {36}
    assert len({text[:23] for text in made}) == 4, "within a millisecond only the end counts up"
