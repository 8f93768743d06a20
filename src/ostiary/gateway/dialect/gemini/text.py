"""Places of text in Google's requests and answers."""

from collections.abc import Mapping
from typing import Final

from ostiary.core.message import Role
from ostiary.gateway.dialect import TextPlace
from ostiary.gateway.wire.json import Document, parse_answer
from ostiary.gateway.wire.place import Path, Structure, edited, places

# `data` is base64 wherever it stands in this form.
_REQUEST: Final = Structure(
    structural=frozenset(
        {
            "model", "role", "id", "mimeType", "mime_type", "data", "fileUri", "file_uri", "thoughtSignature",
            "thought_signature", "mode", "category", "threshold", "method", "responseMimeType", "response_mime_type",
            "thinkingLevel", "thinking_level", "mediaResolution", "media_resolution", "responseModalities",
            "response_modalities", "cachedContent", "cached_content", "serviceTier", "service_tier", "taskType",
            "task_type", "language", "outcome", "behavior", "scheduling", "voiceName", "voice_name", "languageCode",
            "language_code",
        }
    ),
    free=frozenset(
        {
            "args", "response", "parameters", "parametersJsonSchema", "parameters_json_schema", "responseSchema",
            "response_schema", "responseJsonSchema", "response_json_schema", "labels",
        }
    ),
    speakers={
        "systemInstruction": Role.SYSTEM,
        "system_instruction": Role.SYSTEM,
        "tools": Role.SYSTEM,
        "generationConfig": Role.SYSTEM,
        "generation_config": Role.SYSTEM,
    },
)  # fmt: skip
_REPLY: Final = Structure(
    structural=frozenset(
        {
            "role", "id", "finishReason", "modelVersion", "responseId", "createTime", "blockReason", "category",
            "probability", "severity", "mimeType", "data", "fileUri", "thoughtSignature", "token", "modality",
            "language", "outcome", "trafficType", "serviceTier",
        }
    ),
    free=frozenset({"args"}),
)  # fmt: skip


def request_texts(document: Document) -> list[TextPlace]:
    """See gateway/dialect. A function call's arguments and a function's response are read string by string."""
    return places(document.tree, _REQUEST, Role.USER)


def edit_request(document: Document, edits: Mapping[Path, str]) -> bytes:
    """See gateway/dialect."""
    return edited(document, edits)


def reply_texts(body: bytes) -> list[TextPlace]:
    """See gateway/dialect."""
    return places(parse_answer(body).tree, _REPLY, Role.ASSISTANT)
