"""A PostgreSQL server for tests: the one at OSTIARY_TEST_POSTGRESQL, a URL, or else on this machine's usual port.

Each test makes a schema of its own, which is gone at the end. Where no server answers, tests that need one are skipped
and say so.
"""

import contextlib
import functools
import itertools
import os
import socket
import threading
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

SERVER = os.environ.get("OSTIARY_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")
_NUMBERS = itertools.count(1)


def admin():
    """A connection beside those that are tested."""
    return psycopg.connect(make_conninfo(SERVER, connect_timeout=3), autocommit=True)


@functools.cache
def missing():
    """Why there is no server, or empty."""
    try:
        admin().close()
    except psycopg.OperationalError as error:
        return f"no PostgreSQL server: {' '.join(str(error).split())[:200]}"
    return ""


def need():
    """Skip the test where there is no server."""
    if missing():
        pytest.skip(missing())


def url(schema, **options):
    """The URL of a schema. `host` and `port` go before the server's own; the rest are options of the connection."""
    parts = {"host": "127.0.0.1", "port": 5432, **conninfo_to_dict(SERVER)}
    user, password = (quote(str(parts.get(name, "")), safe="") for name in ("user", "password"))
    host, port = options.pop("host", parts["host"]), options.pop("port", parts["port"])
    more = "".join(f"&{name}={value}" for name, value in options.items())
    login = f"{user}:{password}" if password else user
    return (
        f"postgresql://{login}@{host}:{port}/{parts.get('dbname', 'postgres')}?options=-csearch_path%3D{schema}{more}"
    )


def new_schema():
    """The name of a schema of this test's own, empty."""
    name = f"ostiary_test_{os.getpid()}_{next(_NUMBERS)}"
    with admin() as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        connection.execute(f"CREATE SCHEMA {name}")
    return name


def drop_schema(name):
    with admin() as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


class Proxy:
    """Between a client and the server: can be down, and can break a connection off when a word passes."""

    def __init__(self):
        parts = conninfo_to_dict(SERVER)
        self.server = (str(parts.get("host", "127.0.0.1")), int(parts.get("port", 5432)))
        self.listener = None
        self.pairs = []
        self.threads = []
        self.lock = threading.Lock()
        self.word = b""
        self.pass_it = False
        self.broken_off = 0
        self.moving = threading.Event()
        self.moving.set()
        self.port = 0
        self.up()

    def up(self):
        """Take connections, on the same port each time."""
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        self._start(self._accept, self.listener)

    def _start(self, work, *words):
        thread = threading.Thread(target=work, args=words, daemon=True)
        self.threads.append(thread)
        thread.start()

    def down(self):
        """Refuse connections and break off those there are."""
        listener, self.listener = self.listener, None
        listener.shutdown(socket.SHUT_RDWR)
        self.threads[0].join(5)
        listener.close()
        self.cut()
        for thread in self.threads:
            thread.join(5)
        self.threads.clear()

    def cut(self):
        """Break off every connection."""
        with self.lock:
            for one in (one for pair in self.pairs for one in pair):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self.pairs.clear()

    def stall(self):
        """Let nothing pass until `go_on`; connections stay."""
        self.moving.clear()

    def go_on(self):
        self.moving.set()

    def break_off_at(self, word, *, after):
        """Break off the connection on which the client next sends this: before the server gets it, or after it has
        answered, which the client then does not see."""
        self.word, self.pass_it = word, after

    def close(self):
        self.go_on()
        if self.listener is not None:
            self.down()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.server)
            with self.lock:
                self.pairs.append((client, server))
            self._start(self._serve, client, server)

    def _serve(self, client, server):
        state = {"mute": False}
        asking = threading.Thread(target=self._pump, args=(client, server, True, state), daemon=True)
        asking.start()
        self._pump(server, client, False, state)
        asking.join(5)
        with self.lock:
            client.close()
            server.close()

    def _pump(self, source, target, asking, state):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if asking and self.word and self.word in data:
                    self.word = b""
                    self.broken_off += 1
                    if not self.pass_it:
                        break
                    state["mute"] = True
                elif not asking and state["mute"]:
                    break
                self.moving.wait()
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
