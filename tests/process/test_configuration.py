"""The file of a running gateway: taken when it is good, refused with its reason when it is not, and never felt by
the calls under way."""

import json
import os
import re
import signal
import threading

import pytest

from ostiary.simulator.behaviour import Behaviour
from tests.process.house import APP_KEY, CONFIGURATION, House, ProviderThread, until

EXTRA = "  extra: {targets: [{provider: sim, model: gpt-4o}]}"


def refusals(house):
    return [one["reason"] for one in house.logged("change_refused")]


def test_a_changed_file_is_taken_by_itself_and_at_once_with_sighup(house):
    with house.start():
        house.write(models=EXTRA)
        until(lambda: "extra" in house.offered(), 3.0, "the new model")
        house.write(models="")
        house.send(signal.SIGHUP)
        until(lambda: "extra" not in house.offered(), 3.0, "the model's end")
        assert house.chat("extra").status == 404
        assert house.process.poll() is None
        assert not house.logged("cannot_start")


BROKEN = {
    "not YAML": ("models: [unclosed\n", r"ostiary\.yaml:\d+: not valid YAML"),
    "an unknown key": (EXTRA + "\n  other: {tagets: []}", r"ostiary\.yaml:\d+: .*`tagets`.*did you mean `targets`\?"),
    "an unknown provider": (
        "  other: {targets: [{provider: simm, model: x}]}",
        r"ostiary\.yaml:\d+: .*no provider `simm`; did you mean `sim`\?",
    ),
    "a key no entry has": ("  other: {targets: [{provider: sim, model: x}], colour: {}}", r"unknown key `colour`"),
    "a wrong type": ("  other: {targets: 3}", r"ostiary\.yaml:\d+: models\.other\.targets: expected `array`"),
    "a key twice": (EXTRA + "\n" + EXTRA, r"ostiary\.yaml:\d+: .*is there twice"),
}


LIVE = 3
"""So many of them are tried on a running gateway; all on the command that asks the same question."""


@pytest.mark.parametrize("name", BROKEN)
def test_check_tells_file_line_reason_and_the_nearest_name(house, name):
    models, reason = BROKEN[name]
    house.write(models=models)
    assert re.search(reason, house.command("check", code=1))


