"""Which task an operation is. The list is explicit: an operation that is not here is not served."""

from collections.abc import Callable, Mapping
from typing import Final

from ostiary.core.call import Operation
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ClientDialect
from ostiary.gateway.task import Task
from ostiary.gateway.task.chat import Chat
from ostiary.gateway.task.count_tokens import CountTokens
from ostiary.gateway.task.embeddings import Embeddings
from ostiary.gateway.task.images import ImageChange, ImageGeneration
from ostiary.gateway.task.moderation import Moderation
from ostiary.gateway.task.passthrough import Passthrough
from ostiary.gateway.task.rerank import Rerank
from ostiary.gateway.task.speech import Speech
from ostiary.gateway.task.transcription import Transcription

TASKS: Final[Mapping[Operation, Callable[[ClientDialect, Arrival, bytes], Task]]] = {
    Operation.CHAT: Chat,
    Operation.EMBEDDINGS: Embeddings,
    Operation.COUNT_TOKENS: CountTokens,
    Operation.MODERATION: Moderation,
    Operation.IMAGE_GENERATION: ImageGeneration,
    Operation.IMAGE_EDIT: ImageChange,
    Operation.IMAGE_VARIATION: ImageChange,
    Operation.SPEECH: Speech,
    Operation.TRANSCRIPTION: Transcription,
    Operation.TRANSLATION: Transcription,
    Operation.RERANK: Rerank,
    Operation.PASSTHROUGH: Passthrough,
}
