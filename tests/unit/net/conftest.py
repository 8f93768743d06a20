"""The client runs on uvloop in production and must run on plain asyncio: every asynchronous test runs on both."""

import asyncio

import pytest
import uvloop

from ostiary.net.client import HttpUpstream
from ostiary.testing.clock import FakeClock


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def client(clock):
    upstream = HttpUpstream(clock)
    yield upstream
    await upstream.aclose()
    assert upstream.open_count == 0
