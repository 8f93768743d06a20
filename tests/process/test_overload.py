"""More calls than a gateway may take, in processes of its own (FD-44), and secrets that change under load (FD-46)."""

import threading

from ostiary.simulator.behaviour import Behaviour
from tests.process.house import CONFIGURATION, House, ProviderThread, until


def test_fd44_the_excess_hears_at_once_when_to_come_back_and_the_gateway_says_what_it_sheds(tmp_path):
    own = ProviderThread()
    one = House(tmp_path, own.port, top="overload: {concurrent_requests: 1, waiting_requests: 0}")
    own.then(Behaviour(first_byte_seconds=1.0))
    found = []
    try:
        with one.start():
            holder = threading.Thread(target=lambda: found.append(one.chat().status))
            holder.start()
            until(lambda: own.provider.open_connections, 5.0, "the call under way")
            connection = one.connect()
            refused = [one.chat(connection=connection) for _ in range(20)]
            connection.close()
            holder.join(10)
            assert [answer.status for answer in refused] == [503] * 20
            assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
            assert {answer.json["error"]["code"] for answer in refused} == {"gateway.overloaded"}
            assert found == [200]
            assert one.chat().status == 200
            shed = 'ostiary_shed_calls_total{priority="standard",reason="full",target=""}'
            until(lambda: one.metric(shed) == 20, 5.0, "the metric")
            assert one.metric('ostiary_places{target=""}') == 1
            until(lambda: one.metric('ostiary_calls_in_flight{target=""}') == 0, 5.0, "the end of the last call")
    finally:
        own.stop()


def test_fd46_a_secret_is_rotated_with_overlap_while_calls_go_on_and_none_fails(tmp_path):
    own = ProviderThread()
    valid, seen, statuses = {"Bearer old-secret"}, [], []

    def choose(request):
        given = request.header(b"authorization")
        seen.append(given)
        return None if given in valid else Behaviour(status=401)

    own.provider._provider._choose = choose
    one = House(tmp_path, own.port)
    template = CONFIGURATION.format(**one.fields)
    over = threading.Event()

    def calls():
        while not over.is_set():
            statuses.append(one.chat().status)

    def secrets(*names):
        listed = ", ".join(f'"{name}-secret"' for name in names)
        one.write(template.replace('secret: "${env:SIM_SECRET}"', f"secrets: [{listed}]", 1))

    def after(text, count=5):
        start = len(seen)
        until(lambda: seen[start:].count(text) >= count, 10.0, text)

    try:
        secrets("old")
        with one.start():
            threads = [threading.Thread(target=calls) for _ in range(4)]
            for thread in threads:
                thread.start()
            after("Bearer old-secret")
            valid.add("Bearer new-secret")
            secrets("old", "new")
            after("Bearer new-secret")
            valid.discard("Bearer old-secret")
            after("Bearer new-secret", 20)
            secrets("new")
            start = len(seen)
            until(lambda: len(seen) > start + 50, 10.0, "calls")
            over.set()
            for thread in threads:
                thread.join(10)
            assert set(statuses) == {200}
            assert one.metric("ostiary_credentials_refused_total") >= 1
            assert one.logged("credential_refused")
    finally:
        over.set()
        own.stop()
