"""The guard of tests/conftest.py guards: what a test may not do raises, and is told again when the test ends."""

import asyncio
import socket

import pytest

from tests import conftest


@pytest.fixture
def tried():
    """What the guard saw, taken from it so that this test does not fail for it."""
    yield conftest._guard.seen
    conftest._guard.seen.clear()


def test_beyond_this_machine_nothing_is_reached(tried):
    with socket.socket() as one, pytest.raises(RuntimeError, match="may use loopback"):
        one.connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match=r"provider\.example"):
        socket.getaddrinfo("provider.example", 443)
    assert len(tried) == 2


async def test_the_event_loop_is_no_way_around(tried):
    with pytest.raises(RuntimeError, match="may use loopback"):
        await asyncio.open_connection("192.0.2.1", 80)
    assert tried


def test_units_and_whole_calls_reach_nothing(tried):
    conftest._guard.allowed = "no sockets"
    with socket.socket() as one, pytest.raises(RuntimeError, match="may use no sockets"):
        one.bind(("127.0.0.1", 0))
    conftest._guard.allowed = "loopback"
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
    assert len(tried) == 1


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("unit/core/test_fold.py", "no sockets"),
        ("unit/net/test_client.py", "loopback"),
        ("exchange/test_story.py", "no sockets"),
        ("attack/test_http_server.py", "loopback"),
    ],
)
def test_what_a_folder_may_use(place, allowed):
    assert conftest._may_use(conftest.TESTS / place) == allowed
