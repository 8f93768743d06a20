"""What a model says instead of a failure, where its entry asks for that: the first of its answers that fits a call.

An answer may be for some questions alone (a FAQ), for some callers (a condition), for both, or for everything. It is told
in the client's dialect, as a stream where a stream was asked for, and says in a header what it is.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import msgspec

from ostiary.core.error import Code, OstiaryError
from ostiary.core.http import JSON_TYPE, Header
from ostiary.core.label import Sensitivity
from ostiary.core.limit import WEBHOOK_ANSWER_BYTES_MAX
from ostiary.core.reply import FinishReason
from ostiary.gateway.account import Account
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.cache.recall import Recollection
from ostiary.gateway.handover import handed_over
from ostiary.gateway.ports import Kept, PhaseTimeouts, UpstreamRequest
from ostiary.gateway.relay import stream_headers
from ostiary.gateway.route.plan import JUDGED, TRY_NEXT
from ostiary.gateway.routing import judge
from ostiary.gateway.task import Task
from ostiary.gateway.task.chat import Chat
from ostiary.gateway.world import World
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import DegradedAnswerRow, DegradedRow, Residency, WebhookRow

LIKENESS_MIN: Final = 0.8
"""Of all the words of two questions that are the same one, so many are in both."""

PLACES: Final = ("reason", "request_id", "model", "retry_after_seconds")
"""What a text may have filled in."""

_OK: Final = 200
_STOOD_IN_FOR: Final = TRY_NEXT - {Code.REQUEST_UNSUPPORTED} | {Code.UPSTREAM_UNAVAILABLE} | JUDGED
"""Failures for which an old answer may stand in."""

_WORD: Final = re.compile(r"\w+")


class Call(Protocol):
    """What is asked of a call. `degraded` is what its model's entry has for failures."""

    world: World
    index: Index
    arrival: Arrival
    draft: Draft
    account: Account
    task: Task
    body: bytes
    degraded: DegradedRow | None
    recollection: Recollection | None


async def ready_answer(call: Call, error: OstiaryError) -> Kept | None:
    """Something better than a failure, where the model's entry has it: an old answer, or a ready one, which is then on
    record as `degraded`. None where there is neither."""
    draft, recollection = call.draft, call.recollection
    if recollection is not None and error.code in _STOOD_IN_FOR:
        kept = await recollection.stale(call.world.clock.now_ns() // 1_000_000_000)
        if kept is not None:
            draft.fallback = error.code
            return kept
    if call.degraded is None or not isinstance(call.task, Chat):
        return None
    ready = await _ready(call, call.task, call.degraded, error)
    if ready is not None:
        draft.fallback, draft.degraded, draft.provider, draft.request_model = error.code, True, "", ""
    return ready


def fitting(
    row: DegradedRow, code: Code, question: Callable[[], str], holds: Callable[[str], bool | None]
) -> Iterator[DegradedAnswerRow]:
    """The answers that may be given instead of a failure of this reason, in their order. `holds` judges a condition and
    `question` is the user's last word, asked for where that matters."""
    if code not in row.on:
        return
    words: frozenset[str] | None = None
    for one in row.answers:
        if one.when and holds(one.when) is not True:
            continue
        if one.questions:
            if words is None:
                words = words_of(question())
            if not any(alike(words, words_of(asked)) for asked in one.questions):
                continue
        yield one


def words_of(text: str) -> frozenset[str]:
    """The words of a text, whatever their case and order."""
    return frozenset(_WORD.findall(text.casefold()))


def alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two questions have so many words in common that they are one; numbers must be the same."""
    if not one or not other:
        return False
    if len(one & other) < LIKENESS_MIN * len(one | other):
        return False
    return not any(word.isnumeric() for word in one ^ other)


def written(text: str, error: OstiaryError, request_id: str, model: str) -> str:
    """A text with its places filled in."""
    filled = (str(error.code), request_id, model, str(math.ceil(error.retry_after_seconds or 0)))
    for place, value in zip(PLACES, filled, strict=True):
        text = text.replace(f"{{{place}}}", value)
    return text


async def _ready(call: Call, task: Chat, row: DegradedRow, error: OstiaryError) -> Kept | None:
    """The answer as it goes to the client, None where none fits."""
    world, draft = call.world, call.draft
    holds = judge(world, call.arrival, draft, call.account.bound, task.need)
    for one in fitting(row, error.code, task.question, holds):
        if one.handover is not None:
            ticket = await handed_over(call, one.handover, error)
            if ticket is not None:
                return ticket
            continue
        if one.webhook is None:
            text: str | None = written(one.text, error, draft.request_id, draft.original_model)
        else:
            text = await _asked(call, task, one.webhook, error)
        if text is None:
            continue
        now_seconds = world.clock.now_ns() // 1_000_000_000
        if not task.stream:
            return _as_kept((JSON_TYPE,), task.said(text, now_seconds), now_seconds)
        encoder, data = task.spoken(text, now_seconds)
        return _as_kept(stream_headers(encoder), data, now_seconds, encoder.keepalive)
    return None


class _Said(msgspec.Struct, frozen=True):
    text: str


async def _asked(call: Call, task: Chat, hook: WebhookRow, error: OstiaryError) -> str | None:
    """What the application's own webhook says; None where it says nothing, or nothing of use, in its time, and where the
    call's data may not go there."""
    world, draft = call.world, call.draft
    provider = call.index.providers[hook.provider]
    if draft.label is Sensitivity.REGULATED and provider.residency is not Residency.PRIVATE:
        return None
    principal = call.arrival.principal
    body = msgspec.json.encode(
        {
            "reason": error.code,
            "request_id": draft.request_id,
            "model": draft.original_model,
            "tenant": principal.tenant,
            "team": principal.team,
            "metadata": call.arrival.options.metadata.fields,
            "question": task.question(),
        }
    )
    seconds = hook.timeout_seconds
    timeouts = PhaseTimeouts(seconds, seconds, seconds, world.clock.monotonic() + seconds)
    request = UpstreamRequest(
        provider.origin,
        b"POST",
        (provider.path + hook.path).encode() or b"/",
        (*world.provider_headers(provider), JSON_TYPE),
        body,
        timeouts,
        provider.tls,
        provider.proxy,
    )
    keys = world.keys.get(provider.name)
    key = None if keys is None else keys.pick(world.clock.monotonic())
    try:
        reply = await world.upstream.send(await world.proven(provider if key is None else key.row, request))
        try:
            if reply.status != _OK:
                return None
            return _SAID.decode(await reply.read(WEBHOOK_ANSWER_BYTES_MAX)).text
        finally:
            reply.close()
    except (OstiaryError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


_SAID: Final = msgspec.json.Decoder(_Said)


def _as_kept(headers: tuple[Header, ...], data: bytes, now_seconds: int, keepalive: bytes | None = None) -> Kept:
    """In the form of an answer that was kept, which is given in the same way."""
    return Kept(
        headers,
        (data,),
        keepalive is not None,
        keepalive or b"",
        "",
        "",
        FinishReason.STOP,
        now_seconds,
        now_seconds,
        now_seconds,
    )
