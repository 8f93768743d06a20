"""The reference deployment as it runs: gateways started from the configuration that the chart and the Compose file mount, on
one PostgreSQL and one Redis, behind the load balancer's own configuration. Only paths, ports and the provider are others."""

import contextlib
import http.client
import json
import os
import shutil
import subprocess

import pytest
import yaml

from tests import postgresql
from tests.deploy.rendering import DEPLOY, of, render
from tests.process.house import APP_KEY, House, until
from tests.redis import any_server, forget, free_port, prefix

ASKED = {"model": "chat", "messages": [{"role": "user", "content": "Say something."}]}


@pytest.fixture
def database():
    postgresql.need()
    name = postgresql.new_schema()
    yield postgresql.url(name)
    postgresql.drop_schema(name)


def chart(provider):
    onsite = {
        "dialect": "openai",
        "base_url": f"http://127.0.0.1:{provider.port}/v1",
        "auth": {"secret": "${file:/run/secrets/ostiary/openai_api_key}"},
    }
    key = {"name": "app", "secret": "${file:/run/secrets/ostiary/search_key}"}
    team = {"name": "search", "models": ["chat"], "limits": {"requests_per_minute": 60_000}, "keys": [key]}
    values = {
        "tls": {"insecure": True},
        "server": {"drainNoticeSeconds": 1, "drainSeconds": 5},
        "journal": {"drainSeconds": 20},
        "config": {
            "providers": {"onsite": {**onsite, "prices": "openai"}},
            "models": {"chat": {"targets": [{"provider": "onsite", "model": "gpt-4o-mini"}]}},
            "tenants": [{"name": "acme", "teams": [team]}],
        },
    }
    return of(render(values), "ConfigMap", "gate")["data"]["ostiary.yaml"]


def composed(provider):
    """What the Compose file mounts, with the simulated provider where OpenAI is."""
    settings = yaml.safe_load((DEPLOY / "compose" / "ostiary.yaml").read_text(encoding="utf-8"))
    settings["providers"]["openai"]["dialect"] = "openai"
    settings["providers"]["openai"]["base_url"] = f"http://127.0.0.1:{provider.port}/v1"
    settings["server"]["drain_notice_seconds"] = 1
    return yaml.safe_dump(settings)


class Gateway(House):
    """A replica with a folder of its own in place of the container's paths, and the secrets that are mounted."""

    def __init__(self, folder, provider, text, secrets, names):
        folder.mkdir()
        super().__init__(folder, provider.port, environment={"OSTIARY_REPLICA": f"{folder.name}-*"})
        mounted = folder / "secrets"
        mounted.mkdir()
        for file, value in secrets.items():
            (mounted / file).write_bytes(value)
        self.data.mkdir(mode=0o700)
        for key in ("pepper.key", "digest.key"):
            (self.data / key).write_bytes(secrets[key])
        for there, here in (
            ("/run/secrets/ostiary", mounted),
            ("/run/secrets", mounted),
            ("/var/lib/ostiary", self.data),
        ):
            text = text.replace(there, str(here))
        settings = yaml.safe_load(text)
        settings["server"]["port"] = settings["admin"]["port"] = 0
        settings["counters"]["prefix"] = names
        self.file.write_text(yaml.safe_dump(settings), encoding="utf-8")


@pytest.fixture(params=[chart, composed])
def pair(request, tmp_path, provider, database):
    names = prefix()
    with any_server(tmp_path) as url:
        files = {
            "pepper.key": os.urandom(32),
            "digest.key": os.urandom(32),
            "search_key": APP_KEY.encode(),
            "openai_api_key": b"sk-anything",
        }
        for words in (("storage-url", "counters-url"), ("storage_url", "counters_url")):
            files.update(zip(words, (f"{database}\n".encode(), url.encode()), strict=True))
        text = request.param(provider)
        made = [Gateway(tmp_path / name, provider, text, files, names) for name in ("gate-0", "gate-1")]
        made[0].command("migrate")
        with made[0].start(), made[1].start():
            yield made
        forget(url, names)


@contextlib.contextmanager
def balancer(folder, gateways):
    """nginx with the deployment's configuration; the port it listens on."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("no nginx is installed")
    port = free_port()
    text = (DEPLOY / "compose" / "nginx.conf").read_text(encoding="utf-8")
    for number, gateway in enumerate(gateways):
        text = text.replace(f"gateway-{number}:8080", f"127.0.0.1:{gateway.port}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/tmp/", f"{folder}/")
    if os.geteuid() == 0:
        text = "user root;\n" + text
    file = folder / "nginx.conf"
    file.write_text(text, encoding="utf-8")
    words = [program, "-p", str(folder), "-c", str(file), "-e", "stderr"]
    tested = subprocess.run([*words, "-t"], capture_output=True, text=True, timeout=20)
    assert tested.returncode == 0, tested.stderr
    assert "warn" not in tested.stderr
    running = subprocess.Popen([*words, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
    try:
        until(lambda: _asked(port) == 200, 10, "the balancer")
        yield port
    finally:
        running.terminate()
        running.wait(10)


def _asked(port, path="/livez", body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        headers = {"authorization": f"Bearer {APP_KEY}", "content-type": "application/json"}
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except OSError:
        return 0
    finally:
        connection.close()


def usage(house):
    return sum(line["requests"] for line in json.loads(house.command("usage", "--by", "team", "--json")))


def test_two_gateways_of_the_deployment_serve_scale_down_and_lose_nothing(pair, tmp_path):
    first, second = pair
    for house in pair:
        assert json.loads(house.command("check", "--json"))["valid"]
        assert house.ask("GET", "/readyz", key=None).status == 200
        assert house.ask("GET", "/metrics", key=None).status == 404  # administration has a listener of its own
        assert house.ask("GET", "/metrics", key=None, admin=True).status == 200
    # A key made at one is known at the other: one database.
    made = json.loads(first.command("keys", "create", "minted", "--tenant", "acme", "--team", "search", "--json"))
    until(lambda: second.models(made["secret"]) == 200, 5, "a key at the other replica")
    (tmp_path / "nginx").mkdir()
    with balancer(tmp_path / "nginx", pair) as port:
        assert [_asked(port, "/v1/chat/completions", ASKED) for _ in range(20)] == [200] * 20
        until(lambda: sum(house.metric("ostiary_requests_total") for house in pair) == 20, 5, "the counts of all calls")
        assert all(house.metric("ostiary_requests_total") for house in pair), "both take part"
        streamed = {**ASKED, "stream": True}
        assert _asked(port, "/v1/chat/completions", streamed) == 200
        # Scale-down: what the replica has recorded is in the database when it is gone, and no caller notices.
        second.send()
        statuses = [_asked(port, "/v1/chat/completions", ASKED) for _ in range(30)]
        assert second.process.wait(60) == 0
        statuses += [_asked(port, "/v1/chat/completions", ASKED) for _ in range(10)]
        assert statuses == [200] * 40
    assert not second.logged("not_projected")
    (second.data / "journal").rename(tmp_path / "taken-away")
    until(lambda: usage(first) == 61, 10, "all calls")
    assert first.stop() == 0
