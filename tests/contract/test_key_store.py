"""What holds of every store of tenants, teams and keys."""

import pytest

from ostiary.core.error import CallerError, Code
from ostiary.core.principal import Deployment
from ostiary.govern.change import Change
from ostiary.govern.keys.model import Key, KeySecret, KeyState
from ostiary.govern.teams.model import Team
from ostiary.govern.tenants.model import Tenant
from ostiary.snapshot.keys import KeyEntry

NUMBER = iter(range(1_000_000))


def change(action="test", tenant="acme", object_id="x"):
    return Change(f"change-{next(NUMBER)}", 5, "someone", action, tenant, object_id, {"name": "n", "models": ["a"]})


def key(name="app", key_id="k1", tenant="acme", team="search", **fields):
    return Key(
        id=key_id,
        tenant=tenant,
        team=team,
        environment="production",
        name=name,
        created_ns=10,
        secrets=(KeySecret("osk_aaaaaaaaaaaa", 10),),
        **fields,
    )


def digest(number):
    return bytes([number]) * 32


def test_what_is_created_is_found_after_opening_again(stores):
    whole = key(models=("chat", "ünï"), deployment=Deployment("s", "1", "c"), expires_ns=99, project="beta")
    stores.keys.create(whole, digest(1), change())
    other = key(name="other", key_id="k2")
    stores.keys.create(other, digest(2), change())
    stores.reopen()
    assert stores.keys.find("acme", "k1") == whole
    assert stores.keys.list() == [whole, other]
    assert stores.keys.list("acme") == [whole, other]
    assert stores.keys.list("globex") == []
    assert stores.keys.find("globex", "k1") is None
    assert stores.keys.find("acme", "k9") is None


def test_entries_for_the_publisher(stores):
    stores.keys.create(key(models=("chat",), deployment=Deployment("s", "1", "c"), expires_ns=99), digest(1), change())
    stores.keys.create(key(name="b", key_id="k2", project="beta"), digest(2), change())
    assert dict(stores.keys.entries()) == {
        digest(1): KeyEntry("k1", "app", "acme", "search", "production", ("chat",), 99, Deployment("s", "1", "c")),
        digest(2): KeyEntry("k2", "b", "acme", "search", "production", project="beta"),
    }
    stores.keys.revoke("acme", "k1", 50, change())
    assert [one for one, _ in stores.keys.entries()] == [digest(2)]


def test_keys_of_disabled_teams_and_tenants_are_not_published(stores):
    stores.tenants.create(Tenant("acme", 5), change())
    stores.tenants.create(Tenant("globex", 5), change())
    stores.teams.create(Team("t1", "acme", "search", "production", ("*",)), change())
    for number, (tenant, team) in enumerate([("acme", "search"), ("acme", "of-the-file"), ("globex", "search")]):
        stores.keys.create(key(key_id=f"k{number}", tenant=tenant, team=team), digest(number), change())
    assert len(stores.keys.entries()) == 3
    stores.teams.disable("acme", "t1", 9, change())
    assert {entry.key_id for _, entry in stores.keys.entries()} == {"k1", "k2"}
    stores.tenants.disable("globex", 9, change())
    assert {entry.key_id for _, entry in stores.keys.entries()} == {"k1"}


def test_a_name_is_taken_until_its_key_is_revoked(stores):
    stores.keys.create(key(), digest(1), change())
    with pytest.raises(CallerError) as caught:
        stores.keys.create(key(key_id="k2"), digest(2), change())
    assert caught.value.code is Code.OBJECT_EXISTS
    stores.keys.create(key(key_id="k3", team="ads"), digest(3), change())
    stores.keys.create(key(key_id="k4", tenant="globex"), digest(4), change("globex"))
    assert stores.keys.revoke("acme", "k1", 50, change())
    stores.keys.create(key(key_id="k2"), digest(2), change())


def test_a_revoked_key_stays_revoked(stores):
    stores.keys.create(key(), digest(1), change())
    assert stores.keys.revoke("acme", "k1", 50, change())
    assert not stores.keys.revoke("acme", "k1", 60, change())
    assert not stores.keys.revoke("globex", "k1", 60, change())
    assert stores.keys.find("acme", "k1").revoked_ns == 50
    secret = KeySecret("osk_bbbbbbbbbbbb", 60)
    assert not stores.keys.rotate("acme", "k1", digest(2), secret, old_until_ns=70, change=change())
    assert stores.keys.entries() == []


