"""Redis for tests: the server that is there (OSTIARY_TEST_REDIS, or this machine's usual port), else one of our own; and
servers of our own to stop, to empty and to change."""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import uuid

import pytest

import redis
from tests.process.house import until

URL = os.environ.get("OSTIARY_TEST_REDIS", "redis://127.0.0.1:6379/15")
BINARY = shutil.which("redis-server") or shutil.which("valkey-server")
_number = itertools.count()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A server of our own on a free port, which keeps nothing."""

    def __init__(self, folder, *options):
        if BINARY is None:
            pytest.skip("no redis-server or valkey-server is installed")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder, self.options = folder, options
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [
                BINARY,
                "--port",
                str(self.port),
                "--save",
                "",
                "--appendonly",
                "no",
                "--bind",
                "127.0.0.1",
                *self.options,
            ],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )
        self.client = redis.Redis(port=self.port, socket_timeout=5)

        def answers():
            with contextlib.suppress(redis.RedisError):
                return self.client.ping()
            return False

        try:
            until(answers, what="the server")
        except AssertionError:
            self.stop()
            raise

    def stop(self):
        self.client.close()
        self.process.kill()
        self.process.wait(10)


def reachable():
    with contextlib.suppress(redis.RedisError, OSError), redis.Redis.from_url(URL, socket_timeout=2) as client:
        return client.ping()
    return False


@contextlib.contextmanager
def any_server(folder):
    """The URL of a server for tests that only need names of their own in it."""
    if reachable():
        yield URL
        return
    if "OSTIARY_TEST_REDIS" in os.environ or BINARY is None:
        pytest.skip("no Redis can be reached, and no redis-server is installed")
    server = Server(folder)
    try:
        yield server.url
    finally:
        server.stop()


def prefix():
    """Names that nobody else has."""
    return f"test-{uuid.uuid4().hex[:12]}-{next(_number)}"


def forget(url, begun_with):
    """Take away what a test left."""
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        for key in client.scan_iter("{" + begun_with + "}:*", count=1_000):
            client.delete(key)
