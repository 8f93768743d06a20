"""Texts embedded by a model of this gateway itself, for comparing questions.

Each embedding is a call like any other, in the name of the caller whose question it is of: allowed by the same rules,
recorded, metered, held against the same budgets. So a team that may not use the embeddings model, or whose budget is
spent, has no questions compared, and no content goes where the call itself might not have gone. Only of limits by rate it
takes no share, and nobody stands in for a model that fails.
"""

import asyncio
import math
from array import array
from collections.abc import Sequence
from typing import Final

import msgspec

from ostiary.core.call import DialectName, Operation
from ostiary.core.http import JSON_TYPE, Header
from ostiary.core.limit import SEMANTIC_DIMENSIONS_MAX
from ostiary.core.principal import Principal
from ostiary.gateway.admit.bounds import Metadata, Options
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import IN_BODY
from ostiary.gateway.exchange import Exchange
from ostiary.gateway.ports import Channel, Embedder
from ostiary.gateway.wire.json import encode
from ostiary.gateway.world import World
from ostiary.snapshot.tables import ModelRow

FEATURE: Final = "semantic-cache"
"""The feature under which these calls are recorded."""


class _Datum(msgspec.Struct):
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Datum]


_decode: Final = msgspec.json.Decoder(_Answer).decode


class Listener:
    """A sink that takes a whole answer for itself."""

    gone = False
    begun = False

    def __init__(self) -> None:
        self.body: bytes | None = None

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Take it, if it is one."""
        del headers
        self.begun = True
        if status == 200:
            self.body = body

    def begin(self, status: int, headers: Sequence[Header], *, keepalive: bytes = b"") -> None:
        """Nothing: vectors do not come as a stream."""
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


class Embedding(Exchange):
    """The call that embeds one text."""

    def _allowed(self) -> ModelRow:
        row = msgspec.structs.replace(super()._allowed(), fallbacks=(), shadow=None)
        self.grant = msgspec.structs.replace(self.grant, model=row, limits=(), each_limit=None)
        return row


class ModelEmbedder:
    """Implements Embedder by a model, for one caller."""

    knows_meaning = True

    def __init__(self, world: World, model: str, principal: Principal, options: Options) -> None:
        self._world = world
        self._model = model
        self._principal = principal
        self._options = options

    async def embed(self, text: str) -> "array[float] | None":
        """See Embedder."""
        world, listener = self._world, Listener()
        body = encode({"model": self._model, "input": text, "encoding_format": "float"})
        call = Embedding(world, self._asked(), body, listener)
        task = asyncio.get_running_loop().create_task(call.run())
        try:
            await asyncio.wait((task,))
        finally:
            if not task.done():  # the caller is gone, or out of patience
                listener.gone = True
                task.cancel()
        return None if listener.body is None else _vector(listener.body)

    def _asked(self) -> Arrival:
        world, said = self._world, self._options
        return Arrival(
            world.ids.new(),
            self._principal,
            Operation.EMBEDDINGS,
            DialectName.OPENAI,
            IN_BODY,
            dict((JSON_TYPE,)),
            Options(label=said.label, metadata=Metadata(feature=FEATURE, deployment=said.metadata.deployment)),
            world.clock.monotonic(),
            "POST",
            b"",
            b"",
        )


class ModelEmbedders:
    """Implements `world.Embedders`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def of(self, model: str, principal: Principal, options: Options) -> Embedder:
        """See `world.Embedders`."""
        return ModelEmbedder(self._world, model, principal, options)


def _vector(body: bytes) -> "array[float] | None":
    """The one vector in an answer, brought to length 1; None where there is none of use."""
    try:
        numbers = _decode(body).data[0].embedding
    except (msgspec.MsgspecError, IndexError, UnicodeDecodeError):
        return None
    length = math.sqrt(sum(number * number for number in numbers))
    if not 0 < len(numbers) <= SEMANTIC_DIMENSIONS_MAX or not math.isfinite(length) or not length:
        return None
    return array("f", [number / length for number in numbers])
