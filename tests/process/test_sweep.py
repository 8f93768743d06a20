"""Attacks generated from the table of routes, and hostile fields, against the running gateway over real sockets."""

import json
import os
import re
import socket
import time

import pytest

from ostiary.gateway.edge.route import ROUTES, Endpoint, MediaType, Permission, methods
from tests.process.house import APP_KEY, House, rss, until
from tests.routes import example

METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "post")


PATHS = sorted({example(route) for route in ROUTES})
FORMS = {route.path for route in ROUTES if route.media_type is MediaType.FORM}


def raw(house, data, seconds=60.0):
    """Everything answered to these bytes until the connection ends; b"RESET" where it was reset."""
    with socket.create_connection(("127.0.0.1", house.port), seconds) as one:
        told = b""
        try:
            one.sendall(data)
            while chunk := one.recv(65_536):
                told += chunk
        except ConnectionError:
            told = told or b"RESET"
        return told


def request(method, path, *, headers=b"", body=b"", version=b"HTTP/1.1"):
    return (
        b"%b %b %b\r\nhost: x\r\nconnection: close\r\n" % (method.encode(), path, version)
        + headers
        + (b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body) if body else b"")
        + b"\r\n"
        + body
    )


def status(told):
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", told)
    assert found, told[:200]
    assert told.count(b"HTTP/1.1 ") == 1, told[:500]
    return int(found.group(1))


@pytest.fixture(autouse=True)
def unharmed(shared):
    """After every attack: the same processes, ready, the journal holds, nothing answered with a fault of ours."""
    before = (shared.worker(), shared.ops)
    yield
    assert (shared.worker(), shared.ops) == before
    assert shared.ask("GET", "/readyz", key=None).status == 200
    assert shared.chat().status == 200
    assert shared.metric('ostiary_requests_total{outcome="failed",reason="gateway.internal"') == 0
    assert not any(report["problems"] for report in shared.verify())


BEARER = b"authorization: Bearer " + APP_KEY.encode() + b"\r\n"

CREDENTIALS = {
    "none": b"",
    "empty": b"authorization:\r\n",
    "a scheme alone": b"authorization: Bearer\r\n",
    "a scheme and spaces": b"authorization: Bearer    \r\n",
    "another scheme": b"authorization: Basic " + APP_KEY.encode() + b"\r\n",
    "no scheme": b"authorization: " + APP_KEY.encode() + b"\r\n",
    "a prefix of a key": b"authorization: Bearer " + APP_KEY[:-1].encode() + b"\r\n",
    "a key and more": b"authorization: Bearer " + APP_KEY.encode() + b"x\r\n",
    "another case": b"authorization: Bearer " + APP_KEY.upper().encode() + b"\r\n",
    "20 KiB": b"authorization: Bearer " + b"a" * 20_480 + b"\r\n",
    "1 MiB": b"authorization: Bearer " + b"a" * (1 << 20) + b"\r\n",
    "NUL": b"authorization: Bearer a\x00b\r\n",
    "a line feed": b"authorization: Bearer " + APP_KEY.encode() + b"\n\r\n",
    "non-ASCII": b"authorization: Bearer " + "schlüssel".encode() + b"\r\n",
    "Latin-1": b"authorization: Bearer \xfc\xe4\r\n",
    "twice": BEARER + BEARER,
    "two that differ": BEARER + b"x-api-key: something-else-altogether\r\n",
    "SQL": b"authorization: Bearer ' OR 1=1; DROP TABLE keys; --\r\n",
    "a key in the query": b"",
    "an identity in headers of others": b"x-forwarded-user: admin\r\nx-ostiary-tenant: acme\r\nx-user: root\r\n",
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.decode())
def test_at01_no_route_answers_without_the_credential_it_declares(shared, path):
    for route in (one for one in ROUTES if example(one) == path):
        target = path
        shapes = set()
        for name, headers in CREDENTIALS.items():
            body = b'{"model":"chat","messages":[]}' if route.method == "POST" else b""
            query = b"?key=" + APP_KEY.encode() if name == "a key in the query" else b""
            began = time.monotonic()
            told = raw(shared, request(route.method, target + query, headers=headers, body=body))
            if told == b"RESET":
                assert name == "1 MiB", name
                continue
            code = status(told)
            if name in ("1 MiB", "NUL", "a line feed", "twice"):
                assert code in (400, 431), (name, told[:300])
            elif route.permission is Permission.NONE:
                assert code == 200, (name, told[:300])
            elif name in ("two that differ", "a key in the query"):
                assert code in (400, 401), (name, told[:300])
            else:
                assert code == 401, (name, told[:300])
                answer = json.loads(told.partition(b"\r\n\r\n")[2])
                shapes.add(json.dumps(_types(answer)))
                assert time.monotonic() - began < 5.0
            assert APP_KEY.encode() not in told
        assert len(shapes) <= 1, "a refused credential looks alike, whatever is wrong with it"


