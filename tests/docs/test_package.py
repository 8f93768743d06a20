"""What is shipped: the bill of materials, the locks, the wheel, and that importing it does nothing (AT-84)."""

import json
import re
import runpy
import subprocess
import sys
import sysconfig
import tomllib
import zipfile

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.tidy.tree import ROOT, SRC

LOCKS = ("requirements/run.txt", "requirements/dev.txt")

IMPORTS = """
import pkgutil, sys, threading
seen = []
def watch(event, args):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        seen.append(f"{event} {args[1:]!r}")
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append(f"writes {args[0]!r}")
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.mkdir", "os.remove",
                   "os.rename", "_thread.start_new_thread", "signal.signal", "pty.spawn"):
        seen.append(event)
sys.addaudithook(watch)
import ostiary
names = ["ostiary", *sorted(one.name for one in pkgutil.walk_packages(ostiary.__path__, "ostiary."))]
for name in names:
    before = len(seen)
    __import__(name)
    if len(seen) > before:
        print(name, seen[before:])
assert threading.active_count() == 1, threading.enumerate()
assert not seen
print(len(names), "modules")
"""


# --- the bill of materials and the locks --------------------------------------------------------------------


@pytest.fixture(scope="module")
def sbom():
    return runpy.run_path(str(ROOT / "dev" / "sbom.py"))


@pytest.fixture(scope="module")
def bill(sbom):
    return json.loads(sbom["document"]())


def test_the_bill_is_valid_cyclonedx(bill):
    assert bill["specVersion"] == "1.6"
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill))
    assert error is None, str(error)[:300]


def test_the_bill_names_everything_in_the_lock_with_its_hashes_and_licence(bill):
    lock = (ROOT / "requirements/run.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock, re.M))
    assert {one["name"]: one["version"] for one in bill["components"]} == pinned
    for one in bill["components"]:
        assert one["licenses"], f"{one['name']}: which licence?"
        assert all(found["alg"] == "SHA-256" and found["content"] in lock for found in one["hashes"])
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}"
    assert sum(len(one["hashes"]) for one in bill["components"]) == lock.count("--hash=sha256:")


def test_every_package_of_the_bill_is_needed_by_something(bill):
    needs = {one["ref"]: set(one.get("dependsOn", ())) for one in bill["dependencies"]}
    reached, left = set(), ["ostiary"]
    while left:
        one = left.pop()
        if one not in reached:
            reached.add(one)
            left += needs.get(one, ())
    optional = {one["bom-ref"] for one in bill["components"] if one["scope"] == "optional"}
    assert set(needs) - reached <= optional


def test_the_bill_is_the_same_whenever_it_is_written(sbom):
    assert sbom["document"]() == sbom["document"]()


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_is_pinned_and_hashed(name):
    entries = re.split(r"\n(?=\S)", (ROOT / name).read_text(encoding="utf-8").strip())
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==[^ ;\\]+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
        assert "://" not in entry


def test_the_locks_hold_what_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for declared, name in (
        (project["project"]["dependencies"], LOCKS[0]),
        (project["dependency-groups"]["dev"], LOCKS[1]),
    ):
        locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / name).read_text(encoding="utf-8"), re.M))
        assert {re.match(r"[A-Za-z0-9-]+", line)[0].lower() for line in declared} <= locked


# --- the wheel ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The wheel, built twice in processes with different masks."""
    found = []
    for umask in (0o022, 0o077):
        folder = tmp_path_factory.mktemp("wheel")
        built = subprocess.run(
            [sys.executable, str(ROOT / "dev" / "wheel.py"), str(folder)],
            umask=umask,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert built.returncode == 0, built.stderr
        found += folder.glob("*.whl")
    return found


def test_the_wheel_is_the_same_bytes_each_time(wheels):
    first, second = wheels
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_the_wheel_holds_the_product_and_nothing_else(wheels):
    with zipfile.ZipFile(wheels[0]) as archive:
        names = set(archive.namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    kinds = ("*.py", "*.toml", "*.json", "*.sql", "*.lua", "py.typed")
    there = {f"ostiary/{path.relative_to(SRC).as_posix()}" for kind in kinds for path in SRC.rglob(kind)}
    assert packed == there
    assert "ostiary/py.typed" in packed
    assert not [name for name in names if name.endswith(".pth") or "test_" in name]


def test_the_wheel_runs_in_an_environment_of_its_own(wheels, tmp_path):
    """Installed by pip; what it depends on is lent to it, so that no index is needed."""
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=120)
    python = home / "bin" / "python"
    install = ["-m", "pip", "--python", str(python), "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([sys.executable, *install, "--disable-pip-version-check", str(wheels[0])], check=True, timeout=120)
    (site,) = home.glob("lib/python3*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = subprocess.run(
        [python, "-c", "import ostiary; print(ostiary.__file__)"], capture_output=True, text=True, cwd=tmp_path
    )
    assert where.stdout.startswith(str(site)), "the checkout is not what is tried here"
    told = subprocess.run([home / "bin" / "ostiary", "version"], capture_output=True, text=True, cwd=tmp_path)
    assert (told.returncode, told.stdout.strip()) == (0, "0.1.0"), told.stderr
    (tmp_path / "ostiary.yaml").write_text(
        "providers: {groq: {}}\nmodels: {chat: {targets: [{provider: groq, model: tiny}]}}\n"
    )
    checked = subprocess.run([home / "bin" / "ostiary", "check"], capture_output=True, text=True, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    listed = subprocess.run([home / "bin" / "ostiary", "tenants", "list"], capture_output=True, text=True, cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr


def test_importing_any_module_does_nothing():
    """No connection, no file written, no process, no thread, no signal handler."""
    done = subprocess.run([sys.executable, "-B", "-c", IMPORTS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-2]) > 150
