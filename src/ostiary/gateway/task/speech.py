"""Text spoken (OpenAI's /audio/speech): JSON in, sound out as it is made, or events where the caller wants these."""

# ruff: noqa: ARG002 - the contract hands every task what only some of them use

from typing import Final

from ostiary.core.limit import SPEECH_INPUT_CHARS_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ClientDialect
from ostiary.gateway.meter import estimate
from ostiary.gateway.task.forwarded import ForwardedJson
from ostiary.gateway.wire.field import beyond, invalid, model_name

# Sound is some 20 tokens a second, in which some 15 characters are spoken; slow speech takes longer.
_TOKENS_PER_CHARACTER: Final = 1.5
_TOKENS_PER_CHARACTER_MAX: Final = 6


class Speech(ForwardedJson):
    """Implements Task. Characters are counted here: no provider reports them."""

    stream = True

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        super().__init__(client, arrival, body)
        tree = self.document.tree
        self.model = model_name(tree)
        given = tree.get("input")
        if type(given) is not str or not given:
            invalid("input", "must be a string that is not empty")
        if len(given) > SPEECH_INPUT_CHARS_MAX:
            beyond("input", SPEECH_INPUT_CHARS_MAX, "characters")
        self.known = Usage(characters=len(given))

    def bound(self, cap: int | None) -> Usage:
        return self._counted(_TOKENS_PER_CHARACTER_MAX)

    def estimated(self, produced_bytes: int) -> Usage:
        return self._counted(_TOKENS_PER_CHARACTER)

    def _counted(self, tokens_per_character: float) -> Usage:
        characters = self.known.characters
        return Usage(
            input_tokens=estimate.input_tokens(len(self.document.raw), 1),
            output_tokens=int(characters * tokens_per_character) + 1,
            characters=characters,
        )
