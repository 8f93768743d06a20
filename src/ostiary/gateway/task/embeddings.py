"""Vectors for texts."""

# ruff: noqa: ARG002 - the contract hands every task what only some of them use

from collections.abc import Sequence

import msgspec

from ostiary.core.call import EmbeddingsCall
from ostiary.core.capability import NO_NEED, Need
from ostiary.core.decision import Deny
from ostiary.core.error import Code, GatewayError, UpstreamError
from ostiary.core.http import Header
from ostiary.core.label import Sensitivity
from ostiary.core.principal import Principal
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ClientDialect, Encoded, ProviderDialect
from ostiary.gateway.meter import estimate
from ostiary.gateway.policy.access import Ask, Grant, Grants
from ostiary.gateway.relay import Relay
from ostiary.gateway.task import Terms, Told, batch
from ostiary.gateway.wire import json
from ostiary.gateway.wire.vector import listed, packed
from ostiary.snapshot.index import Target


class Embeddings:
    """Implements Task. Across dialects a client gets vectors in the form it asked for, whichever the provider gives."""

    stream = False
    raw = False

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        self._client = client
        self._addressed = addressed = arrival.addressed
        self._document = json.parse(body)
        self._peek = peek = client.peek_embeddings(self._document, addressed)
        self._call: EmbeddingsCall | None = None
        self._member = "requests" if addressed.batch else "input"
        self._sizes: tuple[int, ...] = ()
        self.model = peek.model
        self.end_user = peek.end_user

    def grant(self, grants: Grants, principal: Principal) -> Grant | Deny:
        return grants.find(principal, self.model)

    def ask(self, model: str, label: Sensitivity) -> Ask:
        return Ask(model, label)

    def bound(self, cap: int | None) -> Usage:
        return self.estimated(0)

    def need(self) -> Need:
        return NO_NEED

    def encode(self, target: Target, provider: ProviderDialect, terms: Terms) -> Encoded:
        model = target.request_model
        most = target.provider.embedding_inputs_max or provider.embedding_inputs(model)
        inputs = self._peek.inputs
        self._sizes = sizes = batch.sizes_of(inputs, most, self._member) if inputs > most else ()
        if self._passes(provider, model):
            told = batch.documents(self._document, self._member, sizes) if sizes else [self._document]
            parts = [provider.forward_embeddings(one, model=model, addressed=self._addressed) for one in told]
        else:
            if self._call is None:
                self._call = self._client.decode_embeddings(self._document, self._addressed)
            asked = batch.calls(self._call, sizes) if sizes else [self._call]
            parts = [provider.encode_embeddings(one, model=model, drop=terms.drop) for one in asked]
        return msgspec.structs.replace(parts[0], rest=tuple(parts[1:])) if sizes else parts[0]

    def here(self, target: Target) -> Told | None:
        return None

    def told(
        self, target: Target, provider: ProviderDialect, headers: Sequence[Header], body: bytes, now_seconds: int
    ) -> Told:
        same = self._passes(provider, target.request_model)
        if not self._sizes:
            reply = provider.decode_embeddings_reply(body)
            if same:
                return Told(body, reply.usage, reply.response_model)
        else:
            replies = [provider.decode_embeddings_reply(one) for one in _items(body)]
            reply = batch.joined(replies, self._sizes)
            if same:
                out = self._client.encode_embeddings_reply(reply, self._addressed)
                return Told(out, reply.usage, reply.response_model)
        asked = self._call
        form = packed if asked is not None and asked.encoding_format == "base64" else listed
        shaped = msgspec.structs.replace(reply, vectors=tuple(form(vector) for vector in reply.vectors))
        out = self._client.encode_embeddings_reply(shaped, self._addressed)
        return Told(out, reply.usage, reply.response_model)

    def _passes(self, provider: ProviderDialect, model: str) -> bool:
        return provider.name is self._client.name and provider.embeddings_pass(model)

    def relay(
        self, target: Target, provider: ProviderDialect, now_seconds: int, status: int, headers: Sequence[Header]
    ) -> Relay:
        del target, provider, now_seconds, status, headers
        raise GatewayError(Code.GATEWAY_INTERNAL, "Embeddings are not streamed.")

    def estimated(self, produced_bytes: int) -> Usage:
        return Usage(estimate.input_tokens(self._peek.prompt_bytes, 1), 0)


def _items(body: bytes) -> list[bytes]:
    """The answers to the parts of a request, as gateway/parts.py puts them together."""
    try:
        return [bytes(one) for one in json.raw_items(body)]
    except msgspec.DecodeError:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer is no JSON.") from None
