"""The services on the SQLite stores: who may do what, and what the file owns."""

import pytest

from ostiary.core.credential import has_our_form, stored_digest
from ostiary.core.digest import KeyedDigest
from ostiary.core.error import CallerError, Code, OperatorError
from ostiary.core.limit import KEY_OVERLAP_SECONDS_MAX
from ostiary.govern.actor import Actor, Permission, operator
from ostiary.govern.keys.model import KeyState
from ostiary.govern.keys.service import KeyService
from ostiary.govern.overlay import FileTeam, Overlay, check_overlay
from ostiary.govern.teams.service import TeamService
from ostiary.govern.tenants.service import TenantService
from ostiary.govern.usage.model import Dimension, UsageQuery
from ostiary.govern.usage.service import UsageService
from ostiary.testing.clock import FakeClock
from tests.contract.backends import CountingIds, backend

PEPPER = b"p" * 32
OVERLAY = Overlay(
    file="ostiary.yaml",
    tenants=frozenset({"acme"}),
    teams={("acme", "search"): FileTeam("staging", ("chat", "code"), frozenset({"fixed"}))},
)


class Installation:
    def __init__(self, folder):
        self.stores = backend("sqlite", folder)
        self.clock = FakeClock()
        ids = CountingIds()
        self.entropy = 0
        self.tenants = TenantService(self.stores.tenants, OVERLAY, self.clock, ids)
        self.teams = TeamService(self.stores.teams, self.stores.tenants, OVERLAY, self.clock, ids)
        self.keys = KeyService(
            self.stores.keys,
            self.stores.teams,
            OVERLAY,
            pepper=PEPPER,
            entropy=self._bytes,
            clock=self.clock,
            ids=ids,
        )
        self.usage = UsageService(self.stores.usage)
        self.root = operator("root")

    def _bytes(self, count):
        self.entropy += 1
        return self.entropy.to_bytes(count, "big")


@pytest.fixture
def house(tmp_path):
    house = Installation(tmp_path)
    yield house
    house.stores.close()


def refused(code, function, *words, **named):
    with pytest.raises(CallerError) as caught:
        function(*words, **named)
    assert caught.value.code is code
    return caught.value.message


def test_a_minted_key_is_stored_only_as_its_digest(house):
    minted = house.keys.create(house.root, "acme", "search", "app", models=["chat"])
    text = minted.secret.reveal()
    assert has_our_form(text)
    assert minted.key.environment == "staging"
    assert text not in repr(minted)
    ((digest, entry),) = house.stores.keys.entries()
    assert digest == stored_digest(KeyedDigest(PEPPER), text.encode())
    assert (entry.key_id, entry.models) == (minted.key.id, ("chat",))
    ((_, change),) = house.stores.outbox.since(0)
    assert (change.actor, change.action, change.object_id) == ("root", "key.create", minted.key.id)
    assert text not in str(change)
    for place in house.stores.path.parent.iterdir():
        assert text[17:].encode() not in place.read_bytes()


def test_rotation_keeps_the_key_and_ends_the_old_secret(house):
    minted = house.keys.create(house.root, "acme", "search", "app")
    rotated = house.keys.rotate(house.root, "acme", minted.key.id, overlap_seconds=60)
    assert rotated.key.id == minted.key.id
    assert rotated.secret.reveal() != minted.secret.reveal()
    ends = {one: entry.expires_ns for one, entry in house.stores.keys.entries()}
    assert ends == {
        stored_digest(KeyedDigest(PEPPER), minted.secret.reveal().encode()): house.clock.now_ns() + 60 * 10**9,
        stored_digest(KeyedDigest(PEPPER), rotated.secret.reveal().encode()): 0,
    }
    for overlap in (-1, KEY_OVERLAP_SECONDS_MAX + 1):
        refused(Code.OBJECT_INVALID, house.keys.rotate, house.root, "acme", minted.key.id, overlap_seconds=overlap)


