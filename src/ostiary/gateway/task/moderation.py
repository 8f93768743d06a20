"""Whether contents are harmful (OpenAI's /moderations)."""

# ruff: noqa: ARG002 - the contract hands every task what only some of them use

from ostiary.core.limit import MODERATION_INPUTS_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ClientDialect
from ostiary.gateway.meter import estimate
from ostiary.gateway.task.forwarded import ForwardedJson
from ostiary.gateway.wire.field import beyond, invalid, model_name


class Moderation(ForwardedJson):
    """Implements Task. Where a provider reports no usage, as OpenAI whose moderation is free, nothing but the request
    itself is charged."""

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        super().__init__(client, arrival, body)
        tree = self.document.tree
        self.model = model_name(tree)
        given = tree.get("input")
        if type(given) is list and given:
            if len(given) > MODERATION_INPUTS_MAX:
                beyond("input", MODERATION_INPUTS_MAX, "items")
        elif type(given) is not str:
            invalid("input", "must be a string or an array that is not empty")
        self._inputs = len(given) if type(given) is list else 1

    def bound(self, cap: int | None) -> Usage:
        return Usage(estimate.input_tokens(len(self.document.raw), self._inputs))

    def estimated(self, produced_bytes: int) -> Usage:
        return Usage()
