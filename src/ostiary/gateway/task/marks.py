"""Where the marks of a prompt cache go in a call that is translated, if the caller placed none. Pure.

As in `dialect/anthropic/marks.py`: behind the last tool, the system prompt and the turn before the last, each where enough
stands before it. Providers that go by a key instead get one; those that see for themselves get nothing.
"""

from typing import Final

import msgspec

from ostiary.core.call import ChatCall, DialectName
from ostiary.core.limit import PROMPT_CACHE_BYTES_MIN
from ostiary.core.message import CacheControl, Message, Part, Role, TextPart, ToolResultPart, ToolUsePart
from ostiary.gateway.dialect import PromptCache
from ostiary.snapshot.index import Target

_BY_MARK: Final = (DialectName.ANTHROPIC, DialectName.BEDROCK)
_BY_KEY: Final = (DialectName.OPENAI, DialectName.RESPONSES)
_INSTRUCTS: Final = (Role.SYSTEM, Role.DEVELOPER)
_CLAUDE, _NOVA = ("anthropic.", "claude"), ("amazon.nova",)
"""What the names of Bedrock's models with a prompt cache hold; Nova's take no mark behind tools, and no
lifetime."""


def cached(call: ChatCall, target: Target, dialect: DialectName, cache: PromptCache) -> ChatCall:
    """The call with marks, or with a key, as the provider's dialect has them; as it was where the caller has placed some,
    where it is too short, or where the model is not known to have such a cache."""
    if dialect in _BY_KEY:
        if call.prompt_cache_key is not None or "prompt_cache_key" in target.provider.profile.omit:
            return call
        return msgspec.structs.replace(call, prompt_cache_key=cache.key)
    if dialect not in _BY_MARK or _placed(call):
        return call
    tools_too = True
    lifetime = cache.lifetime
    if dialect is DialectName.BEDROCK:
        tools_too = any(word in target.request_model for word in _CLAUDE)
        if not tools_too and not any(word in target.request_model for word in _NOVA):
            return call
        lifetime = lifetime if tools_too else ""
    mark = CacheControl("1h" if lifetime == "1h" else "")
    before = sum(len(tool.parameters) + len(tool.description or "") + len(tool.name) for tool in call.tools)
    tools = call.tools
    if tools and tools_too and before >= PROMPT_CACHE_BYTES_MIN:
        tools = (*tools[:-1], msgspec.structs.replace(tools[-1], cache=mark))
    messages = list(call.messages)
    instructing = [place for place, one in enumerate(messages) if one.role in _INSTRUCTS]
    before += sum(map(_size, (messages[place] for place in instructing)))
    if instructing and before >= PROMPT_CACHE_BYTES_MIN:
        _mark(messages, instructing[-1], mark)
    turns = [place for place, one in enumerate(messages) if one.role not in _INSTRUCTS]
    before += sum(map(_size, (messages[place] for place in turns[:-1])))
    if len(turns) > 1 and before >= PROMPT_CACHE_BYTES_MIN:
        _mark(messages, turns[-2], mark)
    return msgspec.structs.replace(call, tools=tools, messages=tuple(messages))


def _placed(call: ChatCall) -> bool:
    return any(tool.cache is not None for tool in call.tools) or any(
        getattr(part, "cache", None) is not None for message in call.messages for part in message.parts
    )


def _mark(messages: list[Message], place: int, mark: CacheControl) -> None:
    """Put the mark behind a message, where its last part takes one."""
    message = messages[place]
    last: Part | None = message.parts[-1] if message.parts else None
    if isinstance(last, TextPart) and not last.text.strip():
        return
    if isinstance(last, TextPart | ToolUsePart | ToolResultPart):
        parts = (*message.parts[:-1], msgspec.structs.replace(last, cache=mark))
        messages[place] = msgspec.structs.replace(message, parts=parts)


def _size(message: Message) -> int:
    """About how many bytes a message has."""
    return sum(_bytes(part) for part in message.parts)


def _bytes(part: Part) -> int:
    if isinstance(part, TextPart):
        return len(part.text)
    if isinstance(part, ToolUsePart):
        return len(part.arguments)
    if isinstance(part, ToolResultPart):
        return sum(_bytes(one) for one in part.parts)
    return 0