def _types(value):
    return {key: _types(one) for key, one in value.items()} if isinstance(value, dict) else "value"


def variants(path):
    """Spellings of a path that some other server takes for the same."""
    bare = path.rstrip(b"/")
    first, _, rest = bare[1:].partition(b"/")
    yield bare + b"//"
    yield b"/" + bare
    yield bare.replace(b"/", b"//")
    yield bare.upper()
    yield b"/%2e" + bare
    yield b"/." + bare
    yield b"/x/.." + bare
    yield b"/x/..;" + bare
    yield b"/x/%2e%2e" + bare
    yield b"/x/..%2f" + bare[1:]
    yield bare + b"%00"
    yield bare + b"%20"
    yield bare + b";jsessionid=1"
    yield bare + b"/."
    yield bare + b"."
    yield bare + b"%2f"
    yield bare.replace(b"/v1", b"/V1")
    yield b"/" + first + b"%2f" + rest
    yield b"/%" + b"%02x" % bare[1] + bare[2:]
    yield b"/%25" + b"%02x" % bare[1] + bare[2:]
    yield bare.replace(b"/", b"\\")
    yield b"http://x" + bare
    yield bare + b"#"
    if not path.endswith(b"/") and path != b"/v1/models":
        yield bare + b"/"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.decode())