def test_a_key_that_ended_cannot_be_rotated_or_revoked_again(house):
    minted = house.keys.create(house.root, "acme", "search", "app", lifetime_seconds=60)
    house.clock.advance(61)
    assert minted.key.state(house.clock.now_ns()) is KeyState.EXPIRED
    refused(Code.OBJECT_NOT_FOUND, house.keys.rotate, house.root, "acme", minted.key.id)
    house.keys.revoke(house.root, "acme", minted.key.id)
    refused(Code.OBJECT_NOT_FOUND, house.keys.revoke, house.root, "acme", minted.key.id)


def test_a_key_never_allows_more_than_its_team(house):
    assert "code2" in refused(
        Code.OBJECT_INVALID, house.keys.create, house.root, "acme", "search", "x", models=["chat", "code2"]
    )
    house.tenants.create(house.root, "globex")
    house.teams.create(house.root, "globex", "any", "sandbox", ["*"])
    assert house.keys.create(house.root, "globex", "any", "x", models=["whatever"]).key.models == ("whatever",)
    refused(Code.OBJECT_INVALID, house.keys.create, house.root, "globex", "any", "y", lifetime_seconds=0)


def test_what_the_file_defines_is_read_only(house):
    assert "ostiary.yaml" in refused(Code.OBJECT_FILE_OWNED, house.tenants.create, house.root, "acme")
    refused(Code.OBJECT_FILE_OWNED, house.tenants.disable, house.root, "acme")
    refused(Code.OBJECT_FILE_OWNED, house.teams.create, house.root, "acme", "search", "staging", [])
    refused(Code.OBJECT_FILE_OWNED, house.teams.disable, house.root, "acme", "search")
    refused(Code.OBJECT_FILE_OWNED, house.teams.allow_models, house.root, "acme", "search", ["x"])
    refused(Code.OBJECT_FILE_OWNED, house.keys.create, house.root, "acme", "search", "fixed")
    assert [(one.name, one.managed_by) for one in house.teams.list(house.root)] == [("search", "file")]
    # A tenant of the file may have teams of the database.
    house.teams.create(house.root, "acme", "ads", "production", ["chat"])
    house.keys.create(house.root, "acme", "ads", "fixed")


def test_names_and_bounds_are_checked(house):
    for name in ("", "a b", "-a", "a" * 64, "a/b", "a\n"):
        refused(Code.OBJECT_INVALID, house.tenants.create, house.root, name)
        refused(Code.OBJECT_INVALID, house.keys.create, house.root, "acme", "search", name)
    refused(Code.OBJECT_INVALID, house.teams.create, house.root, "acme", "x", "moon", [])
    refused(Code.OBJECT_INVALID, house.teams.create, house.root, "acme", "x", "sandbox", [""])
    refused(Code.OBJECT_INVALID, house.teams.create, house.root, "acme", "x", "sandbox", [], max_tokens=0)
    refused(Code.OBJECT_INVALID, house.teams.create, house.root, "acme", "x", "sandbox", [], tool_depth=-1)
    refused(Code.OBJECT_NOT_FOUND, house.teams.create, house.root, "globex", "x", "sandbox", [])
    refused(Code.OBJECT_NOT_FOUND, house.keys.create, house.root, "acme", "nobody", "x")


def test_disabled_objects_are_not_used(house):
    house.tenants.create(house.root, "globex")
    house.teams.create(house.root, "globex", "ads", "sandbox", ["*"])
    house.teams.disable(house.root, "globex", "ads")
    refused(Code.OBJECT_NOT_FOUND, house.keys.create, house.root, "globex", "ads", "x")
    refused(Code.OBJECT_NOT_FOUND, house.teams.disable, house.root, "globex", "ads")
    refused(Code.OBJECT_EXISTS, house.teams.create, house.root, "globex", "ads", "sandbox", [])
    house.tenants.disable(house.root, "globex")
    refused(Code.OBJECT_NOT_FOUND, house.teams.create, house.root, "globex", "new", "sandbox", [])
    refused(Code.OBJECT_EXISTS, house.tenants.create, house.root, "globex")


