"""Whether an answer that came may be given, where its model's entry has something that stands ready for one that may not:
its structure and its quality. Nothing here is done for models without such a thing.

Streams are judged only where they end before anything was said: what a client has seen cannot be taken back.
"""

import asyncio
from typing import Protocol

from ostiary.core.error import Code, OstiaryError, UpstreamError
from ostiary.core.limit import JUDGED_AT_ONCE_CHARS_MAX, JUDGED_AT_ONCE_STEPS_COUNT_MAX
from ostiary.core.reply import ChatReply, Choice
from ostiary.gateway.dialect import ClientDialect
from ostiary.gateway.judge.quality import Facts, poor
from ostiary.gateway.judge.schema import TooMuch
from ostiary.gateway.judge.structure import Structure, breach, size, structure_of
from ostiary.gateway.task import Task, Told
from ostiary.gateway.task.chat import Chat
from ostiary.gateway.world import World
from ostiary.snapshot.index import Target
from ostiary.snapshot.tables import ChecksRow, QualityRow

_SILENT = (Choice((), None),)


class Call(Protocol):
    """What is asked of a call."""

    world: World
    client: ClientDialect
    task: Task


async def check_answer(call: Call, row: ChecksRow, target: Target, told: Told) -> None:
    """Raises UpstreamError upstream.schema or upstream.quality for a plain chat answer that may not be given. A large one is
    looked at in a thread."""
    task = call.task
    if not isinstance(task, Chat):
        return
    asked = _structure(task) if row.schema else None
    if asked is None and row.quality is None:
        return
    reply = told.reply or _read(call, target, told)
    if reply is None:
        return
    if asked is not None:
        found = await _breach(asked, reply.choices)
        if found is not None:
            raise _structureless(found)
    if row.quality is not None:
        _check_quality(call, row.quality, reply)


def check_silence(call: Call, row: ChecksRow) -> None:
    """The same for a stream that ended before anything was said."""
    task = call.task
    if not isinstance(task, Chat):
        return
    asked = _structure(task) if row.schema else None
    if asked is not None and asked.text:
        raise _structureless("it said nothing")
    if row.quality is not None:
        _check_quality(call, row.quality, ChatReply("", "", _SILENT, None))


async def _breach(asked: Structure, choices: tuple[Choice, ...]) -> str | None:
    """At once where that takes no time to speak of, else in a thread; what is too much to look at is not refused."""
    try:
        if size(asked, choices) <= JUDGED_AT_ONCE_CHARS_MAX:
            return breach(asked, choices, JUDGED_AT_ONCE_STEPS_COUNT_MAX)
    except TooMuch:
        pass
    try:
        return await asyncio.to_thread(breach, asked, choices)
    except TooMuch:
        return None


def _structureless(found: str) -> UpstreamError:
    return UpstreamError(Code.UPSTREAM_SCHEMA, f"The model did not keep to the structure asked for: {found}.")


def _check_quality(call: Call, row: QualityRow, reply: ChatReply) -> None:
    def holds(text: str, facts: Facts) -> bool:
        return call.world.conditions.on(lambda: facts)(text) is True

    for choice in reply.choices or _SILENT:
        found = poor(row, choice, holds)
        if found is not None:
            raise UpstreamError(Code.UPSTREAM_QUALITY, f"The model's answer is poor: {found}.")


def _structure(task: Chat) -> Structure | None:
    """What the request asks for, as far as it can be read in our terms."""
    if not task.structured():
        return None
    try:
        return structure_of(task.canonical())
    except OstiaryError:
        return None


def _read(call: Call, target: Target, told: Told) -> ChatReply | None:
    """An answer that passes as it came, in our terms; None where its form is not wholly known."""
    provider = call.world.provider_dialect(target.provider, call.client.name)
    try:
        return provider.decode_chat_reply(told.body)
    except UpstreamError:
        return None