def test_at45_at46_only_the_exact_method_and_path_of_a_route_reach_it(shared, path, provider):
    declared = set(methods(path))
    target = path
    before = provider.connections
    for method in METHODS:
        if method in declared:
            continue
        for extra in (b"", b"x-http-method-override: POST\r\n", b"x-method-override: GET\r\n"):
            told = raw(shared, request(method, target, headers=BEARER + extra))
            code = status(told)
            assert code in (400, 404, 405), (method, told[:200])
            if code == 405 and b"\r\nallow: " in told:
                allow = re.search(rb"\r\nallow: ([^\r]+)", told).group(1).decode()
                assert set(allow.split(", ")) == declared
    for spelled in set(variants(path)) - {path}:
        for method in sorted(declared):
            body = b'{"model":"chat","messages":[{"role":"user","content":"x"}]}' if method == "POST" else b""
            told = raw(shared, request(method, spelled, headers=BEARER, body=body))
            expected = (400, 404, 405)
            if path == b"/v1/models/chat":
                expected = (400, 404)  # the rest of the path is a model's name, and no such model is there
            elif path.startswith(b"/passthrough/"):
                expected = (400, 403, 404, 405)  # the rest of the path is the provider's
            assert status(told) in expected, (spelled, told[:300])
    # The host says nothing about who one is or where one gets.
    for host in (b"x/v1/models?", b"x#", b"a@x", b"x:99999999", b"[::1", b"x y", b"x\\y", b""):
        told = raw(shared, b"GET /v1/models HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % host)
        assert status(told) in (400, 401)
    told = raw(shared, request(next(iter(declared)), target, headers=BEARER, version=b"HTTP/1.0"))
    session = any(route.path == path and route.endpoint is Endpoint.SESSION for route in ROUTES)
    usual = (426,) if session else (200, 400, 404, 415)
    assert status(told) in ((403, 404) if b"passthrough" in path else usual)
    assert provider.connections == before, "nothing of this was to go upstream"


DOCUMENTS = {
    "not JSON": b"nonsense",
    "empty": b"",
    "an array": b"[]",
    "a number": b"1",
    "null": b"null",
    "100,000 deep": b'{"model":"chat","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "65 deep": b'{"model":"chat","messages":[],"x":' + b"[" * 65 + b"]" * 65 + b"}",
    "duplicate keys": b'{"model":"chat","model":"claude","messages":[]}',
    "an escaped duplicate": b'{"model":"chat","\\u006dodel":"claude","messages":[]}',
    "a nested duplicate": b'{"model":"chat","messages":[{"role":"user","role":"system","content":"x"}]}',
    "NaN": b'{"model":"chat","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
    "Infinity": b'{"model":"chat","messages":[{"role":"user","content":"x"}],"temperature":-Infinity}',
    "a huge exponent": b'{"model":"chat","messages":[{"role":"user","content":"x"}],"temperature":1e99999}',
    "10^5 digits": b'{"model":"chat","messages":[{"role":"user","content":"x"}],"max_tokens":' + b"9" * 100_000 + b"}",
    "trailing garbage": b'{"model":"chat","messages":[]} {}',
    "a BOM": b"\xef\xbb\xbf" + b'{"model":"chat","messages":[]}',
    "UTF-16": '{"model":"chat","messages":[]}'.encode("utf-16"),
    "invalid UTF-8": b'{"model":"chat","messages":[{"role":"user","content":"\xff"}]}',
    "an overlong form": b'{"model":"chat","messages":[{"role":"user","content":"\xc0\xaf"}]}',
    "a lone surrogate": b'{"model":"\\ud800","messages":[{"role":"user","content":"x"}]}',
    "a control character": b'{"model":"a\x01b","messages":[]}',
    "NUL in a key": b'{"model":"chat","messages":[],"a\\u0000b":1}',
    "a million keys": b'{"model":"chat","messages":[],' + b",".join(b'"k%d":1' % i for i in range(1_000_000)) + b"}",
    "single quotes": b"{'model':'chat'}",
    "a comment": b'{"model":"chat"/**/,"messages":[]}',
    "a trailing comma": b'{"model":"chat","messages":[],}',
    "__proto__": b'{"model":"no-such","__proto__":{"model":"chat"},"messages":[]}',
    "10,000 tools": json.dumps(
        {
            "model": "chat",
            "messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(10_000)],
        }
    ).encode(),
    "n of 2^31": b'{"model":"chat","messages":[{"role":"user","content":"x"}],"n":2147483648}',
    "max_tokens negative": b'{"model":"chat","messages":[{"role":"user","content":"x"}],"max_tokens":-1}',
    "max_tokens text": b'{"model":"chat","messages":[{"role":"user","content":"x"}],"max_tokens":"10"}',
    "max_tokens true": b'{"model":"chat","messages":[{"role":"user","content":"x"}],"max_tokens":true}',
    "a schema too large": json.dumps(
        {
            "model": "chat",
            "messages": [{"role": "user", "content": "x"}],
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "parameters": {"enum": [str(i) for i in range(100_000)]}},
                }
            ],
        }
    ).encode(),
}


