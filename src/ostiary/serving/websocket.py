"""A client connection after its upgrade: a peer of the server like any other, whose request is the session on it."""

import asyncio

from ostiary.gateway.ports import SHED, Channel
from ostiary.serving import DRAINING, Host
from ostiary.websocket.frame import CloseCode
from ostiary.websocket.link import Link


class Upgraded:
    """Implements Peer, and Owner of the link. `task` is what serves the session."""

    def __init__(self, server: Host, task: asyncio.Task[None]) -> None:
        self._server = server
        self._task = task
        self._link = Link(server.loop, self)
        self._held = 0
        self._shed = False

    def attach(self, transport: asyncio.Transport) -> Channel:
        """Take over the transport; the channel ends at the latest with the task."""
        self._task.add_done_callback(self._ended)
        self._link.attach(transport)
        return self._link

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._link.close(CloseCode.INTERNAL_ERROR)

    # --- Peer ---------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Never: its session is being served until it is closed."""
        return False

    @property
    def held_bytes(self) -> int:
        """See Peer."""
        return 0 if self._shed else self._held

    def cancel(self, why: str = DRAINING) -> None:
        """The grace of a drain is over, or memory is wanting."""
        self._shed = why is SHED
        self._task.cancel(why)

    def abort(self) -> None:
        """Drop the connection at once."""
        self._link.abort()

    # --- Owner --------------------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether the server is to end."""
        return self._server.draining

    def came(self, size: int) -> None:
        """Count what was read."""
        self._server.bytes_in += size

    def holds(self, change: int) -> bool:
        """Messages count as bodies do."""
        self._held += change
        self._server.body_bytes += change
        if change <= 0 or self._server.body_bytes <= self._server.bodies_bytes_max:
            return True
        return not self._server.refuses(self._held)

    def lost(self, link: Link) -> None:
        """The connection is closed."""
        if link.stalled:
            self._server.stalled += 1
        self._server.closed(self)
