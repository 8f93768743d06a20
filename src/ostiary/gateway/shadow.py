"""Calls that another model gets to see as well: a share of traffic, mirrored once its real answer is out.

Guaranteed here: a mirrored call delays nothing and answers nobody; it goes where the call itself might have gone, by the
same rules; what it costs is held and settled in the same budgets, and it does not go out where they have no room; there
are never more than SHADOW_REQUESTS_MAX, and none outlives the worker.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from ostiary.core.call import Operation
from ostiary.core.http import Header
from ostiary.core.limit import SHADOW_BODY_BYTES_MAX, SHADOW_REQUESTS_MAX
from ostiary.core.principal import Priority
from ostiary.gateway.admit.gate import Queued
from ostiary.gateway.exchange import Exchange
from ostiary.gateway.policy.access import Grant
from ostiary.gateway.ports import Channel
from ostiary.gateway.repeat import KEY_HEADER
from ostiary.gateway.world import World
from ostiary.snapshot.tables import ModelRow

_MIRRORED: Final = frozenset({Operation.CHAT})


class Nobody:
    """A sink whose client is not there and never leaves."""

    gone = False
    begun = False

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Nothing."""
        del status, headers, body
        self.begun = True

    def begin(self, status: int, headers: Sequence[Header], *, keepalive: bytes = b"") -> None:
        """Nothing."""
        del status, headers, keepalive
        self.begun = True

    def write(self, data: bytes) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def abort(self) -> None:
        """Nothing."""

    def upgrade(self, headers: Sequence[Header]) -> Channel | None:
        """None: there is nobody."""
        del headers
        return None


class Mirror(Exchange):
    """A call of its own, with what `original` was asked put to `model`."""

    def __init__(self, original: Exchange, model: str, regions: tuple[str, ...]) -> None:
        arrival, world = original.arrival, original.world
        headers = {name: value for name, value in arrival.headers.items() if name != KEY_HEADER}
        again = msgspec.structs.replace(
            arrival, request_id=world.ids.new(), headers=headers, started_at=world.clock.monotonic()
        )
        super().__init__(world, again, original.body, Nobody())
        self._model = model
        self._regions = regions
        self._label = original.draft.label
        self.draft.shadow_of = arrival.request_id

    def _admit(self) -> None:
        super()._admit()
        self.task.model = self.draft.original_model = self._model
        self.draft.label = self._label  # as the guards left it

    def _standing(self) -> Queued:
        """Behind everybody who waits for an answer."""
        queued = super()._standing()
        queued.priority = Priority.BATCH
        return queued

    def _allowed(self) -> ModelRow:
        """As for any call, but: no share of a caller's limits, no kept answers, nobody to stand in."""
        row = msgspec.structs.replace(super()._allowed(), cache=None, fallbacks=(), shadow=None)
        self.grant = msgspec.structs.replace(
            self.grant, model=row, limits=(), each_limit=None, regions=self._regions or self.grant.regions
        )
        return row


class Shadows:
    """The mirrored calls of one worker. `dropped` is how many were not made, for lack of room, since it was last set."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = False
        self.dropped = 0

    def offer(self, call: Exchange) -> None:
        """Mirror a call that is over, where its model says so and chance takes it. Never waits."""
        grant: Grant | None = getattr(call, "grant", None)
        row = None if grant is None else grant.model.shadow
        if grant is None or row is None or self._ended or not _answered(call):
            return
        world = self._world
        if world.random.random() >= row.share:
            return
        if world.gates.tight or len(self._tasks) >= SHADOW_REQUESTS_MAX or len(call.body) > SHADOW_BODY_BYTES_MAX:
            self.dropped += 1
            return
        if not isinstance(world.grants.find(call.arrival.principal, row.model), Grant):
            return
        # What binds the model that was asked for, and what binds the team, binds the mirror.
        bound = [one for one in (grant.model.regions, grant.regions) if one]
        regions = tuple(one for one in bound[0] if all(one in other for other in bound)) if bound else ()
        if bound and not regions:
            return
        task = asyncio.get_running_loop().create_task(Mirror(call, row.model, regions).run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """End all of them: the gateway is shutting down."""
        self._ended = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel("draining")
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def open_count(self) -> int:
        """How many there are."""
        return len(self._tasks)


def _answered(call: Exchange) -> bool:
    """Whether a call ended well, by a model's answer of its own."""
    draft = call.draft
    return call.arrival.operation in _MIRRORED and draft.status == 200 and not draft.error and not draft.cache
