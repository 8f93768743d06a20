"""A frame: what passes between a provider's stream, the guards and the client."""

import msgspec

from ostiary.core.stream import StreamEvent
from ostiary.core.usage import Usage


class Frame(msgspec.Struct, frozen=True):
    """One server-sent event as it came and what it means.

    `raw` is the event's bytes, its blank line included; joining the raws of all frames gives the stream back.
    `events` is empty where the decoder was asked for none. `content` is true where it carries something produced
    (text, tool call, thinking, refusal), `produced_bytes` of it in UTF-8; `usage_only` where it exists only to
    report usage, `terminal` where it ends the stream. `usage` is all that is known so far, where this frame
    reports some; `finish_reason` the provider's own word, where it gives one; `response_model` likewise.
    """

    raw: bytes
    events: tuple[StreamEvent, ...] = ()
    content: bool = False
    usage_only: bool = False
    terminal: bool = False
    usage: Usage | None = None
    usage_invalid: bool = False
    finish_reason: str = ""
    response_model: str = ""
    produced_bytes: int = 0