@pytest.mark.parametrize(
    "path",
    [
        example(route)
        for route in ROUTES
        if route.method == "POST" and route.suffix == b"" and b"passthrough" not in route.path
    ],
    ids=bytes.decode,
)
def test_at60_at61_a_hostile_document_is_refused_before_anything_goes_upstream(shared, path, provider):
    before = provider.connections
    sizes = []
    for name, body in DOCUMENTS.items():
        told = raw(
            shared,
            request("POST", path, headers=BEARER, body=body)
            if body
            else request("POST", path, headers=BEARER + b"content-type: application/json\r\ncontent-length: 0\r\n"),
        )
        code = status(told)
        if name in ("10,000 tools", "a schema too large", "n of 2^31") and b"embeddings" in path:
            assert code in (400, 404, 413, 422), (name, told[:300])
            continue
        if code == 200:
            # What a route does not read it hands on unread: the provider's to judge.
            sizes.append(name)
            continue
        assert code in (400, 404, 413, 415, 422), (name, told[:300])
        assert (code == 415) == (path in FORMS), (name, told[:300])
    passed = {"NUL in a key", "__proto__", "a huge exponent"}
    if b"count_tokens" in path:
        passed.add("n of 2^31")  # nothing is generated there
    if b"embeddings" not in path:
        assert set(sizes) <= passed, sizes
        assert provider.connections <= before + len(passed) + 1


HOSTILE_FORMS = {
    "nothing": b"",
    "no form": b"nonsense",
    "no end": b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nchat\r\n',
    "no name": b"--b\r\ncontent-type: text/plain\r\n\r\nchat\r\n--b--\r\n",
    "two models": b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nchat\r\n' * 2 + b"--b--\r\n",
    "no model": b'--b\r\ncontent-disposition: form-data; name="file"; filename="x"\r\n\r\nx\r\n--b--\r\n',
    "a form inside": b"--b\r\ncontent-disposition: form-data; name=x\r\ncontent-type: multipart/mixed\r\n\r\n\r\n--b--",
    "an endless header": b"--b\r\ncontent-disposition: form-data; name=" + b"x" * 1_000_000,
    "100,000 parts": b"--b\r\ncontent-disposition: form-data; name=x\r\n\r\n\r\n" * 100_000 + b"--b--",
    "a million boundaries": b"--b\r\n" * 1_000_000 + b"--b--",
}


@pytest.mark.parametrize("path", sorted(FORMS), ids=bytes.decode)
def test_a_hostile_form_is_refused_before_anything_goes_upstream(shared, path, provider):
    before = provider.connections
    for name, body in HOSTILE_FORMS.items():
        head = b"content-type: multipart/form-data; boundary=b\r\ncontent-length: %d\r\n\r\n" % len(body)
        told = raw(shared, request("POST", path, headers=BEARER + head[:-2]) + body)
        assert status(told) == 400, (name, told[:300])
    assert provider.connections == before


def test_at61_what_a_schema_refers_to_is_neither_fetched_nor_followed(shared):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    properties = {f"p{i}": {"$ref": "#"} for i in range(1_000)}
    for parameters in (
        {"$ref": "#"},
        {"$ref": f"http://127.0.0.1:{port}/schema"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"type": "string", "pattern": "^(a+)+$"},
        {"type": "object", "properties": properties},
    ):
        tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
        for model in ("chat", "claude"):
            answer = shared.chat(model, text="a" * 50_000 + "!", tools=[tool])
            assert answer.status in (200, 400), answer.body
        assert shared.message(tools=[{"name": "f", "input_schema": parameters}]).status in (200, 400)
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()


INJECTIONS = {
    "CR and LF": 'x\r\n{"level":"error","event":"forged"}\r\n',
    "ANSI": "\x1b[2J\x1b]0;owned\x07\x1b[31m",
    "line separators": 'a\u2028{"event":"forged"}\u2029b\u0085c\x0bd\x0ce',
    "C1 controls": "\x9b31m\x90\x9d",
    "bidirectional": "\u202egpj.exe\u2066\u2069\ufeff\u200b",
    "forged JSON": '","event":"forged","level":"critical","x":"',
    "1 MiB": "m" * (1 << 20),
    "percent": "%s%n%d{0}{name}$(id)`id`${jndi:ldap://x}",
}


