"""What holds for every test: no network beyond what its folder may use, the same made-up cases in each run, and long
ones only when asked for.

An audit hook sees every connection, bind and name look-up made through Python's sockets, in threads too, whatever
library makes them. It does not see what uvloop connects by itself, nor what child processes do.
"""

import ipaddress
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# A job that a shell puts in the background minds no interrupt, and what it starts minds none either until it says so. What
# is started here begins as it does at a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("test", derandomize=True, database=None, deadline=None)
settings.register_profile("drill", max_examples=1_000, database=None, deadline=None)
settings.load_profile("drill" if os.environ.get("OSTIARY_DRILL") else "test")

TESTS = Path(__file__).parent
NO_SOCKETS = ("unit", "exchange")
LOOPBACK_UNITS = ("unit/net", "unit/serving", "unit/simulator")
"""Unit tests of what speaks HTTP need a peer on this machine; all other unit tests and whole calls need none."""

_WATCHED = frozenset({"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"})


class _Guard:
    allowed = "loopback"
    seen: list[str] = []

    def __call__(self, event, args):
        if event in _WATCHED:
            self.check(event, args[1])
        elif event == "socket.getaddrinfo" and args[0] is not None:
            self.check(event, (args[0], args[1]))

    def check(self, event, address):
        if not isinstance(address, tuple) or (self.allowed == "loopback" and _is_local(address[0])):
            return  # a Unix socket, or this machine
        text = f"{event} {address!r} in a test that may use {self.allowed}"
        self.seen.append(text)
        raise RuntimeError(text)


def _is_local(host):
    text = host.decode() if isinstance(host, bytes) else str(host)
    if text in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


_guard = _Guard()
sys.addaudithook(_guard)


def _may_use(path: Path) -> str:
    place = path.relative_to(TESTS).as_posix()
    if place.startswith(LOOPBACK_UNITS) or not place.startswith(NO_SOCKETS):
        return "loopback"
    return "no sockets"


@pytest.fixture(autouse=True)
def sockets(request):
    """Hold a test to the network its folder may use; what it tried beyond that fails it, caught or not."""
    _guard.allowed = _may_use(request.path)
    _guard.seen.clear()
    yield
    _guard.allowed = "loopback"
    tried, _guard.seen[:] = list(_guard.seen), []
    if tried:
        pytest.fail("; ".join(tried))


def pytest_collection_modifyitems(config, items):
    """Drills and tests against a real model server run only by their own commands, which select them."""
    if config.option.markexpr:
        return
    kept = [
        item for item in items if not any(item.get_closest_marker(name) for name in ("drill", "live", "llamaindex"))
    ]
    left = len(items) - len(kept)
    if left:
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def pytest_terminal_summary(terminalreporter, config):
    """Say what did not run and which command runs it; skipped tests with their reasons come from `-rs`."""
    if hasattr(config, "workerinput"):
        return
    if not config.option.markexpr:
        terminalreporter.write_line(
            "not part of this run: other seeds and long tests (make drill), a real model server (make test-live), "
            "LlamaIndex (make test-llamaindex)"
        )
