"""How many tokens a chat request would take. Nothing is consumed, so nothing is metered."""

# ruff: noqa: ARG002 - the contract hands every task what only some of them use

from collections.abc import Sequence
from typing import Final

from ostiary.core.call import ChatCall
from ostiary.core.capability import NO_NEED, Need
from ostiary.core.decision import Deny
from ostiary.core.error import Code, GatewayError
from ostiary.core.http import JSON_TYPE, Header
from ostiary.core.label import Sensitivity
from ostiary.core.principal import Principal
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ClientDialect, Encoded, ProviderDialect
from ostiary.gateway.meter import estimate
from ostiary.gateway.policy.access import Ask, Grant, Grants
from ostiary.gateway.relay import Relay
from ostiary.gateway.task import Terms, Told
from ostiary.gateway.wire import json
from ostiary.snapshot.index import Target

_ESTIMATED: Final[tuple[Header, ...]] = (JSON_TYPE, (b"x-ostiary-estimated", b"true"))


class CountTokens:
    """Implements Task. A provider without an endpoint for it is not asked: the count is then our own, and says so."""

    stream = False
    raw = False

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        self._client = client
        self._addressed = addressed = arrival.addressed
        self._document = json.parse(body)
        self._peek = peek = client.peek_chat(self._document, addressed)
        self._call: ChatCall | None = None
        self.model = peek.model
        self.end_user = peek.end_user

    def grant(self, grants: Grants, principal: Principal) -> Grant | Deny:
        return grants.find(principal, self.model)

    def ask(self, model: str, label: Sensitivity) -> Ask:
        peek = self._peek
        return Ask(model, label, peek.max_tokens, peek.tool_depth)

    def bound(self, cap: int | None) -> Usage:
        return Usage()

    def need(self) -> Need:
        return NO_NEED

    def encode(self, target: Target, provider: ProviderDialect, terms: Terms) -> Encoded:
        model = target.request_model
        if provider.name is self._client.name:
            return provider.forward_count_tokens(self._document, model=model)
        if self._call is None:
            self._call = self._client.decode_chat(self._document, self._addressed)
        return provider.encode_count_tokens(self._call, model=model, drop=terms.drop)

    def here(self, target: Target) -> Told | None:
        if target.provider.count_tokens:
            return None
        peek = self._peek
        count = estimate.input_tokens(peek.prompt_bytes, peek.messages)
        return Told(self._client.encode_token_count(count), None, headers=_ESTIMATED)

    def told(
        self, target: Target, provider: ProviderDialect, headers: Sequence[Header], body: bytes, now_seconds: int
    ) -> Told:
        count = provider.decode_token_count(body)
        same = provider.name is self._client.name
        return Told(body if same else self._client.encode_token_count(count), None)

    def relay(
        self, target: Target, provider: ProviderDialect, now_seconds: int, status: int, headers: Sequence[Header]
    ) -> Relay:
        del target, provider, now_seconds, status, headers
        raise GatewayError(Code.GATEWAY_INTERNAL, "A count of tokens is not streamed.")

    def estimated(self, produced_bytes: int) -> Usage | None:
        return None
