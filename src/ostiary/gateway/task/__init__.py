"""What a call asks for. One file per operation; the exchange tells the story, a task knows its own words.

A task is made once from the request's body and reads it strictly. It says what the rules need to know, puts the
request to a provider in that provider's dialect, and tells the answer in the client's. Pure but for nothing: no
socket, no clock.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ostiary.core.capability import Need
from ostiary.core.decision import Deny
from ostiary.core.http import JSON_TYPE, Header
from ostiary.core.label import Sensitivity
from ostiary.core.principal import Principal
from ostiary.core.reply import ChatReply
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Encoded, ProviderDialect
from ostiary.gateway.policy.access import Ask, Grant, Grants
from ostiary.gateway.relay import Carrier
from ostiary.snapshot.index import Target


class Terms(msgspec.Struct, frozen=True):
    """On what terms a request is put to a target: `cap` bounds the output where the caller set no bound itself (None:
    nothing does), `drop` allows what the target cannot be told to be left out, `cache_key` names those whose prompts
    may share a provider's cache."""

    cap: int | None
    drop: bool
    cache_key: str = ""


class Told(msgspec.Struct, frozen=True):
    """A plain answer as the client gets it, and what was learnt of it. `usage` is None where the provider reported
    none; `produced_bytes` is how much it said, where the usage leaves a wish to know. `reply` is a chat answer in our terms, where it had to be read so."""

    body: bytes
    usage: Usage | None
    response_model: str = ""
    finish_reason: str = ""
    produced_bytes: int = 0
    headers: tuple[Header, ...] = (JSON_TYPE,)
    reply: ChatReply | None = None


class Task(Protocol):
    """One call's own part. Every method raises CallerError for what the caller got wrong and UpstreamError for what
    the provider did."""

    model: str
    stream: bool
    """Whether the answer passes piece by piece."""
    raw: bool
    """Whether whatever the provider answers passes as it comes, its errors too."""
    end_user: str | None

    def grant(self, grants: Grants, principal: Principal) -> Grant | Deny:
        """What the principal may do with what is asked for."""
        ...

    def ask(self, model: str, label: Sensitivity) -> Ask:
        """What the rules look at."""
        ...

    def bound(self, cap: int | None) -> Usage:
        """The most the call may consume, for the hold."""
        ...

    def need(self) -> Need:
        """What the call needs of a model; worked out when first asked for."""
        ...

    def encode(self, target: Target, provider: ProviderDialect, terms: Terms) -> Encoded:
        """The request in the target's words, made anew from what the client sent."""
        ...

    def here(self, target: Target) -> Told | None:
        """The answer where no provider needs to be asked, or None."""
        ...

    def told(
        self, target: Target, provider: ProviderDialect, headers: Sequence[Header], body: bytes, now_seconds: int
    ) -> Told:
        """A provider's plain answer in the client's words."""
        ...

    def relay(
        self, target: Target, provider: ProviderDialect, now_seconds: int, status: int, headers: Sequence[Header]
    ) -> Carrier:
        """What carries a provider's answer of this head to the client, piece by piece."""
        ...

    def estimated(self, produced_bytes: int) -> Usage | None:
        """What the call consumed, counted by us, where the provider reported nothing; None where nothing is metered."""
        ...
