"""Keys on the running system: from their creation to their end, and nowhere to be found."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from ostiary.snapshot.keys import KeyEntry, KeyTable, encode_base
from tests.process.house import APP_KEY, SIM_SECRET, House, until


def create(house, name, *words):
    return json.loads(house.command("keys", "create", name, "--tenant", "acme", "--team", "search", "--json", *words))


def test_a_created_key_is_taken_and_a_revoked_one_refused_within_a_second(shared):
    made = create(shared, "fresh")
    created = time.monotonic()
    until(lambda: shared.models(made["secret"]) == 200, 1.0, "the new key")
    usable = time.monotonic() - created
    shared.command("keys", "revoke", made["id"])
    revoked = time.monotonic()
    until(lambda: shared.models(made["secret"]) == 401, 1.0, "the revocation")
    refused = time.monotonic() - revoked
    print(f"usable {usable:.3f} s after its creation, refused {refused:.3f} s after its revocation")
    assert shared.chat(key=made["secret"]).json["error"]["code"] == "auth.invalid"
    assert shared.models() == 200


def test_who_changed_which_key_stands_in_the_journal_also_after_the_ops_process_died(shared):
    made = create(shared, "recorded")

    def actions():
        found = [line["record"] for line in shared.records("change")]
        return [(one["number"], one["action"]) for one in found if one["object_id"] == made["id"]]

    until(lambda: [action for _, action in actions()] == ["key.create"], 10, "the record of the creation")
    os.kill(shared.ops, 9)
    shared.command("keys", "revoke", made["id"])
    until(lambda: [action for _, action in actions()] == ["key.create", "key.revoke"], 20, "that of the revocation")
    lines = shared.records("change")
    assert {line["origin"] for line in lines} == {"r0.999"}
    assert len({line["record"]["id"] for line in lines}) == len(lines)
    assert [line["record"]["number"] for line in lines] == sorted(line["record"]["number"] for line in lines)
    assert all(line["record"]["actor"].startswith("local:") for line in lines)
    assert made["secret"] not in json.dumps(lines)
    assert not any(report["problems"] for report in shared.verify())


def test_a_rotated_key_is_taken_in_both_forms_until_the_overlap_ends(shared):
    made = create(shared, "rotating")
    until(lambda: shared.models(made["secret"]) == 200, 2.0)
    again = json.loads(shared.command("keys", "rotate", made["id"], "--overlap", "2s", "--json"))
    rotated = time.monotonic()
    until(lambda: shared.models(again["secret"]) == 200, 1.0, "the new secret")
    assert shared.models(made["secret"]) == 200
    assert time.monotonic() - rotated < 2.0
    until(lambda: shared.models(made["secret"]) == 401, 3.0, "the end of the overlap")
    assert shared.models(again["secret"]) == 200


def test_a_key_is_revoked_and_refused_while_the_file_is_not_valid_also_after_the_ops_process_died(house):
    with house.start():
        first, second = create(house, "first"), create(house, "second")
        until(lambda: house.models(second["secret"]) == 200, 2.0, "the new keys")
        house.write(house.file.read_text() + "models: [\n")
        assert "going on all the same" in house.err_of("keys", "revoke", first["id"])
        until(lambda: house.models(first["secret"]) == 401, 2.0, "the revocation")
        # While it is not there nothing is published; the next one finds a file it cannot take, and the change.
        pid = house.ops
        os.kill(pid, 9)
        house.command("keys", "revoke", second["id"])
        until(lambda: house.models(second["secret"]) == 401, 10.0, "the revocation by the next ops process")
        assert house.ops not in (None, pid)
        assert house.logged("change_refused")
        assert house.models() == 200, "a key of the file stays what it was"
        house.write()
        third = create(house, "third")
        until(lambda: house.models(third["secret"]) == 200, 10.0, "a key made once the file is valid again")
        assert house.models(first["secret"]) == house.models(second["secret"]) == 401


def test_an_expired_key_is_refused_without_anyone_doing_anything(shared):
    made = create(shared, "brief", "--expires", "2s")
    until(lambda: shared.models(made["secret"]) == 200, 2.0)
    until(lambda: shared.models(made["secret"]) == 401, 3.0, "its expiry")


def test_a_key_of_the_file_may_have_any_form_of_enough_characters(house):
    odd = "!#$%&()*+,-./:;<=>?@[]^_`{|}~"
    shortest = "x" * 24
    house.write(
        tenants=f"""\
      - name: odd
        models: ["*"]
        keys: [{{name: odd, secret: '{odd}'}}, {{name: short, secret: {shortest}}}]"""
    )
    with house.start():
        assert [house.models(key) for key in (APP_KEY, odd, shortest)] == [200, 200, 200]
        assert [house.models(key) for key in (odd[:-1], shortest + "x", "x" * 23)] == [401, 401, 401]
        for words in ("x" * 23, "with a space in it but long enough", "schlüssel-der-nicht-ascii-ist-aber-lang"):
            house.write(tenants=f"      - {{name: odd, models: [chat], keys: [{{name: odd, secret: '{words}'}}]}}")
            assert re.search(r"ostiary\.yaml:\d+: .*a key", house.command("check", code=1))


def test_keys_survive_a_start_and_a_pepper_that_is_not_theirs_refuses_one(house):
    with house.start():
        made = create(house, "kept")
        until(lambda: house.models(made["secret"]) == 200, 2.0)
    with house.start():
        assert house.models(made["secret"]) == 200
    pepper = house.data / "pepper.key"
    right = pepper.read_bytes()
    pepper.write_bytes(os.urandom(32))
    house.spawn()
    assert house.process.wait(20) == 2
    house.ended()
    assert "is not the one the database was made with" in "".join(house.err)
    pepper.unlink()
    assert "is missing" in house.command("keys", "list", code=2)
    assert not pepper.exists(), "a new pepper would silently void every key"
    pepper.write_bytes(right)
    with house.start():
        assert house.models(made["secret"]) == 200


class Counting:
    """The bytes of a key file, and how often and how much of them is looked at."""

    def __init__(self, data):
        self.data = data
        self.looks = 0
        self.bytes = 0

    def find(self, sub, start, end):
        at = self.data.find(sub, start, end)
        self.looks += 1
        self.bytes += (end if at < 0 else at + len(sub)) - start
        return at

    def __getitem__(self, index):
        self.looks += 1
        self.bytes += index.stop - (index.start or 0)
        return self.data[index]

    def __len__(self):
        return len(self.data)


def probe(count):
    """(looks, bytes) at most for keys that are there, and for keys that are not, among so many."""
    entry = KeyEntry("id", "name", "acme", "search", "production")
    digests = [os.urandom(32) for _ in range(count)]
    buffer = Counting(encode_base(1, ((digest, entry) for digest in digests)))
    table = KeyTable(buffer, {})
    found = []
    for digest in (*digests[:200], *(os.urandom(32) for _ in range(200))):
        buffer.looks = buffer.bytes = 0
        table.find(digest)
        found.append((buffer.looks, buffer.bytes))
    return max(looks for looks, _ in found), max(size for _, size in found)


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.drill)])
def test_a_look_up_among_many_keys_costs_no_more_than_among_ten(count):
    few, many = probe(10), probe(count)
    print(f"looks and bytes: {few} among 10, {many} among {count}")
    assert many[0] <= few[0]
    # One bucket of 65,536: a handful of entries more to pass over, whatever the number of keys up to a million.
    assert many[1] <= few[1] + 40 * (count / 65_536 + 40)


def test_at82_no_secret_stands_in_any_file_log_metric_or_process_list(tmp_path, provider):
    """The keys of the file and of the database, the provider's secret, prompts and answers: searched for in everything
    on disk, in what was logged, in metrics, in the arguments of every process."""
    prompt = "PROMPT-CANARY-7d1f"
    house = House(tmp_path, provider.port, workers=2, top="log: {level: debug}")
    with house.start():
        made = create(house, "hidden")
        until(lambda: house.models(made["secret"]) == 200, 2.0)
        secrets = [APP_KEY, made["secret"], made["secret"][17:], SIM_SECRET]
        rotated = json.loads(house.command("keys", "rotate", made["id"], "--json"))
        secrets += [rotated["secret"], rotated["secret"][17:]]
        for model in ("chat", "claude", "sim/sim-echo-key", "sim/sim-error-401", "sim/sim-cut", f"no-{prompt}"):
            for stream in (False, True):
                house.chat(model, text=prompt, stream=stream, user=f"user-{prompt}")
        house.message("claude/sim-echo-key")
        wrong = "wrong-key-canary-83b1f0cd55aa"
        for headers in (
            {"authorization": f"Basic {wrong}"},
            {"x-api-key": wrong},
            {"authorization": f"Bearer {wrong}"},
        ):
            house.ask("GET", "/v1/models", headers=headers, key=None)
        house.ask("GET", f"/v1/models?key={wrong}", key=None)
        house.ask("POST", "/v1/chat/completions", f'{{"model": "{prompt}', {"content-type": "application/json"})
        metrics = house.metrics()
        commands = b"\0".join(b"\0".join(words) for words in house.pids().values())
        commands += Path(f"/proc/{house.process.pid}/cmdline").read_bytes()
        until(lambda: house.logged("call_ended"), 5)
    answers = json.dumps(house.records())
    sinks = {
        "the log": "\n".join(house.err + house.out).encode(),
        "metrics": metrics.encode(),
        "process list": commands,
        "audit show": answers.encode(),
    }
    for path in house.data.rglob("*"):
        if path.is_file():
            sinks[str(path.relative_to(house.data))] = path.read_bytes()
    assert any(name.startswith("journal/") for name in sinks)
    assert "ostiary.db" in sinks
    user = f"user-{prompt}"
    for canary in (*secrets, wrong, user):
        for name, data in sinks.items():
            assert canary.encode() not in data, f"{canary[:6]}… stands in {name}"
    # A prompt's text is nowhere; a model's name, which a caller chose, is in the journal on purpose.
    for name, data in sinks.items():
        assert prompt.encode() not in data.replace(f"no-{prompt}".encode(), b""), name
    assert prompt not in metrics
