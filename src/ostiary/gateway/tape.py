"""An answer on its way through a place where it is kept: made by a task of its own, so that a client may leave and come
back without the work being lost or done twice."""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, Final

from ostiary.core.http import Header
from ostiary.core.limit import DETACHED_BYTES_MAX
from ostiary.gateway.ports import Recording, ReplayHead, Sink

_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_ENDED: Final = 0
_ABORTED: Final = 1


class Tape:
    """Implements Sink for the call, and plays what comes to the client. With a `recording` all of it is kept there too,
    and the events of a stream are numbered from 1 (`id` of server-sent events), so that a client can say which it has."""

    def __init__(self) -> None:
        self.gone = False
        self.begun = False
        self.recording: Recording | None = None
        self._numbered = False
        self._number = 0
        self._rest = b""
        self._queue: deque[tuple[int, tuple[Header, ...], bytes] | ReplayHead | bytes | int] = deque()
        self._queued = 0
        self._changed = asyncio.Event()
        self._room: asyncio.Future[None] | None = None
        self._left = False

    # --- the call's side ----------------------------------------------------------------------------------

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """See Sink."""
        self.begun = True
        if self.recording is not None:
            self.recording.begin(ReplayHead(status, tuple(headers), streamed=False))
            self.recording.piece(body)
        self._put((status, tuple(headers), body))

    def begin(self, status: int, headers: Sequence[Header], *, keepalive: bytes = b"") -> None:
        """See Sink."""
        self.begun = True
        head = ReplayHead(status, tuple(headers), streamed=True, keepalive=keepalive)
        if self.recording is not None:
            self._numbered = any(
                name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers
            )
            self.recording.begin(head)
        self._put(head)

    def write(self, data: bytes) -> Awaitable[None] | None:
        """See Sink. A client that is not there is not waited for."""
        if self._numbered:
            data = self._number_events(data)
        elif self.recording is not None and data:
            self.recording.piece(data)
        if data:
            self._put(data)
        if self._queued <= DETACHED_BYTES_MAX or self._left:
            return None
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
        return self._room

    def end(self) -> None:
        """See Sink."""
        if self._rest:
            rest, self._rest = self._rest, b""
            if self.recording is not None:
                self.recording.piece(rest)
            self._put(rest)
        self._put(_ENDED)

    def abort(self) -> None:
        """See Sink."""
        self._put(_ABORTED)

    def upgrade(self, headers: Sequence[Header]) -> None:
        """See Sink. A session is no answer that could be kept."""
        del headers

    def _number_events(self, data: bytes) -> bytes:
        """The whole events in what came so far, each with its number and each kept as one piece."""
        assert self.recording is not None
        data = self._rest + data
        out: list[bytes] = []
        start = 0
        for end in _EVENT_END.finditer(data):
            self._number += 1
            event = b"%b\nid: %d\n\n" % (data[start : end.start()], self._number)
            self.recording.piece(event)
            out.append(event)
            start = end.end()
        self._rest = data[start:]
        return b"".join(out)

    # --- the client's side --------------------------------------------------------------------------------

    async def play(self, sink: Sink) -> None:
        """Give the client what comes, to its end."""
        while True:
            while not self._queue:
                self._changed.clear()
                await self._changed.wait()
            one = self._queue.popleft()
            if isinstance(one, bytes):
                self._queued -= len(one)
                if self._queued <= DETACHED_BYTES_MAX:
                    self._make_room()
                if (waits := sink.write(one)) is not None:
                    await waits
            elif isinstance(one, tuple):
                sink.answer(*one)
                return
            elif isinstance(one, ReplayHead):
                sink.begin(one.status, one.headers, keepalive=one.keepalive)
            else:
                sink.end() if one == _ENDED else sink.abort()
                return

    def leave(self) -> None:
        """The client is gone: what comes is kept, if it is, and not held for anyone."""
        self._left = True
        self._queue.clear()
        self._queued = 0
        self._make_room()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def _put(self, one: "tuple[int, tuple[Header, ...], bytes] | ReplayHead | bytes | int") -> None:
        if self._left:
            return
        if isinstance(one, bytes):
            self._queued += len(one)
        self._queue.append(one)
        self._changed.set()


class Detached:
    """The calls of a worker that go on without their clients."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, call: Coroutine[Any, Any, None], tape: Tape, sink: Sink) -> None:
        """Run a call that answers to `tape`, and play that to the client for as long as it is there."""
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await tape.play(sink)
        finally:
            tape.leave()

    async def end(self) -> None:
        """End all of them: the gateway is shutting down."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel("draining")
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def open_count(self) -> int:
        """How many there are."""
        return len(self._tasks)
