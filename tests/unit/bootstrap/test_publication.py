"""What data workers read after each change, and what was rewritten for it."""

import contextlib

import pytest

from ostiary.bootstrap.offline import Offline
from ostiary.bootstrap.publication import Publication
from ostiary.core.error import OperatorError
from ostiary.core.limit import KEY_DELTA_ENTRIES_MAX
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
        return keys.find(secret.encode()) is not None

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