def actions(house):
    query = UsageQuery((Dimension.TEAM,), tenant="acme")
    return {
        Permission.TENANTS_WRITE: [
            lambda who: house.tenants.create(who, "new"),
            lambda who: house.tenants.disable(who, "new"),
        ],
        Permission.TENANTS_READ: [lambda who: house.tenants.list(who)],
        Permission.TEAMS_WRITE: [
            lambda who: house.teams.create(who, "acme", "new", "sandbox", []),
            lambda who: house.teams.allow_models(who, "acme", "new", ["x"]),
            lambda who: house.teams.disable(who, "acme", "new"),
        ],
        Permission.TEAMS_READ: [lambda who: house.teams.list(who, "acme")],
        Permission.KEYS_WRITE: [
            lambda who: house.keys.create(who, "acme", "search", "new"),
            lambda who: house.keys.rotate(who, "acme", house.stores.keys.list()[0].id),
            lambda who: house.keys.revoke(who, "acme", house.stores.keys.list()[0].id),
        ],
        Permission.KEYS_READ: [lambda who: house.keys.list(who, "acme")],
        Permission.USAGE_READ: [lambda who: house.usage.report(who, query)],
    }


def test_every_action_needs_exactly_its_own_permission(house):
    for needed, steps in actions(house).items():
        bare = Actor("bare", frozenset(Permission) - {needed})
        for step in steps:
            refused(Code.AUTH_FORBIDDEN, step, bare)
            step(Actor("fit", frozenset({needed})))


def test_other_tenants_look_as_if_they_did_not_exist(house):
    house.tenants.create(house.root, "globex")
    house.teams.create(house.root, "globex", "ads", "sandbox", ["*"])
    minted = house.keys.create(house.root, "acme", "search", "app")
    outsider = Actor("outsider", frozenset(Permission), tenant="globex")
    for step in (
        lambda: house.keys.create(outsider, "acme", "search", "x"),
        lambda: house.keys.rotate(outsider, "acme", minted.key.id),
        lambda: house.keys.revoke(outsider, "acme", minted.key.id),
        lambda: house.keys.list(outsider, "acme"),
        lambda: house.teams.list(outsider, "acme"),
        lambda: house.teams.disable(outsider, "acme", "search"),
        lambda: house.tenants.disable(outsider, "acme"),
        lambda: house.usage.report(outsider, UsageQuery((Dimension.TEAM,), tenant="acme")),
    ):
        foreign = refused(Code.OBJECT_NOT_FOUND, step)
        assert foreign == "There is no tenant 'acme'."
    # Nor does naming a foreign key in one's own tenant find it.
    refused(Code.OBJECT_NOT_FOUND, house.keys.revoke, outsider, "globex", minted.key.id)
    assert [one.name for one in house.teams.list(outsider)] == ["ads"]
    assert house.keys.list(outsider) == []
    assert [one.id for one in house.tenants.list(outsider)] == ["globex"]
    assert house.usage.report(outsider, UsageQuery((Dimension.TEAM,))) == []
    refused(Code.AUTH_FORBIDDEN, house.tenants.create, outsider, "third")


def test_a_name_in_the_file_and_in_the_database_is_refused_at_load():
    check_overlay(OVERLAY, ["globex"], [("acme", "ads")], [("acme", "search", "app")])
    with pytest.raises(OperatorError) as caught:
        check_overlay(
            OVERLAY, ["acme"], [("acme", "search")], [("acme", "search", "fixed"), ("globex", "search", "fixed")]
        )
    for name in ("tenant acme", "team acme/search", "key acme/search/fixed", "ostiary.yaml"):
        assert name in caught.value.message
    assert "globex" not in caught.value.message


def test_a_report_needs_a_group(house):
    refused(Code.OBJECT_INVALID, house.usage.report, house.root, UsageQuery(()))