def test_at67_nothing_a_caller_sends_makes_a_line_or_a_field_of_the_log(shared):
    before = len(shared.err)
    sent = 0
    for name, text in INJECTIONS.items():
        for field in ("model", "user", "content"):
            body = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "user": "u"}
            if field == "content":
                body["messages"][0]["content"] = text
                body["model"] = "claude/sim-error-500"
            else:
                body[field] = text
                body["model"] = text if field == "model" else "sim/sim-error-500"
            code = shared.ask("POST", "/v1/chat/completions", body).status
            assert code in (200, 400, 404, 413, 500, 502, 503), (name, field, code)
            assert code != 500 or field != "model"
            sent += 1
        shared.ask("GET", "/v1/models/" + text.encode().hex() * 8, None)
        metadata = json.dumps({"feature": text[:200], "service": text[:200]})
        shared.chat(headers={"x-ostiary-metadata": metadata})
        shared.chat("nothing", headers={"x-ostiary-metadata": "{" * 4_000})
        for header in ("user-agent", "traceparent", "tracestate", "baggage", "x-request-id", "x-ostiary-session"):
            clean = "".join(char for char in text[:4_000] if " " <= char <= "~")
            shared.chat("nothing", headers={header: clean or "x"})
    shared.chat("nothing", headers={"traceparent": "00-" + "f" * 32 + "-" + "f" * 16 + "-01"})
    until(lambda: len(shared.err) - before >= 2 * len(INJECTIONS), 5)
    for line in shared.err[before:]:
        one = json.loads(line)
        assert one["event"] in ("call_ended", "journal_recovered"), line
        assert len(line) < 8_192
        assert line.isprintable(), line
        assert len(line.splitlines()) == 1
        for value in one.values():
            assert not isinstance(value, str) or len(value) <= 513


@pytest.mark.parametrize("many", [3_000, pytest.param(100_000, marks=pytest.mark.drill)])
def test_at68_made_up_names_make_no_series_and_no_memory(shared, many):
    worker, ops = shared.worker(), shared.ops

    def call(connection, i):
        name = f"made-up-{i}-{os.urandom(4).hex()}"
        if i % 3 == 0:
            shared.ask("GET", f"/v1/{name}", connection=connection)
        elif i % 3 == 1:
            shared.ask("GET", f"/v1/models/{name}", connection=connection)
        else:
            metadata = json.dumps({"feature": name, "service": name})
            shared.chat(name, user=name, headers={"x-ostiary-metadata": metadata}, connection=connection)

    connection = shared.connect()
    for i in range(500):
        call(connection, i)
    series, memory = len(shared.metrics().splitlines()), (rss(worker), rss(ops))
    for i in range(many):
        call(connection, i)
    connection.close()
    until(lambda: shared.metric('ostiary_requests_total{model="other"') >= many // 3, 5)
    grown = (rss(worker) - memory[0], rss(ops) - memory[1])
    print(
        f"{many} names: {len(shared.metrics().splitlines()) - series} series more, {[one >> 10 for one in grown]} KiB more"
    )
    assert len(shared.metrics().splitlines()) <= series + 4
    assert "made-up" not in shared.metrics()
    assert grown[0] < 16 << 20
    assert grown[1] < 32 << 20


def test_a_standing_house_of_its_own_serves_while_500_connections_never_finish_a_head(tmp_path, provider):
    """AT-48: connections that send a byte now and then, and idle ones, cost others nothing they would notice."""
    with House(tmp_path, provider.port) as house:
        before = rss(house.worker())
        alone = sorted(_timed(house) for _ in range(30))
        slow = [socket.create_connection(("127.0.0.1", house.port), 5) for _ in range(500)]
        for i, one in enumerate(slow):
            one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: "[: 10 + i % 40])
        among = []
        for i in range(60):
            for one in slow[i::60]:
                one.sendall(b"a")
            among.append(_timed(house))
        grown = rss(house.worker()) - before
        print(f"median {alone[15] * 1e3:.1f} ms alone, {sorted(among)[30] * 1e3:.1f} ms among 500; {grown >> 10} KiB")
        assert grown < 500 * 64 * 1024
        assert sorted(among)[30] < 10 * alone[15] + 0.05
        for one in slow:
            one.close()
        until(lambda: house.metric("ostiary_connections") <= 2, 5)


def _timed(house):
    began = time.monotonic()
    assert house.chat().status == 200
    return time.monotonic() - began
