"""Whether the cache may be asked on a call's behalf, and for what."""

from typing import Final

from ostiary.core.call import Operation
from ostiary.core.label import Sensitivity
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.cache.directive import directive
from ostiary.gateway.cache.key import CacheKey, fingerprint
from ostiary.gateway.cache.recall import Recollection
from ostiary.gateway.world import World
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import CacheScope, ModelRow

_KEPT: Final = frozenset({Operation.CHAT, Operation.EMBEDDINGS, Operation.MODERATION, Operation.RERANK})
"""Operations whose answers are as good the second time: nothing is made that must be new."""


def recollection(
    world: World, index: Index, arrival: Arrival, draft: Draft, model: ModelRow, *, cap: int | None
) -> Recollection | None:
    """The call's part in the cache; None where its model keeps nothing, or its data or operation is not to be kept."""
    row = model.cache
    if row is None or arrival.operation not in _KEPT or draft.label is Sensitivity.REGULATED:
        return None
    principal = arrival.principal
    scope = ""
    if row.scope is CacheScope.TEAM:
        scope = principal.team
    elif row.scope is CacheScope.KEY:
        scope = principal.key_id
    key = CacheKey(
        principal.tenant,
        scope,
        index.id,
        tuple(target.name for target in index.targets(model, arrival.operation)),
        arrival.operation,
        arrival.dialect,
        draft.label,
        fingerprint(
            draft.prompt_digest,
            arrival.headers,
            addressed=(draft.original_model.encode(), arrival.rest, arrival.query),
            terms=(str(cap), str(arrival.options.drop_unsupported)),
        ),
    )
    return Recollection(world.answers, world.flights, key, row, directive(arrival.headers.get(b"cache-control")))
