"""Calls handed over to a person, in the running system: several workers, a reviewer at the command line, callbacks, restarts,
and replicas that share a database."""

import json
import os
import shutil
import signal
import sqlite3

import pytest

from ostiary.core.event import Kind
from ostiary.gateway.audit import record
from ostiary.store.journal.layout import START, origins
from ostiary.store.journal.reader import read
from tests import postgresql
from tests.process.house import House, until
from tests.process.test_alerts import SECRET, Receiver, receiver, verified

CANARY = "canary-9c1e of a question"
ANSWER = "canary-2b7d of a person"
OTHER_KEY = "a-key-of-another-tenant-0123456789"
MODELS = """\
  asked:
    targets: [{provider: sim, model: sim-error-500}]
    retries: {attempts: 1}
    degraded: {on: [error], answers: [{handover: {ttl_seconds: 600, callback: app}}]}
"""
TENANTS = """\
  - name: other
    teams:
      - name: search
        models: ["*"]
        keys: [{name: app, secret: "${env:OTHER_KEY}"}]
"""
CALLBACKS = """\
reviews:
  callbacks:
    - {{name: app, url: "http://127.0.0.1:{port}/decided", secret: "${{env:HOOK_SECRET}}", tenants: [acme]}}
"""

__all__ = ["receiver"]


def installation(folder, provider, hook, *, top="", workers=2, **environment):
    folder.mkdir(exist_ok=True)
    house = House(
        folder,
        provider.port,
        workers=workers,
        top=CALLBACKS.format(port=hook.server_port) + top,
        models=MODELS,
        tenants=TENANTS,
        environment={"HOOK_SECRET": SECRET, "OTHER_KEY": OTHER_KEY, **environment},
    )
    house.environment["OSTIARY_REPLICA"] = environment.get("OSTIARY_REPLICA", "r0")
    return house


def poll(house, ticket, **options):
    return house.ask("GET", f"/v1/reviews/{ticket}", **options)


def reviewed(house):
    root = house.data / "journal"
    found = [(entry.kind, entry.payload) for origin in origins(root) for entry in read(root / origin, START)]
    return [record.decode(kind, payload) for kind, payload in found if kind == Kind.REVIEWED]


def listed(house, *words):
    return json.loads(house.command("review", "list", "--json", *words))


def test_a_call_goes_to_a_person_and_the_answer_comes_back(tmp_path, provider, receiver):
    with installation(tmp_path, provider, receiver) as house:
        given = house.chat("asked", text=CANARY)
        assert given.status == 202
        ticket = given.json["id"]
        assert given.headers["location"] == f"/v1/reviews/{ticket}"
        assert [poll(house, ticket).status for _ in range(8)] == [202] * 8, "on every worker"
        until(lambda: house.metric("ostiary_reviews_waiting") == 1, 10, "that it waits is told")
        until(lambda: house.metric("ostiary_reviews_oldest_seconds") > 0, 10, "and for how long")
        assert poll(house, ticket, key=OTHER_KEY).status == 404
        assert poll(house, ticket, key=None).status == 401

        (waiting,) = listed(house)
        assert (waiting["ticket"], waiting["state"], waiting["reason"]) == (ticket, "waiting", "upstream.error")
        assert CANARY not in house.command("review", "list")
        shown = json.loads(house.command("review", "show", waiting["request_id"], "--json"))
        assert json.loads(shown["request"])["messages"][0]["content"] == CANARY
        assert CANARY in house.command("review", "show", ticket)

        receiver.statuses = [503]
        assert "answered; recorded in the journal r0.900" in house.command("review", "answer", ticket, "--text", ANSWER)
        told = until(lambda: (one := poll(house, ticket)).status == 200 and one, 10, "the answer")
        assert told.json["choices"][0]["message"]["content"] == ANSWER
        assert told.json["model"] == "asked"
        assert [poll(house, ticket).status for _ in range(8)] == [200] * 8, "on every worker"
        assert "answered by" in house.command("review", "decline", ticket, "--reason", "no", code=2)
        assert listed(house) == []
        (done,) = listed(house, "--decided")
        assert done["state"] == "answered"
        assert "no longer kept" in house.command("review", "show", ticket)

        until(lambda: [one for one in receiver.got if one[3] == 204], 30, "the callback, once more after its refusal")
        told = [verified(headers, body) for _, headers, body, _ in receiver.got]
        assert len({ident for ident, _ in told}) == 1
        assert told[-1][1]["type"] == "review.decided"
        assert told[-1][1]["data"]["ticket"] == ticket
        assert not any(ANSWER.encode() in body or CANARY.encode() in body for _, _, body, _ in receiver.got)

        (decision,) = reviewed(house)
        assert (decision.ticket, decision.verdict, decision.tenant) == (ticket, "answered", "acme")
        assert len(decision.decision_digest) == 64
        house.command("audit", "verify")
        shown = house.command("audit", "show", "--request", waiting["request_id"]).splitlines()
        kinds = [(one["kind"], one["record"].get("ticket")) for one in map(json.loads, shown)]
        assert kinds == [("opened", None), ("closed", ticket), ("reviewed", ticket)]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert CANARY.encode() not in data, path
            assert ANSWER.encode() not in data, path
    with sqlite3.connect(house.data / "ostiary.db") as database:
        changes = database.execute("SELECT action FROM outbox WHERE action LIKE 'review.%' ORDER BY number").fetchall()
    assert changes == [("review.read",), ("review.read",), ("review.answered",)]


