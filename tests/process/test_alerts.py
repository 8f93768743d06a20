"""Alerts of budgets on their way to those who are to hear of them."""

import base64
import hashlib
import hmac
import http.server
import json
import threading

import pytest

from tests.process.house import House, until

KEY = "a-key-of-the-budgeted-team-0123456789"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
TEAM = """\
      - name: thrifty
        models: ["*"]
        budget: {amount: "0.0002", alerts: [0.3, 0.6]}
        keys: [{name: app, secret: "${env:THRIFTY_KEY}"}]
"""
CHANNELS = """\
alerts:
  webhooks:
    - {{name: ops, url: "http://127.0.0.1:{port}/in", secret: "${{env:HOOK_SECRET}}"}}
    - {{name: others, url: "http://127.0.0.1:{port}/others", secret: "${{env:HOOK_SECRET}}", tenants: [elsewhere]}}
"""


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what is posted; answers with the statuses it is given, then with 204."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.got = []
        self.statuses = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        self.server.got.append((self.path, dict(self.headers), body, status))
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    with Receiver() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


@pytest.fixture
def thrifty(tmp_path, provider, receiver):
    top = CHANNELS.format(port=receiver.server_port)
    environment = {"THRIFTY_KEY": KEY, "HOOK_SECRET": SECRET}
    with House(tmp_path, provider.port, top=top, tenants=TEAM, environment=environment) as house:
        yield house


def verified(headers, body):
    """What is in a message, after its signature was checked as a receiver would."""
    headers = {name.lower(): value for name, value in headers.items()}
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    return headers["webhook-id"], json.loads(body)


def test_a_reached_share_is_told_to_the_webhook_until_it_is_taken_and_only_once(thrifty, receiver):
    receiver.statuses = [503]
    while thrifty.chat(key=KEY, max_tokens=100).status == 200:
        pass
    until(lambda: len([one for one in receiver.got if one[3] == 204]) == 2, 30, "both alerts")
    told = [(status, *verified(headers, body)) for _, headers, body, status in receiver.got]
    assert {path for path, *_ in receiver.got} == {"/in"}, "the others' tenant spent nothing"
    taken = {ident: event for status, ident, event in told if status == 204}
    assert sorted(event["data"]["share"] for event in taken.values()) == [0.3, 0.6]
    assert {event["type"] for event in taken.values()} == {"budget.share_reached"}
    assert all(event["data"]["scope"].startswith("team/") for event in taken.values())
    assert all(event["data"]["budget"] == "0.0002" for event in taken.values())
    refused = {ident for status, ident, _ in told if status == 503}
    assert refused <= set(taken), "what was refused came again under the same id"

    listed = json.loads(thrifty.command("alerts", "list", "--json"))
    assert {one["id"] for one in listed} == set(taken)
    for one in listed:
        states = {state["channel"]: state for state in one["deliveries"]}
        assert states["ops"]["done_ns"] > 0
    count = len(receiver.got)
    thrifty.stop()
    thrifty.start()
    assert thrifty.chat(key=KEY, max_tokens=100).status == 402
    until(lambda: json.loads(thrifty.command("alerts", "list", "--json")), what="the list after a restart")
    assert len(receiver.got) == count, "nothing is told twice"


def test_a_channel_can_be_tried_from_the_command_line(thrifty, receiver):
    assert "ops: delivered" in thrifty.command("alerts", "test", "ops")
    _, event = verified(*receiver.got[-1][1:3])
    assert event["type"] == "ostiary.test"
    receiver.statuses = [500]
    assert "it answered 500" in thrifty.command("alerts", "test", "ops", code=1)
    assert "there is no channel `opps`" in thrifty.command("alerts", "test", "opps", code=2)


@pytest.mark.parametrize(
    ("channels", "reason"),
    [
        ('webhooks: [{name: a, url: "http://hooks.example/x", secret: "${env:HOOK_SECRET}"}]', "needs https"),
        ('webhooks: [{name: a, url: "https://hooks.example/x", secret: "hunter2"}]', "openssl rand -base64 32"),
        ('mail: [{name: a, to: ["ops@acme.test"]}]', "alerts.smtp"),
        ('mail: [{name: a, to: ["ops"]}]', "to"),
        ('smtp: {host: mail.example, sender: "o@acme.test", tls: none}', "needs TLS"),
        ('smtp: {host: mail.example, sender: "o@acme.test", username: me}', "go together"),
    ],
)
def test_a_channel_that_cannot_work_is_refused_with_its_place_and_reason(thrifty, channels, reason):
    thrifty.write(top=f"alerts: {{{channels}}}")
    told = thrifty.command("check", code=1)
    assert "ostiary.yaml:" in told
    assert reason in told
    assert "hunter2" not in told
