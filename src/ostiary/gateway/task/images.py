"""Images made, edited and varied (OpenAI's /images/generations, /images/edits and /images/variations)."""

# ruff: noqa: ARG002 - the contract hands every task what only some of them use

from typing import Final

from ostiary.core.limit import IMAGE_PROMPT_CHARS_MAX, IMAGES_MAX, MODEL_NAME_BYTES_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ClientDialect
from ostiary.gateway.meter import estimate
from ostiary.gateway.task.forwarded import ForwardedForm, ForwardedJson, form_flag, form_number
from ostiary.gateway.wire.field import beyond, invalid, model_name, whole_number

_PARTIAL_IMAGES_MAX: Final = 3

# Held for what is not known before: a large image of the highest quality takes some 6,000 tokens, each partial one a
# hundred more, and one that is shown to the model as many as one that it makes.
_TOKENS_PER_IMAGE: Final = 10_000

_FILES: Final = ("image", "image[]", "mask")


class ImageGeneration(ForwardedJson):
    """Implements Task."""

    images = True

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        super().__init__(client, arrival, body)
        tree = self.document.tree
        self.model = model_name(tree)
        prompt = tree.get("prompt")
        if type(prompt) is not str or not prompt:
            invalid("prompt", "must be a string that is not empty")
        if len(prompt) > IMAGE_PROMPT_CHARS_MAX:
            beyond("prompt", IMAGE_PROMPT_CHARS_MAX, "characters")
        wanted, stream, user = tree.get("n"), tree.get("stream"), tree.get("user")
        if wanted is not None:
            self.results = whole_number(wanted, "n", 1, IMAGES_MAX)
        if stream is not None and type(stream) is not bool:
            invalid("stream", "must be true or false")
        if user is not None and type(user) is not str:
            invalid("user", "must be a string")
        if tree.get("partial_images") is not None:
            whole_number(tree["partial_images"], "partial_images", 0, _PARTIAL_IMAGES_MAX)
        self.stream = bool(stream)
        self.end_user = user
        self._prompt_bytes = len(self.document.raw)

    def bound(self, cap: int | None) -> Usage:
        return _most(self._prompt_bytes, self.results, 0)

    def estimated(self, produced_bytes: int) -> Usage:
        return Usage(images=self.results)


class ImageChange(ForwardedForm):
    """Implements Task for edits and variations."""

    images = True

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        super().__init__(client, arrival, body)
        form = self.form
        self.model = model_name({"model": form.text("model", MODEL_NAME_BYTES_MAX)})
        self.results = form_number(form, "n", 1, IMAGES_MAX) or 1
        form_number(form, "partial_images", 0, _PARTIAL_IMAGES_MAX)
        form.text("prompt", 4 * IMAGE_PROMPT_CHARS_MAX)
        self.stream = form_flag(form, "stream")
        self.end_user = form.text("user", MODEL_NAME_BYTES_MAX)
        self._shown = form.count(*_FILES)
        if not self._shown:
            invalid("image", "must be a file")
        if self._shown > IMAGES_MAX + 1:
            beyond("image", IMAGES_MAX, "files")

    def bound(self, cap: int | None) -> Usage:
        return _most(self.form.size("prompt"), self.results, self._shown)

    def estimated(self, produced_bytes: int) -> Usage:
        return Usage(images=self.results)


def _most(prompt_bytes: int, made: int, shown: int) -> Usage:
    return Usage(
        input_tokens=estimate.input_tokens(prompt_bytes, 1) + shown * _TOKENS_PER_IMAGE,
        output_tokens=made * _TOKENS_PER_IMAGE,
        images=made,
    )
