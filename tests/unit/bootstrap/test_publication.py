"""What data workers read after each change, and what was rewritten for it."""

import contextlib
import re
import threading
from pathlib import Path

import pytest

from ostiary import govern
from ostiary.bootstrap import publication as module
from ostiary.bootstrap.offline import Offline
from ostiary.bootstrap.publication import Publication
from ostiary.core.error import OperatorError
from ostiary.core.limit import KEY_DELTA_ENTRIES_MAX
from ostiary.core.review import Verdict
from ostiary.govern.reviews.model import EVENT_TYPE
from ostiary.settings import load
from ostiary.store.published.keyring import PublishedKeys
from ostiary.store.published.reader import PublishedReader

FILE = """
data_dir: ./data
providers: {sim: {dialect: openai, base_url: "http://127.0.0.1:9/v1", auth: {scheme: none}}}
models: {chat: {targets: [{provider: sim, model: m}]}}
tenants:
  - name: acme
    teams:
      - {name: search, models: [chat], keys: [{name: app, secret: "file-key-file-key-file-key"}]}
"""


class House:
    def __init__(self, folder, text=FILE):
        self.file = folder / "ostiary.yaml"
        self.file.write_text(text)
        self.loaded = load(self.file)
        self.offline = Offline(self.loaded)
        self.publication = Publication(self.offline, frozenset())
        self.publication.take_file(self.loaded)
        self.published = self.loaded.data_dir / "published"
        self.reader = PublishedReader(self.published)

    def knows(self, secret):
        keys = PublishedKeys(self.offline.installation_keys.pepper, self.offline.clock)
        table = PublishedReader(self.published).read_keys()
        assert table is not None
        keys.swap(table)
        return keys.find(keys.digest(secret.encode())) is not None

    def create(self, name="k"):
        minted = self.offline.keys.create(self.offline.actor, "acme", "search", name)
        self.publication.refresh_rows()
        return minted.key.id, minted.secret.reveal()

    def base(self):
        stat = (self.published / "keys").stat()
        return stat.st_ino, stat.st_mtime_ns

    def again(self):
        """The publisher of a process started anew."""
        self.publication = Publication(self.offline, frozenset())
        self.publication.take_file(load(self.file))


@pytest.fixture
def house(tmp_path):
    with contextlib.closing(House(tmp_path).offline) as offline:
        offline.close()
    made = House(tmp_path)
    yield made
    made.offline.close()


def test_keys_of_file_and_database_are_published_and_single_changes_leave_the_base_alone(house):
    before = house.base()
    assert house.knows("file-key-file-key-file-key")
    key_id, secret = house.create()
    assert house.knows(secret)
    house.offline.keys.revoke(house.offline.actor, "acme", key_id)
    house.publication.refresh_rows()
    assert not house.knows(secret)
    assert house.base() == before


def test_a_rotated_key_is_known_by_its_new_secret_and_the_old_one_as_long_as_they_overlap(house):
    key_id, old = house.create()
    minted = house.offline.keys.rotate(house.offline.actor, "acme", key_id, overlap_seconds=60)
    house.publication.refresh_rows()
    assert house.knows(minted.secret.reveal())
    assert house.knows(old)
    third = house.offline.keys.rotate(house.offline.actor, "acme", key_id)
    house.publication.refresh_rows()
    assert house.knows(third.secret.reveal())
    assert not house.knows(old)


def test_a_publisher_started_anew_goes_on_and_misses_nothing_that_changed_meanwhile(house):
    _, first = house.create("first")
    minted = house.offline.keys.create(house.offline.actor, "acme", "search", "unseen")
    before = house.base()
    house.again()
    assert house.base() == before
    assert house.knows(first)
    assert house.knows(minted.secret.reveal())


