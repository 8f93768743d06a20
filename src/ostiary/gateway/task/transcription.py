"""Speech written down, in its own language or in English (OpenAI's /audio/transcriptions and /audio/translations):
a form in; JSON, plain text, subtitles or events out, as the caller chose."""

# ruff: noqa: ARG002 - the contract hands every task what only some of them use

from typing import Final

from ostiary.core.limit import MODEL_NAME_BYTES_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ClientDialect
from ostiary.gateway.meter import estimate
from ostiary.gateway.task.forwarded import ForwardedForm, form_flag
from ostiary.gateway.wire.field import invalid, model_name

# How long a file sounds is not known here. Speech is seldom compressed below 8 kbit/s and mostly to some 64 kbit/s.
_BYTES_PER_MILLISECOND_MIN: Final = 1
_BYTES_PER_MILLISECOND: Final = 8
_MILLISECONDS_PER_TOKEN: Final = 100


class Transcription(ForwardedForm):
    """Implements Task for transcriptions and translations."""

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        super().__init__(client, arrival, body)
        form = self.form
        self.model = model_name({"model": form.text("model", MODEL_NAME_BYTES_MAX)})
        file = form.find("file")
        if file is None or file.filename is None:
            invalid("file", "must be a file")
        self.stream = form_flag(form, "stream")
        self._file_bytes = file.end - file.start

    def bound(self, cap: int | None) -> Usage:
        return self._counted(_BYTES_PER_MILLISECOND_MIN)

    def estimated(self, produced_bytes: int) -> Usage:
        return self._counted(_BYTES_PER_MILLISECOND)

    def _counted(self, bytes_per_millisecond: int) -> Usage:
        milliseconds = -(-self._file_bytes // bytes_per_millisecond)
        sound = -(-milliseconds // _MILLISECONDS_PER_TOKEN)
        return Usage(
            input_tokens=estimate.input_tokens(self.form.size("prompt"), 1) + sound,
            output_tokens=sound,
            input_audio_tokens=sound,
            audio_milliseconds=milliseconds,
        )