def test_what_waits_and_what_was_decided_survive_restarts_and_kills(tmp_path, provider, receiver):
    house = installation(tmp_path, provider, receiver, workers=1)
    with house:
        tickets = [house.chat("asked").json["id"] for _ in range(3)]
        house.kill()
    assert len(listed(house)) == 3, "a reviewer can work while nothing serves"
    house.command("review", "answer", tickets[0], "--text", ANSWER)
    house.command("review", "decline", tickets[1], "--reason", "ask the desk")
    with house.start():
        until(lambda: poll(house, tickets[0]).status == 200, 10, "the answer")
        declined = until(lambda: (one := poll(house, tickets[1])).status == 422 and one, 10, "the refusal")
        assert declined.json["error"]["code"] == "review.declined"
        assert "ask the desk" in declined.json["error"]["message"]
        assert poll(house, tickets[2]).status == 202
    assert len(reviewed(house)) == 2


def test_a_decision_that_never_reached_the_journal_is_not_told_until_it_has(tmp_path, provider, receiver, monkeypatch):
    with installation(tmp_path, provider, receiver, workers=1) as house:
        ticket = house.chat("asked").json["id"]
        held = "ostiary.cli.review.record_review"
        monkeypatch.setattr(held, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        house.command("review", "answer", ticket, "--text", ANSWER, code=130)
        monkeypatch.undo()
        (one,) = listed(house, "--decided")
        assert one["state"] == "deciding"
        assert poll(house, ticket).status == 202
        assert "by" in house.command("review", "decline", ticket, "--reason", "no", code=2)
        house.command("review", "answer", ticket, "--text", ANSWER)
        until(lambda: poll(house, ticket).status == 200, 10, "the answer")
        assert len(reviewed(house)) == 1


def test_replicas_that_share_a_database_share_the_queue(tmp_path, provider, receiver):
    postgresql.need()
    schema = postgresql.new_schema()
    try:
        top = 'storage: {url: "${env:DB}"}\ncounters: {url: "memory://"}\n'
        url = postgresql.url(schema)
        one = installation(tmp_path / "a", provider, receiver, top=top, workers=1, DB=url, OSTIARY_REPLICA="a")
        two = installation(tmp_path / "b", provider, receiver, top=top, workers=1, DB=url, OSTIARY_REPLICA="b")
        one.command("migrate")
        one.command("review", "list")
        two.data.mkdir(mode=0o700)
        for name in ("pepper.key", "digest.key"):
            shutil.copy(one.data / name, two.data / name)
        with one, two:
            ticket = one.chat("asked", text=CANARY).json["id"]
            assert poll(two, ticket).status == 202
            until(lambda: len(listed(two)) == 1, 10, "the queue at the other replica")
            assert CANARY in two.command("review", "show", ticket)
            two.command("review", "answer", ticket, "--text", ANSWER)
            for house in (one, two):
                told = until(lambda house=house: (it := poll(house, ticket)).status == 200 and it, 10, "the answer")
                assert told.json["choices"][0]["message"]["content"] == ANSWER
            until(lambda: receiver.got, 10, "the callback")
        assert len(receiver.got) == 1, "one replica tells it"
        assert (len(reviewed(one)), len(reviewed(two))) == (0, 1)
    finally:
        postgresql.drop_schema(schema)


def test_what_waits_is_in_a_backup(tmp_path, provider, receiver):
    archive, keys = tmp_path / "b.backup", tmp_path / "b.keys"
    with installation(tmp_path / "a", provider, receiver, workers=1) as house:
        until(lambda: house.ask("GET", "/readyz", key=None, admin=True).status == 200, 10, "the ops process")
        os.kill(house.ops, signal.SIGSTOP)  # nobody takes up what is left now
        try:
            late = house.chat("asked", text=CANARY).json["id"]
        finally:
            os.kill(house.ops, signal.SIGCONT)
        until(lambda: listed(house), 10, "the queue")
        said = house.chat("asked").json["id"]
        house.command("review", "answer", said, "--text", ANSWER)
        until(lambda: poll(house, said).status == 200, 10, "the answer")
        house.command("backup", "--to", str(archive), "--keys", str(keys))
    other = installation(tmp_path / "b", provider, receiver, workers=1)
    other.command("restore", str(archive), "--keys", str(keys))
    with other.start():
        assert poll(other, late).status == 202
        assert CANARY in other.command("review", "show", late)
        until(lambda: poll(other, said).status == 200, 10, "the answer")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("callback: app", "callback: apps"), "did you mean `app`"),
        (("ttl_seconds: 600", "ttl_seconds: 1"), "ttl_seconds"),
        (("answers: [{handover", 'answers: [{text: "x", handover'), "one of them"),
    ],
)
def test_a_hand_over_that_cannot_work_is_refused_with_its_place(tmp_path, provider, receiver, change, reason):
    house = installation(tmp_path, provider, receiver)
    house.write(models=MODELS.replace(*change))
    assert reason in house.command("check", code=1)


def test_a_callback_is_checked_before_it_is_needed(tmp_path, provider):
    with Receiver() as hook:
        house = installation(tmp_path, provider, hook)
    house.environment["HOOK_SECRET"] = "hunter2-is-no-secret"
    told = house.command("check", code=1)
    assert "openssl rand -base64 32" in told
    assert "hunter2" not in told