def test_a_key_taken_out_of_the_file_is_gone_and_one_put_in_is_known(house):
    before = house.base()
    house.file.write_text(FILE.replace("file-key-file-key-file-key", "another-another-another-key"))
    house.publication.reload(house.loaded)
    assert not house.knows("file-key-file-key-file-key")
    assert house.knows("another-another-another-key")
    assert house.base() == before


def test_a_disabled_team_takes_all_its_keys_with_it(house):
    offline = house.offline
    offline.tenants.create(offline.actor, "other")
    offline.teams.create(offline.actor, "other", "t", "production", ["chat"])
    minted = offline.keys.create(offline.actor, "other", "t", "k")
    house.publication.refresh_rows()
    assert house.knows(minted.secret.reveal())
    offline.teams.disable(offline.actor, "other", "t")
    house.publication.refresh_rows()
    assert not house.knows(minted.secret.reveal())


def test_past_its_bound_the_delta_is_folded_into_a_new_base(house):
    before = house.base()
    secrets = []
    for i in range(KEY_DELTA_ENTRIES_MAX + 1):
        minted = house.offline.keys.create(house.offline.actor, "acme", "search", f"k{i}")
        secrets.append(minted.secret.reveal())
    house.publication.refresh_rows()
    assert house.base() != before
    assert all(house.knows(secret) for secret in (secrets[0], secrets[500], secrets[-1]))
    assert house.publication._publisher.keys.entries == {}


def test_the_change_that_makes_the_delta_too_large_is_known_before_all_keys_are_written_anew(house, monkeypatch):
    """That takes seconds with many keys; a revoked key must not be taken for so long."""
    key_id, secret = house.create("revoked")
    publisher = house.publication._publisher
    publisher.publish_keys(house.offline.key_store.entries(), publisher.keys.file_keys, house.offline.outbox.last(), 0)
    for i in range(KEY_DELTA_ENTRIES_MAX):
        house.offline.keys.create(house.offline.actor, "acme", "search", f"k{i}")
    house.publication.refresh_rows()
    assert len(publisher.keys.entries) == KEY_DELTA_ENTRIES_MAX
    before, known = house.base(), []
    entries = house.offline.key_store.entries

    def looked():
        known.append(house.knows(secret))
        return entries()

    monkeypatch.setattr(house.offline.key_store, "entries", looked)
    house.offline.keys.revoke(house.offline.actor, "acme", key_id)
    house.publication.refresh_rows()
    assert known == [False]
    assert house.base() != before
    assert not house.knows(secret)
    assert publisher.keys.entries == {}


class Slow:
    """Rewriting whose reading of all keys waits until it may end, or fails."""

    def __init__(self, house, monkeypatch):
        self.may_end, self.failing, self.reads, real = threading.Event(), False, 0, module.open_storage
        self.reading = threading.Semaphore(0)
        slow = self

        def opened(*given):
            storage = real(*given)
            entries = storage.keys.entries

            def read():
                found = entries()
                slow.reads += 1
                slow.reading.release()
                assert slow.may_end.wait(20)
                if slow.failing:
                    raise OSError("no space left")
                return found

            storage.keys.entries = read
            return storage

        monkeypatch.setattr(module, "open_storage", opened)
        house.publication = self.publication = Publication(house.offline, frozenset(), aside=True)
        house.publication.take_file(house.loaded)

    def begun(self):
        assert self.reading.acquire(timeout=20)

    def end(self, house):
        self.may_end.set()
        house.publication._rewriting._thread.join(20)
        assert house.publication.due
        house.publication.refresh_rows()
        self.may_end.clear()


@pytest.fixture
def slow(house, monkeypatch):
    made = Slow(house, monkeypatch)
    yield made
    made.may_end.set()
    made.publication._rewriting.dropped()


