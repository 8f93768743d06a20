"""Short ways to ask an upstream for something in a test."""

from ostiary.core.http import Header, Origin
from ostiary.core.port import Clock
from ostiary.gateway.ports import PhaseTimeouts, UpstreamRequest
from ostiary.snapshot.tables import TlsRow

CHAT = b'{"model":"sim-gpt","messages":[{"role":"user","content":"hello"}]}'
CHAT_STREAM = CHAT[:-1] + b',"stream":true}'


def upstream_request(
    clock: Clock,
    port: int,
    *,
    method: bytes = b"POST",
    target: bytes = b"/v1/chat/completions",
    headers: tuple[Header, ...] = ((b"authorization", b"Bearer sk-test"), (b"content-type", b"application/json")),
    body: bytes = CHAT,
    scheme: str = "http",
    host: str = "127.0.0.1",
    connect_seconds: float = 5.0,
    first_byte_seconds: float = 5.0,
    idle_seconds: float = 5.0,
    total_seconds: float = 10.0,
    tls: TlsRow | None = None,
    proxy: Origin | None = None,
) -> UpstreamRequest:
    """A request to `port` on this machine, with generous timeouts unless a test is about one."""
    return UpstreamRequest(
        origin=Origin(scheme, host, port),
        method=method,
        target=target,
        headers=headers,
        body=body,
        timeouts=PhaseTimeouts(connect_seconds, first_byte_seconds, idle_seconds, clock.monotonic() + total_seconds),
        tls=tls or TlsRow(),
        proxy=proxy,
    )
