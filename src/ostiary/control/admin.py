"""The administrative listener: health and metrics. Internal by default; publishing the gateway never publishes this."""

from collections.abc import Callable
from typing import Final

from ostiary.core.error import OstiaryError
from ostiary.core.http import Accepted, Answer, Header, RequestHead
from ostiary.gateway.ports import Sink

_TEXT: Final[Header] = (b"content-type", b"text/plain; charset=utf-8")
_METRICS: Final[Header] = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class Admin:
    """The application of the administrative listener. `ready` gives why not, or empty; `metrics` the metrics' text;
    `unshipped` how many bytes of the journal the store does not have."""

    def __init__(self, ready: Callable[[], str], metrics: Callable[[], bytes], unshipped: Callable[[], int]) -> None:
        self._ready = ready
        self._metrics = metrics
        self._unshipped = unshipped

    def accept(self, head: RequestHead) -> Accepted | Answer:
        """Everything here is answered on the head alone."""
        if head.method != "GET":
            return Answer(405, (_TEXT, (b"allow", b"GET")), b"GET only\n")
        if head.path == b"/livez":
            return Answer(200, (_TEXT,), b"alive\n")
        if head.path == b"/readyz":
            reason = self._ready()
            left = b"unshipped_bytes %d\n" % self._unshipped()
            return Answer(503 if reason else 200, (_TEXT,), (reason or "ready").encode() + b"\n" + left)
        if head.path == b"/metrics":
            try:
                return Answer(200, (_METRICS,), self._metrics())
            except Exception:  # noqa: BLE001 - what workers are just writing, or could not write, must not end this
                return Answer(503, (_TEXT,), b"the metrics cannot be read just now\n")
        return Answer(404, (_TEXT,), b"there is /livez, /readyz and /metrics\n")

    async def serve(self, accepted: Accepted, body: bytes, sink: Sink) -> None:
        """Never reached: no route here takes a body."""
        del accepted, body
        sink.answer(404, (_TEXT,), b"")

    def refuse(self, error: OstiaryError, path: bytes) -> Answer:
        """A fault of the HTTP itself."""
        del path
        return Answer(error.status, (_TEXT,), error.message.encode() + b"\n")
