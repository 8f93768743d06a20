"""A chat completion, plain or streamed."""

# ruff: noqa: ARG002 - the contract hands every task what only some of them use

from collections.abc import Sequence

import msgspec

from ostiary.core.call import ChatCall
from ostiary.core.capability import Capability, Need
from ostiary.core.decision import Deny
from ostiary.core.error import UpstreamError
from ostiary.core.http import Header
from ostiary.core.label import Sensitivity
from ostiary.core.message import Role, TextPart
from ostiary.core.principal import Principal
from ostiary.core.reply import ChatReply, Choice, FinishReason
from ostiary.core.stream import (
    ChoiceFinished,
    Finished,
    PartStarted,
    Started,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ClientDialect, Encoded, PromptCache, ProviderDialect, StreamEncoder, TextPlace
from ostiary.gateway.guard.screen import screen_stream
from ostiary.gateway.meter import estimate
from ostiary.gateway.meter.doubt import worth_counting
from ostiary.gateway.policy.access import Ask, Grant, Grants
from ostiary.gateway.relay import Relay
from ostiary.gateway.task import Terms, Told
from ostiary.gateway.task.marks import cached
from ostiary.gateway.wire import json
from ostiary.snapshot.index import Target

_HOLD_OUTPUT_TOKENS = 4_096
"""How much output is held for where neither the caller nor a cap bounds it."""


_TURNS = ("messages", "contents", "input", "prompt")
"""Under which name the dialects have the conversation."""

_SAID, _PART = 3, 5
"""How long the path to a turn's text is, and to that of one of its parts."""


class Chat:
    """Implements Task. Where client and provider speak one dialect, the bytes pass with the named edits alone;
    otherwise the canonical call is built, once, when first needed."""

    raw = False

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        self._client = client
        self._addressed = addressed = arrival.addressed
        self._request_id = arrival.request_id
        self._document = json.parse(body)
        self._peek = peek = client.peek_chat(self._document, addressed)
        self._call: ChatCall | None = None
        self._need: Need | None = None
        self.model = peek.model
        self.stream = peek.stream
        self.end_user = peek.end_user

    def grant(self, grants: Grants, principal: Principal) -> Grant | Deny:
        return grants.find(principal, self.model)

    def ask(self, model: str, label: Sensitivity) -> Ask:
        peek = self._peek
        return Ask(model, label, peek.max_tokens, peek.tool_depth)

    def bound(self, cap: int | None) -> Usage:
        peek = self._peek
        return Usage(
            estimate.input_tokens(peek.prompt_bytes, peek.messages),
            (peek.max_tokens or cap or _HOLD_OUTPUT_TOKENS) * peek.choices,
        )

    def need(self) -> Need:
        need = self._need
        if need is None:
            peek, raw = self._peek, self._document.raw
            need = self._need = Need(
                self._client.chat_needs(self._document, media=bool(peek.media)),
                estimate.least_input_tokens(raw, len(raw) - peek.prompt_bytes),
                peek.max_tokens,
            )
        return need

    def encode(self, target: Target, provider: ProviderDialect, terms: Terms) -> Encoded:
        peek = self._peek
        unbounded = peek.max_tokens is None
        lifetime = target.model.prompt_cache
        cache = PromptCache(lifetime, terms.cache_key) if lifetime else None
        if provider.name is self._client.name:
            return provider.forward_chat(
                self._document,
                model=target.request_model,
                report_usage=peek.stream,
                max_tokens=terms.cap if unbounded else None,
                drop=terms.drop,
                addressed=self._addressed,
                prompt_cache=cache,
            )
        # A dialect that must have a bound gets the entry's default where neither caller nor cap gave one.
        cap = terms.cap if terms.cap is not None else target.model.default_max_tokens
        call = self.canonical() if cache is None else cached(self.canonical(), target, provider.name, cache)
        return provider.encode_chat(
            call, model=target.request_model, max_tokens=cap if unbounded else None, drop=terms.drop
        )

    def here(self, target: Target) -> Told | None:
        return None

    def told(
        self, target: Target, provider: ProviderDialect, headers: Sequence[Header], body: bytes, now_seconds: int
    ) -> Told:
        if provider.name is self._client.name:
            tap = provider.tap_chat_reply(body)
            counted = tap.usage is None or worth_counting(tap.usage, len(body))
            produced = _produced_bytes(provider, body) if counted else 0
            return Told(body, tap.usage, tap.response_model, tap.finish_reason, produced)
        reply = provider.decode_chat_reply(body)
        finish = reply.choices[0].finish_reason if reply.choices else None
        return Told(
            self._client.encode_chat_reply(self._named(reply, target), created=now_seconds),
            reply.usage,
            reply.response_model,
            str(finish or ""),
            reply.produced_bytes(),
            reply=reply,
        )

    def relay(
        self, target: Target, provider: ProviderDialect, now_seconds: int, status: int, headers: Sequence[Header]
    ) -> Relay:
        del status, headers  # all of a stream that succeeded stands in its events
        include_usage = self._peek.include_usage
        passes = provider.name is self._client.name
        encoder = self._client.stream_encoder(
            include_usage=include_usage, created=now_seconds, addressed=self._addressed
        )
        return Relay(
            provider.stream_decoder(events=not passes),
            encoder,
            screen_stream(),
            passes=passes,
            include_usage=include_usage,
            stand_in=None if passes else Started(self._request_id, target.request_model),
        )

    def _named(self, reply: ChatReply, target: Target) -> ChatReply:
        """The reply under an id and a model, whatever its provider leaves open of them."""
        if reply.id and reply.response_model:
            return reply
        return msgspec.structs.replace(
            reply, id=reply.id or self._request_id, response_model=reply.response_model or target.request_model
        )

    def canonical(self) -> ChatCall:
        """The call in our terms; built when first asked for. Raises CallerError."""
        if self._call is None:
            self._call = self._client.decode_chat(self._document, self._addressed)
        return self._call

    def structured(self) -> bool:
        """Whether the request may ask for structured output; certainly not where this is False. Costs next to nothing."""
        if not {Capability.STRUCTURED_OUTPUT, Capability.TOOLS}.isdisjoint(self.need().capabilities):
            return True
        raw = self._document.raw
        return b"json_object" in raw or b"application/json" in raw

    def question(self) -> str:
        """The text of the last thing the user said."""
        for message in reversed(self.canonical().messages):
            if message.role is Role.USER:
                return "\n".join(part.text for part in message.parts if isinstance(part, TextPart))
        return ""

    def said(self, text: str, now_seconds: int) -> bytes:
        """A whole answer of ours, in the client's words."""
        choice = Choice((TextPart(text),), FinishReason.STOP)
        return self._client.encode_chat_reply(
            ChatReply(self._request_id, self.model, (choice,), Usage()), created=now_seconds
        )

    def spoken(self, text: str, now_seconds: int) -> tuple[StreamEncoder, bytes]:
        """The same as a whole stream, and what encoded it."""
        encoder = self._client.stream_encoder(
            include_usage=self._peek.include_usage, created=now_seconds, addressed=self._addressed
        )
        events: tuple[StreamEvent, ...] = (
            Started(self._request_id, self.model, usage=Usage()),
            PartStarted(0, 0, TextPart("")),
            TextDelta(0, 0, text),
            ChoiceFinished(0, FinishReason.STOP),
            UsageReported(Usage()),
            Finished(),
        )
        return encoder, b"".join(encoder.encode(event) for event in events)

    def last_words(self) -> tuple[str, bytes] | None:
        """The text that ends the conversation, where a person says it, and the request with nothing in its place; None
        where something else stands at the end."""
        tree = self._document.tree
        for name in _TURNS:
            turns = tree.get(name)
            if turns is not None:
                break
        else:
            return None
        last = len(turns) - 1 if type(turns) is list else -1
        found: TextPlace | None = None
        for place in self._client.request_texts(self._document):
            path = place.path
            if path[0] != name or (len(path) > 1 and path[1] != last):
                continue
            if len(path) == 1 or (len(path) == _SAID and path[-1] == "content") or _is_part(path):
                found = place
        if found is None or found.role is not Role.USER:
            return None
        return found.text, self._client.edit_request(self._document, {found.path: ""})

    def estimated(self, produced_bytes: int) -> Usage | None:
        peek = self._peek
        return Usage(
            estimate.input_tokens(peek.prompt_bytes, peek.messages),
            estimate.output_tokens(produced_bytes),
        )


def _is_part(path: tuple[str | int, ...]) -> bool:
    return len(path) == _PART and path[2] in ("content", "parts") and path[-1] == "text"


def _produced_bytes(provider: ProviderDialect, body: bytes) -> int:
    """How much a model said in an answer that passes through: all of it where its form is not wholly known."""
    try:
        return provider.decode_chat_reply(body).produced_bytes()
    except UpstreamError:
        return len(body)
