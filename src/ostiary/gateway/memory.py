"""Whether the cache may be asked on a call's behalf, for what, and what its questions' comparison came to."""

from typing import Final, Protocol

import msgspec

from ostiary.core.call import Operation
from ostiary.core.error import OstiaryError
from ostiary.core.label import Sensitivity
from ostiary.core.limit import SEMANTIC_TEXT_CHARS_MAX
from ostiary.gateway.arrival import SESSION_HEADER, Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.cache.directive import SIMILARITY_HEADER, TAGS_HEADER, directive, least_similarity, tags
from ostiary.gateway.cache.key import fingerprint
from ostiary.gateway.cache.letters import embed_letters
from ostiary.gateway.cache.neighbours import similarity
from ostiary.gateway.cache.recall import Recollection
from ostiary.gateway.cache.semantic import Semantic
from ostiary.gateway.dialect import ClientDialect
from ostiary.gateway.policy.access import Grant
from ostiary.gateway.ports import CacheKey, Kept
from ostiary.gateway.task import Task
from ostiary.gateway.task.chat import Chat
from ostiary.gateway.world import World
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import BUILTIN, CacheScope, ModelRow

_KEPT: Final = frozenset({Operation.CHAT, Operation.EMBEDDINGS, Operation.MODERATION, Operation.RERANK})
"""Operations whose answers are as good the second time: nothing is made that must be new."""


class Call(Protocol):
    """What the cache needs to know of a call."""

    world: World
    index: Index
    arrival: Arrival
    client: ClientDialect
    draft: Draft
    grant: Grant
    task: Task
    cap: int | None
    recollection: Recollection | None


def recollection(call: Call) -> Recollection | None:
    """The call's part in the cache; None where its model keeps nothing, or its data or operation is not to be kept.
    Raises CallerError request.invalid for what the caller says of the cache."""
    world, index, arrival, draft, grant = call.world, call.index, call.arrival, call.draft, call.grant
    task, model = call.task, grant.model
    row = model.cache
    if row is None or arrival.operation not in _KEPT or draft.label is Sensitivity.REGULATED:
        return None
    headers = arrival.headers
    wants = directive(headers.get(b"cache-control"))
    least = least_similarity(headers.get(SIMILARITY_HEADER))
    terms = _terms(arrival, grant, call.cap)
    key = _key(index, arrival, draft, model, digest=draft.prompt_digest, terms=terms)
    named = [f"model:{draft.original_model}", f"team:{arrival.principal.team}"]
    if draft.original_model not in index.models:  # it stands behind a pattern, by which it may be purged too
        named.append(f"model:{draft.original_model.partition('/')[0]}/*")
    given = dict.fromkeys((*row.tags, *tags(headers.get(TAGS_HEADER))))
    semantic: Semantic | None = None
    if row.semantic is not None and least is not None and wants.look and isinstance(task, Chat):
        words = task.last_words()
        if words is not None:
            text, rest = words
            partition = _key(
                index, arrival, draft, model, digest=world.digests.content(rest), terms=(*terms, "but the last words")
            )
            embedder = world.letters
            if row.semantic.embedder != BUILTIN and world.embedders is not None:
                embedder = world.embedders.of(
                    row.semantic.embedder,
                    arrival.principal,
                    msgspec.structs.replace(arrival.options, label=draft.label),
                )
            semantic = Semantic(world.neighbours, embedder, row.semantic, floor=least, partition=partition, text=text)
    return Recollection(
        world.answers,
        world.flights,
        key,
        row,
        wants,
        tags=(*named, *(f"tag:{tag}" for tag in given)),
        semantic=semantic,
        least_similarity=None if least is None else max(least, row.semantic.floor if row.semantic else 0.0),
    )


def left(call: Call) -> None:
    """A call has ended: whoever waits for it looks again, and what comparing it with earlier questions came to is told."""
    recalled = call.recollection
    if recalled is None:
        return
    recalled.leave()
    semantic = recalled.semantic
    if semantic is None or not semantic.outcome:
        return
    alike: float | None = None
    rival, answered = recalled.rival, recalled.answered
    if rival is not None and answered is not None:
        alike = similarity(embed_letters(_text(call.client, rival)), embed_letters(_text(call.client, answered)))
    call.world.observer.compared(call.draft.original_model, semantic.outcome, alike)


def _key(
    index: Index, arrival: Arrival, draft: Draft, model: ModelRow, *, digest: str, terms: tuple[str, ...]
) -> CacheKey:
    principal, row = arrival.principal, model.cache
    assert row is not None
    scope = ""
    if row.scope is CacheScope.TEAM:
        scope = principal.team
    elif row.scope is CacheScope.KEY:
        scope = principal.key_id
    return CacheKey(
        principal.tenant,
        scope,
        index.rules(principal.tenant, model),
        tuple(target.name for target in index.targets(model, arrival.operation)),
        arrival.operation,
        arrival.dialect,
        draft.label,
        fingerprint(
            digest,
            arrival.headers,
            addressed=(draft.original_model.encode(), arrival.rest, arrival.query),
            terms=terms,
        ),
    )


def _terms(arrival: Arrival, grant: Grant, cap: int | None) -> tuple[str, ...]:
    """On what terms the request is put to a target, and all that decides to which of the model's own it may go."""
    principal, model = arrival.principal, grant.model
    found = [str(cap), str(arrival.options.drop_unsupported), str(grant.private_only), *grant.regions]
    if any(target.when for target in model.targets):
        found += ["when", principal.team, principal.environment, principal.key_id, principal.key_name]
        found += [part for pair in sorted(arrival.options.metadata.fields.items()) for part in pair]
    if model.strategy == "split":  # an experiment's arms share no answers
        found += ["split", principal.key_id, arrival.headers.get(SESSION_HEADER, b"").decode("latin-1")]
    return tuple(found)


def _text(client: ClientDialect, kept: Kept) -> str:
    """How an answer begins, in words."""
    found: list[str] = []
    length = 0
    for body in _bodies(kept):
        try:
            said = [place.text for place in client.reply_texts(body)]
        except OstiaryError:
            continue
        found += said
        length += sum(map(len, said))
        if length >= SEMANTIC_TEXT_CHARS_MAX:
            break
    return "".join(found)[:SEMANTIC_TEXT_CHARS_MAX]


def _bodies(kept: Kept) -> list[bytes]:
    """The JSON objects of an answer: one, or one an event."""
    whole = b"".join(kept.pieces)
    if not kept.streamed:
        return [whole]
    lines = (line.strip() for line in whole.splitlines())
    return [line[5:].strip() for line in lines if line.startswith(b"data:")]
