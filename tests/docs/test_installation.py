"""A fresh installation, looked at from outside: modes of files, listening addresses, credentials (AT-85)."""

import os
import re
import signal
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ostiary.settings import AdminSettings, ServerSettings

CONFIGURATION = """\
server: {port: 0, drain_seconds: 1}
admin:  {port: 0}
log:    {level: warning}
providers:
  literal: {dialect: openai, base_url: "http://127.0.0.1:9/v1", auth: {secret: sk-written-out-in-the-file}}
models: {chat: {targets: [{provider: literal, model: tiny}]}}
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """A gateway started by someone whose umask lets everybody read and write: (folder, what it said, process)."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / "ostiary.yaml").write_text(CONFIGURATION)
    process = subprocess.Popen(
        [sys.executable, "-c", "from ostiary.cli.entry import main; main()", "serve"],
        cwd=folder,
        umask=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = []
    ready = threading.Event()

    def read():
        for line in process.stdout:
            said.append(line)
            if line.startswith("ready:"):
                ready.set()
        ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert ready.wait(60)
    assert process.poll() is None, process.stderr.read()
    yield folder, said, process
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    reader.join(10)
    process.stdout.close()
    process.stderr.close()


def test_nobody_else_reads_what_it_writes(installation):
    folder, _, _ = installation
    data = folder / ".ostiary"
    wrong = []
    for path in (data, *sorted(data.rglob("*"))):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:  # SQLite's side files come and go
            continue
        if stat.S_IMODE(mode) & 0o077:
            wrong.append(f"{path.relative_to(folder)} {stat.filemode(mode)}")
    assert wrong == []
    assert (data / "pepper.key").stat().st_size == 32
    kept = sorted(path.read_text() for path in (data / "secrets").iterdir())
    assert kept == ["sk-written-out-in-the-file", f"sqlite:///{data}/ostiary.db"]


def _children(pid):
    found = [pid]
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(one.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid:
            found += _children(int(one.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="listening sockets are looked up in /proc")
def test_it_listens_on_loopback_only(installation):
    _, said, process = installation
    inodes = set()
    for pid in _children(process.pid):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))
            except OSError:
                continue
            if found:
                inodes.add(found[1])
    listening = set()
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.add(fields[1])
    addresses = {address.split(":")[0] for address in listening}
    ports = {int(address.split(":")[1], 16) for address in listening}
    assert addresses == {"0100007F"}
    assert ports == {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", "".join(said))}


def test_there_is_no_way_in_without_a_key(installation):
    _, said, _ = installation
    url = re.search(r"gateway (\S+)", "".join(said))[1]
    for headers in (
        {},
        {"authorization": "Bearer admin"},
        {"x-api-key": "ostiary"},
        {"authorization": "Bearer sk-1234"},
    ):
        request = urllib.request.Request(f"{url}/v1/models", headers=headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 401
        refused.value.close()


def test_loopback_is_the_default():
    assert ServerSettings().host == AdminSettings().host == "127.0.0.1"
    assert not ServerSettings().insecure
    assert not AdminSettings().insecure