def test_rotation_ends_earlier_secrets_and_never_prolongs_one(stores):
    stores.keys.create(key(), digest(1), change())
    for number, until in ((2, 100), (3, 200)):
        secret = KeySecret(f"osk_{number}", 10 + number)
        assert stores.keys.rotate("acme", "k1", digest(number), secret, old_until_ns=until, change=change())
    found = stores.keys.find("acme", "k1")
    assert [(one.hint, one.expires_ns) for one in found.secrets] == [
        ("osk_aaaaaaaaaaaa", 100),
        ("osk_2", 200),
        ("osk_3", 0),
    ]
    assert {one: entry.expires_ns for one, entry in stores.keys.entries()} == {
        digest(1): 100,
        digest(2): 200,
        digest(3): 0,
    }
    assert not stores.keys.rotate("acme", "k9", digest(9), KeySecret("h", 1), old_until_ns=1, change=change())


def test_an_entry_ends_with_its_secret_or_its_key_whichever_is_first(stores):
    stores.keys.create(key(expires_ns=150), digest(1), change())
    stores.keys.rotate("acme", "k1", digest(2), KeySecret("h", 11), old_until_ns=100, change=change())
    assert {one: entry.expires_ns for one, entry in stores.keys.entries()} == {digest(1): 100, digest(2): 150}


@pytest.mark.parametrize(
    ("fields", "now", "state"),
    [
        ({}, 10**18, KeyState.ACTIVE),
        ({"expires_ns": 100}, 99, KeyState.ACTIVE),
        ({"expires_ns": 100}, 100, KeyState.EXPIRED),
        ({"revoked_ns": 1}, 0, KeyState.REVOKED),
    ],
)
def test_the_state_of_a_key(fields, now, state):
    assert key(**fields).state(now) is state


def test_a_change_is_stored_with_what_it_changes_or_not_at_all(stores):
    before = stores.database.revision()
    made = change("key.create", object_id="k1")
    stores.keys.create(key(), digest(1), made)
    assert [one for _, one in stores.outbox.since(0)] == [made]
    assert stores.database.revision() == before + 1
    with pytest.raises(CallerError):
        stores.keys.create(key(key_id="k2"), digest(2), change())
    stores.keys.revoke("acme", "nobody", 1, change())
    assert len(stores.outbox.since(0)) == 1
    assert stores.database.revision() == before + 1
    ((number, _),) = stores.outbox.since(0)
    stores.outbox.delivered(number, 77)
    assert stores.outbox.since(number) == []


def test_tenants(stores):
    stores.tenants.create(Tenant("acme", 5), change())
    with pytest.raises(CallerError) as caught:
        stores.tenants.create(Tenant("acme", 6), change())
    assert caught.value.code is Code.OBJECT_EXISTS
    stores.reopen()
    assert stores.tenants.find("acme") == Tenant("acme", 5)
    assert stores.tenants.find("globex") is None
    assert stores.tenants.disable("acme", 9, change())
    assert not stores.tenants.disable("acme", 10, change())
    assert stores.tenants.list() == [Tenant("acme", 5, 9)]


def test_teams(stores):
    team = Team("t1", "acme", "search", "production", ("chat", "*"), 10, 0, 5)
    stores.teams.create(team, change())
    with pytest.raises(CallerError) as caught:
        stores.teams.create(Team("t2", "acme", "search", "sandbox", ()), change())
    assert caught.value.code is Code.OBJECT_EXISTS
    stores.teams.create(Team("t3", "globex", "search", "sandbox", ()), change())
    stores.reopen()
    assert stores.teams.find("acme", "search") == team
    assert stores.teams.find("acme", "ads") is None
    assert [one.id for one in stores.teams.list()] == ["t1", "t3"]
    assert [one.id for one in stores.teams.list("globex")] == ["t3"]
    assert stores.teams.update(Team("t1", "acme", "search", "production", ("x",)), change())
    assert stores.teams.find("acme", "search").models == ("x",)
    assert not stores.teams.update(Team("t1", "globex", "search", "production", ("x",)), change())
    assert stores.teams.disable("acme", "t1", 9, change())
    assert not stores.teams.disable("acme", "t1", 9, change())
    assert not stores.teams.update(team, change())
