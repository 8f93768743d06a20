"""`ostiary serve` where there is no file: what it finds, the key it shows once."""

import contextlib
import http.server
import json
import re
import signal
import socket
import threading

import pytest

from tests.process.house import OSTIARY, House, until

OLLAMA_PORT = 11434


@pytest.fixture
def local():
    """A server on the port where one kind of local model server is looked for."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", OLLAMA_PORT))
        except OSError:
            pytest.skip(f"port {OLLAMA_PORT} is in use on this machine")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", OLLAMA_PORT), LocalModels)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class LocalModels(http.server.BaseHTTPRequestHandler):
    """As local servers do: models listed and served to whoever asks, no key."""

    def do_GET(self):
        self._answer({"object": "list", "data": [{"id": "tiny:1b", "object": "model"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert "authorization" not in self.headers
        message = {"role": "assistant", "content": f"I am {asked['model']}."}
        self._answer(
            {
                "id": "local-1",
                "object": "chat.completion",
                "created": 0,
                "model": asked["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        )

    def _answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def bare(folder, **environment):
    house = House(folder, 9, environment=environment)
    house.file.unlink()
    house.data = folder / ".ostiary"
    return house


def free_default_ports():
    for port in (8080, 8081):
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def test_without_a_file_it_offers_what_it_finds_and_shows_one_key_once(tmp_path, local):
    if not free_default_ports():
        pytest.skip("the default ports are in use on this machine")
    house = bare(tmp_path, OPENAI_API_KEY="sk-from-the-environment-canary")
    house.start(OSTIARY, "serve")
    try:
        printed = "\n".join(house.out)
        assert re.search(r"offers openai: OPENAI_API_KEY is set", printed)
        assert re.search(rf"offers ollama: answers on 127\.0\.0\.1:{OLLAMA_PORT}", printed)
        key = re.search(r"your key, shown only now:\s+(osk_\S+)", printed).group(1)
        assert house.models(None) == 401
        listed = {one["id"] for one in house.ask("GET", "/v1/models", key=key).json["data"]}
        offered = re.search(r"offers ollama: .*\((\d+) models listed", printed)
        assert offered
        answer = house.chat("ollama/anything-at-all", key=key)
        assert answer.status == 200, answer.body
        assert answer.headers["x-ostiary-target"].startswith("ollama/anything-at-all")
        assert {"gpt-4o-mini", "tiny:1b"} <= listed
        assert house.chat("tiny:1b", key=key).json["choices"][0]["message"]["content"] == "I am tiny:1b."
        # No crash and no answer made up where the hosted provider cannot be reached.
        hosted = house.chat("openai/gpt-4o-mini", key=key)
        assert hosted.status == 502, hosted.body
        assert hosted.json["error"]["code"] in ("upstream.unreachable", "upstream.credential")
        assert house.chat("openai/some-model-of-next-year", key=key).json["error"]["code"].startswith("upstream.")
        assert house.stop() == 0
        assert "sk-from-the-environment-canary" not in "\n".join(house.out + house.err)
        house.start(OSTIARY, "serve")
        assert "osk_" not in "\n".join(house.out)
        assert house.models(key) == 200
        assert house.stop(signal.SIGINT) == 0
    finally:
        if house.process.poll() is None:
            house.stop()


def test_without_anything_to_offer_it_says_what_would_help(tmp_path):
    if not free_default_ports():
        pytest.skip("the default ports are in use on this machine")
    house = bare(tmp_path)
    house.environment = {
        name: value for name, value in house.environment.items() if not name.endswith(("_API_KEY", "_TOKEN"))
    }
    house.start(OSTIARY, "serve")
    try:
        if not any(line.startswith("offers") for line in house.out):
            assert "no provider found" in "\n".join(house.err)
        key = re.search(r"(osk_\S+)", "\n".join(house.out)).group(1)
        answer = house.chat("gpt-4o-mini", key=key)
        assert answer.status == 404
        until(lambda: house.models(key) == 200, 2)
    finally:
        house.stop()
