"""The Compose file, as Compose's own program reads it, and the Dockerfile."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ostiary import __version__
from ostiary.core.limit import STORE_TRANSACTION_SECONDS_MAX
from ostiary.settings import load
from tests.deploy.rendering import DEPLOY, compose
from tests.tidy.tree import ROOT

GATEWAYS = ("gateway-0", "gateway-1")


@pytest.fixture(scope="module")
def services():
    return json.loads(compose("config", "--format", "json"))["services"]


def test_there_are_two_gateways_a_database_counters_and_a_balancer(services):
    assert set(services) == {"postgres", "redis", "migrate", *GATEWAYS, "balancer"}
    names = [services[name]["environment"]["OSTIARY_REPLICA"] for name in GATEWAYS]
    assert names == ["gateway-0-*", "gateway-1-*"]
    volumes = [
        {mount["source"] for mount in services[name]["volumes"] if mount["type"] == "volume"} for name in GATEWAYS
    ]
    assert volumes == [{"gateway-0"}, {"gateway-1"}]


def test_only_the_balancer_is_published_and_only_on_this_machine(services):
    published = {name: one["ports"] for name, one in services.items() if one.get("ports")}
    assert list(published) == ["balancer"]
    (port,) = published["balancer"]
    assert (port["host_ip"], port["target"]) == ("127.0.0.1", 8080)
    assert load(DEPLOY / "compose" / "ostiary.yaml").settings.admin.host == "127.0.0.1"


def test_nothing_may_gain_privileges_or_write_to_its_image(services):
    for name, one in services.items():
        assert one["read_only"] is True, name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert not one.get("privileged"), name
    for name in (*GATEWAYS, "migrate", "balancer"):
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["user"].split(":")[0] != "0"


def test_secrets_are_files_and_stand_in_no_environment(services):
    for name, one in services.items():
        words = json.dumps([one.get("environment"), one.get("command"), one.get("healthcheck")])
        assert not re.search(r"(?i)(password|secret|api_key)\W*[:=]\W*\w{8}", words.replace("_FILE", "")), name
    mounted = {one["source"]: one.get("target") for one in services["gateway-0"]["secrets"]}
    assert mounted["pepper_key"] == "/var/lib/ostiary/pepper.key"
    assert mounted["digest_key"] == "/var/lib/ostiary/digest.key"
    text = (DEPLOY / "compose" / "ostiary.yaml").read_text(encoding="utf-8")
    for name in re.findall(r"\$\{file:/run/secrets/(\w+)\}", text):
        assert name in mounted
    assert len(set(re.findall(r"secrets/([\w.]+)\}", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))) == 8


def test_each_waits_for_what_it_needs_and_has_the_time_its_drain_takes(services):
    settings = load(DEPLOY / "compose" / "ostiary.yaml").settings
    needed = settings.server.drain_notice_seconds + settings.server.drain_seconds + 5
    needed += settings.journal.drain_seconds + STORE_TRANSACTION_SECONDS_MAX
    for name in GATEWAYS:
        one = services[name]
        assert one["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert one["depends_on"]["redis"]["condition"] == "service_healthy"
        assert _seconds(one["stop_grace_period"]) >= needed
        assert "/readyz" in one["healthcheck"]["test"][-1]
        assert set(one["networks"]) == {"front", "back"}
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert {name: set(services[name]["networks"]) for name in ("postgres", "redis", "balancer")} == {
        "postgres": {"back"},
        "redis": {"back"},
        "balancer": {"front"},
    }
    for name in set(services) - {"migrate"}:
        assert services[name]["healthcheck"]["test"], name


def _seconds(text):
    parts = dict((unit, int(number)) for number, unit in re.findall(r"(\d+)([hms])", text))
    return parts.get("h", 0) * 3_600 + parts.get("m", 0) * 60 + parts.get("s", 0)


def test_secrets_are_made_once(tmp_path):
    script = tmp_path / "secrets.sh"
    shutil.copy(DEPLOY / "compose" / "secrets.sh", script)
    subprocess.run(["sh", str(script)], check=True, capture_output=True, timeout=20)
    made = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    declared = re.findall(r"\./compose/secrets/([\w.]+)\}", (DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert set(declared) | {"redis_password"} == set(made)
    assert len(made["pepper.key"]) == len(made["digest.key"]) == 32
    assert made["db_password"] in made["storage_url"]
    assert made["redis_password"] in made["counters_url"]
    assert made["redis_password"] in made["redis.conf"]
    assert (tmp_path / "secrets").stat().st_mode & 0o77 == 0
    subprocess.run(["sh", str(script)], check=True, capture_output=True, timeout=20)
    assert {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()} == made


# --- the image ------------------------------------------------------------------------------------------------


def dockerfile():
    return (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def test_the_dockerfile_has_no_fault_that_a_linter_knows():
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip("no build of hadolint for this machine")
    done = subprocess.run([program, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_holds_what_is_locked_and_runs_as_nobody():
    text = dockerfile()
    assert "--require-hashes --only-binary :all:" in text
    assert re.findall(r"^USER (\S+)", text, re.M) == ["10001:10001"]
    assert text.count("\nFROM ") == 2
    assert f"ostiary:{__version__}" in text
    for copied in re.findall(r"^COPY (requirements/\S+)", text, re.M):
        assert (ROOT / copied).exists()
        assert f"!{copied}" in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8")


def test_what_is_locked_for_the_image_is_what_is_locked_to_run_and_both_extras():
    def locked(name):
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.M))

    run, server = locked("run.txt"), locked("server.txt")
    assert run.items() <= server.items()
    assert {"psycopg", "psycopg-binary", "redis", "hiredis"} <= set(server) - set(run)
    text = (ROOT / "requirements" / "server.txt").read_text(encoding="utf-8")
    assert text.count("==") <= text.count("--hash=sha256:")
