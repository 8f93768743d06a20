"""Where a provider's endpoints stand below its base URL, for the operations whose requests pass as they came: one row
per dialect. What has no place here is not offered by providers of that dialect."""

from collections.abc import Mapping
from typing import Final

from ostiary.core.call import DialectName, Operation

PATHS: Final[Mapping[DialectName, Mapping[Operation, bytes]]] = {
    DialectName.OPENAI: {
        Operation.MODERATION: b"/moderations",
        Operation.IMAGE_GENERATION: b"/images/generations",
        Operation.IMAGE_EDIT: b"/images/edits",
        Operation.IMAGE_VARIATION: b"/images/variations",
        Operation.SPEECH: b"/audio/speech",
        Operation.TRANSCRIPTION: b"/audio/transcriptions",
        Operation.TRANSLATION: b"/audio/translations",
        Operation.RERANK: b"/rerank",
    },
    DialectName.COHERE: {Operation.RERANK: b"/v2/rerank"},
}