def test_what_changes_while_all_keys_are_written_anew_is_known_before_and_after(house, slow):
    kept, revoked = house.create("kept"), house.create("revoked")
    before = house.base()
    for i in range(KEY_DELTA_ENTRIES_MAX):
        house.offline.keys.create(house.offline.actor, "acme", "search", f"k{i}")
    house.publication.refresh_rows()
    slow.begun()
    house.offline.keys.revoke(house.offline.actor, "acme", revoked[0])
    _, made = house.create("made")
    assert (house.knows(kept[1]), house.knows(revoked[1]), house.knows(made)) == (True, False, True)
    assert house.base() == before
    assert not house.publication.due
    slow.end(house)
    assert house.base() != before
    assert (house.knows(kept[1]), house.knows(revoked[1]), house.knows(made)) == (True, False, True)
    assert len(house.publication._publisher.keys.entries) == 2, "what changed since it was begun"
    assert slow.reads == 1


def test_a_disabled_team_does_not_keep_a_revoked_key_alive(house, slow):
    offline = house.offline
    offline.tenants.create(offline.actor, "other")
    offline.teams.create(offline.actor, "other", "t", "production", ["chat"])
    minted = offline.keys.create(offline.actor, "other", "t", "k")
    revoked = house.create("revoked")
    offline.teams.disable(offline.actor, "other", "t")
    house.publication.refresh_rows()
    offline.keys.revoke(offline.actor, "acme", revoked[0])
    house.publication.refresh_rows()
    assert not house.knows(revoked[1])
    assert ("other", "t") not in house.reader.read_snapshot().teams, "its key can do nothing any more"
    house.again()
    assert not house.knows(minted.secret.reveal()), "whoever starts before it has ended does it"


def test_a_team_disabled_while_all_keys_are_written_anew_is_not_forgotten(house, slow):
    offline = house.offline
    offline.tenants.create(offline.actor, "other")
    for name in ("t", "u"):
        offline.teams.create(offline.actor, "other", name, "production", ["chat"])
    secrets = [offline.keys.create(offline.actor, "other", name, "k").secret.reveal() for name in ("t", "u")]
    offline.teams.disable(offline.actor, "other", "t")
    house.publication.refresh_rows()
    slow.begun()
    offline.teams.disable(offline.actor, "other", "u")
    house.publication.refresh_rows()
    slow.end(house)  # this one does not know of the second
    assert not house.publication.due
    slow.end(house)
    assert [house.knows(secret) for secret in secrets] == [False, False]
    assert slow.reads == 2
    assert house.publication._publisher.keys.place == offline.outbox.last()


def test_writing_all_keys_anew_is_tried_again_where_it_fails(house, slow):
    offline = house.offline
    offline.tenants.create(offline.actor, "other")
    offline.teams.create(offline.actor, "other", "t", "production", ["chat"])
    secret = offline.keys.create(offline.actor, "other", "t", "k").secret.reveal()
    offline.teams.disable(offline.actor, "other", "t")
    house.publication.refresh_rows()
    slow.failing = True
    slow.end(house)
    slow.failing = False
    slow.end(house)
    assert not house.knows(secret)


def test_of_every_kind_of_change_it_is_known_what_it_does_to_keys():
    said = set()
    for path in Path(govern.__file__).parent.rglob("*.py"):
        said.update(re.findall(r'[ (=]"([a-z]+\.[a-z_]+)"', path.read_text(encoding="utf-8")))
    said -= {EVENT_TYPE}
    said |= {f"review.{verdict}" for verdict in Verdict}
    assert said == module._LEAVES_OTHER_KEYS | {"team.disable", "tenant.disable"}


def test_files_that_do_not_belong_together_are_written_anew(house):
    _, secret = house.create()
    (house.published / "keys").write_bytes(b"damaged")
    house.again()
    assert house.knows(secret)


def test_the_same_name_in_file_and_database_is_refused_and_the_old_publication_stays(house):
    house.create("both")
    house.file.write_text(FILE.replace("name: app", "name: both"))
    with pytest.raises(OperatorError, match="both define: key acme/search/both"):
        house.publication.reload(house.loaded)
    assert house.knows("file-key-file-key-file-key")