def test_a_bad_file_is_refused_with_its_reason_and_the_one_before_stays(house):
    with house.start():
        for number, (name, (models, reason)) in enumerate(list(BROKEN.items())[:LIVE], 1):
            house.write(models=models)
            until(lambda: len(refusals(house)) >= number, 4.0, f"the refusal of {name}")
            assert re.search(reason, refusals(house)[-1]), (name, refusals(house)[-1])
            assert house.chat().status == 200
            assert house.ask("GET", "/readyz", key=None).status == 200
        good = CONFIGURATION.format(**{**house.fields, "models": EXTRA})
        # Half-written, in place, as a slow copy does it: an empty file, then its first half.
        house.file.write_text("")
        until(lambda: len(refusals(house)) > LIVE, 4.0, "the refusal of an empty file")
        house.file.write_text(good[: len(good) // 2])
        until(lambda: len(refusals(house)) > LIVE + 1, 4.0, "the refusal of half a file")
        assert house.chat().status == 200
        house.file.unlink()
        until(lambda: "cannot be read" in refusals(house)[-1], 4.0, "the refusal of no file")
        assert house.chat().status == 200
        assert house.metric("ostiary_configuration_refused") == 1
        house.write(models=EXTRA)
        until(lambda: "extra" in house.offered(), 4.0, "the good file")
        assert house.metric("ostiary_configuration_refused") == 0
        assert len(refusals(house)) == LIVE + 3, "each refusal is told once"


def test_a_model_removed_while_in_use_ends_for_the_next_call_only(house, provider):
    house.write(models=EXTRA)
    with house.start():
        provider.then(Behaviour(tokens=40, tokens_per_second=20.0))
        lines = []
        got_some = threading.Event()
        connection = house.connect()
        connection.request(
            "POST",
            "/v1/chat/completions",
            json.dumps({"model": "extra", "stream": True, "messages": [{"role": "user", "content": "x"}]}),
            {"authorization": f"Bearer {APP_KEY}", "content-type": "application/json"},
        )
        answer = connection.getresponse()

        def read():
            for line in answer:
                lines.append(line)
                got_some.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert got_some.wait(5)
        house.write(models="")
        until(lambda: "extra" not in house.offered(), 3.0, "the model's end")
        assert reader.is_alive(), "the stream was to outlive the model"
        assert house.chat("extra").status == 404
        reader.join(10)
        connection.close()
        assert lines[-2] == b"data: [DONE]\n"


def test_fd45_reloads_under_load_fail_no_call_and_close_no_connection_in_use(tmp_path):
    own = ProviderThread()
    house = House(tmp_path, own.port)
    stop = threading.Event()
    answers = []

    def call():
        connection = house.connect()
        while not stop.is_set():
            answers.append(house.chat(connection=connection).status)
        connection.close()

    try:
        with house.start():
            callers = [threading.Thread(target=call) for _ in range(4)]
            for caller in callers:
                caller.start()
            until(lambda: len(answers) > 20)
            for number in range(20):
                name = f"model-{number}"
                bad = number % 4 == 3
                house.write(models=f"  {name}: {{targets: [{{provider: {'nobody' if bad else 'sim'}, model: x}}]}}")
                house.send(signal.SIGHUP)
                if bad:
                    until(lambda: any(name in reason for reason in refusals(house)), 5.0, "a refusal")
                else:
                    until(lambda: name in house.offered(), 5.0, name)
            stop.set()
            for caller in callers:
                caller.join(10)
            connections = own.connections
            assert set(answers) == {200}, [one for one in answers if one != 200][:5]
            assert len(answers) > 100
            # Four callers need four upstream connections; a few more where one came while four were busy.
            assert connections <= 8, connections
    finally:
        stop.set()
        own.stop()


def test_a_file_that_went_bad_does_not_keep_the_ops_process_from_starting_again(house):
    with house.start():
        house.write(models="models: [")
        until(lambda: refusals(house), 4.0, "the refusal")
        before = house.ops
        os.kill(before, signal.SIGKILL)
        until(lambda: house.ops not in (None, before) and serves_metrics(house), 10.0, "another ops process")
        assert house.chat().status == 200
        until(lambda: house.metric("ostiary_requests_total") == 1, 3.0, "metrics")
        house.write(models=EXTRA)
        until(lambda: "extra" in house.offered(), 5.0, "the good file")
        assert house.stop() == 0


def serves_metrics(house):
    try:
        return house.ask("GET", "/metrics", key=None, admin=True).status == 200
    except OSError:
        return False


def test_what_holds_only_from_the_next_start_on_is_told(house):
    with house.start():
        house.write(workers=2)
        until(lambda: house.logged("configuration"), 4.0, "the warning")
        (told,) = house.logged("configuration")
        assert told["reason"].startswith("server: the change takes effect when Ostiary is started again")


def test_a_secret_replaced_in_its_file_or_in_the_configuration_is_used_from_then_on(tmp_path):
    seen = []
    own = ProviderThread()
    own.provider._provider._choose = lambda request: seen.append(request.header(b"authorization"))
    house = House(tmp_path, own.port)
    secret = tmp_path / "provider.key"
    secret.write_text("first-secret\n")
    template = CONFIGURATION.format(**house.fields)
    try:
        house.write(template.replace("${env:SIM_SECRET}", "${file:provider.key}"))
        with house.start():
            house.chat()
            assert seen[-1] == "Bearer first-secret"
            secret.write_text("second-secret\n")
            until(lambda: house.chat().status == 200 and seen[-1] == "Bearer second-secret", 5.0, "the new secret")
            house.write(template.replace("${env:SIM_SECRET}", "a-literal-secret"))
            until(lambda: house.chat().status == 200 and seen[-1] == "Bearer a-literal-secret", 5.0, "the literal")
            house.write(template.replace("${env:SIM_SECRET}", "b-literal-secret"))
            until(lambda: house.chat().status == 200 and seen[-1] == "Bearer b-literal-secret", 5.0, "the next")
    finally:
        own.stop()


def test_a_name_in_the_file_and_in_the_database_is_refused_at_load(house):
    with house.start():
        house.command("teams", "create", "ads", "--tenant", "acme", "--model", "chat")
        house.write(tenants="      - {name: ads, models: [chat]}")
        until(lambda: any("ads" in reason for reason in refusals(house)), 4.0, "the refusal")
        assert house.models() == 200
    house.spawn()
    assert house.process.wait(20) == 2
    house.ended()
    assert "ads" in "".join(house.err)


def test_check_tells_by_its_exit_code(house, tmp_path):
    assert "valid" in house.command("check")
    house.write(models="  x: {targets: [{provider: nobody, model: x}]}")
    assert re.search(r"ostiary\.yaml:\d+: .*no provider `nobody`", house.command("check", code=1))
    assert json.loads(house.command("check", "--json", code=1).splitlines()[0])["valid"] is False
    house.write("data_dir: ./data\nserver: {host: 0.0.0.0}\n")
    assert "without TLS" in house.command("check", code=1)
    house.write("data_dir: ./data\nserver: {host: 0.0.0.0, insecure: true}\n")
    assert "warning" in house.command("check")
    house.write("data_dir: ./data\nadmin: {host: 0.0.0.0}\n")
    assert "admin" in house.command("check", code=1)
    house.file.unlink()
    house.command("check", code=1)
    house.command("check", code=2, config=False)
    house.command("check", "--nonsense", code=2)


def test_a_second_gateway_on_the_same_folder_or_port_is_told_so(house, tmp_path, provider):
    with house.start():
        first = house.process
        assert house.command("serve", code=2).strip().endswith("stop it or use another data_dir")
        other = tmp_path / "other"
        other.mkdir()
        second = House(other, provider.port)
        second.write(port=house.port)
        assert f"cannot listen on 127.0.0.1:{house.port}: Address already in use" in second.command("serve", code=2)
        second.write(port=house.port, workers=2)
        assert "Address already in use" in second.command("serve", code=2)
        assert first.poll() is None
        assert house.chat().status == 200


def test_two_workers_both_serve_one_port(tmp_path, provider):
    with House(tmp_path, provider.port, workers=2) as house:
        assert house.worker(0) != house.worker(1)
        origins = until(lambda: served(house), 10.0, "answers of both workers")
        assert {origin.rsplit(".", 1)[1] for origin in origins} == {"0", "1"}
        assert len(house.verify()) == 2


def served(house):
    answers = house.many(lambda _: house.chat(), 20)
    origins = {answer.headers["x-ostiary-receipt"].split("/")[0] for answer in answers}
    return origins if len(origins) == 2 else None


def test_the_insecure_rule_holds_at_the_door(house):
    house.write(CONFIGURATION.format(**house.fields).replace("host: 127.0.0.1", "host: 0.0.0.0", 1))
    told = house.command("serve", code=2)
    assert re.search(r"ostiary\.yaml:\d+: server\.host: listening on 0\.0\.0\.0 without TLS", told)
    house.write(
        CONFIGURATION.format(**house.fields).replace(
            "host: 127.0.0.1", "host: 0.0.0.0, insecure: true, drain_notice_seconds: 0", 1
        )
    )
    house.spawn()
    until(house.announced, 20)
    assert any("without TLS (insecure: true)" in line for line in house.err)
    house.wait_ready()
    assert house.chat().status == 200
    assert house.stop() == 0


def test_fd48_prices_that_go_bad_leave_those_before_and_no_call_is_ever_free(house):
    def priced(*rows):
        listed = "".join(f"\n    - {{provider: sim, model: {row}}}" for row in rows)
        house.write(top=f"pricing:\n  prices:{listed or ' []'}")

    def cost(answer):
        """Nano-units for each token of a call."""
        asked = answer.headers["x-request-id"]

        def closed():
            return [one["record"] for one in house.records("closed") if one["record"]["request_id"] == asked]

        (record,) = until(closed, 5.0, "the record on the disk")
        return record["cost"]["nano"] / (record["usage"]["input_tokens"] + record["usage"]["output_tokens"])

    priced('gpt-4o-mini, input: "1", output: "1"')
    with house.start():
        assert cost(house.chat()) == 1_000
        meanwhile = []
        assert 0 <= house.metric("ostiary_price_list_age_seconds") < 10**9
        for number, bad in enumerate(
            (
                'gpt-4o-mini, input: "-1", output: "1"',
                'gpt-4o-mini, input: "free", output: "1"',
                'gpt-4o-mini, input: "1e40", output: "1"',
                'gpt-4o-mini, valid_from: "2026-13-40", input: "1", output: "1"',
                "gpt-4o-mini, inp",
            ),
            1,
        ):
            priced(bad)
            until(lambda n=number: len(refusals(house)) >= n, 4.0, f"the refusal of {bad}")
            meanwhile.append(house.chat())
        assert house.metric("ostiary_configuration_refused") == 1
        priced('gpt-4o-mini, input: "2", output: "2"')
        until(lambda: cost(house.chat()) == 2_000, 4.0, "the new price")
        assert [cost(one) for one in meanwhile] == [1_000] * 5
        priced('gpt-4o-mini, input: "2", output: "2"', 'gpt-4o-mini, valid_from: "2099-01-01", input: "9", output: "9"')
        until(lambda: house.metric("ostiary_configuration_refused") == 0, 4.0, "the good file")
        assert cost(house.chat()) == 2_000
        assert cost(house.chat("sim/a-model-that-nobody-lists")) > 0
