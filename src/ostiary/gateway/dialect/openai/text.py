"""Places of text in OpenAI's requests and answers."""

from collections.abc import Mapping
from typing import Final

from ostiary.core.message import Role
from ostiary.gateway.dialect import TextPlace
from ostiary.gateway.wire.json import Document, parse_answer
from ostiary.gateway.wire.place import Path, Structure, edited, places

_REQUEST: Final = Structure(
    structural=frozenset(
        {
            "model", "role", "type", "id", "tool_call_id", "detail", "format", "file_id", "file_data", "data",
            "encoding_format", "service_tier", "reasoning_effort", "mode", "ttl", "syntax", "tool_choice",
            "function_call", "verbosity", "voice", "modalities", "search_context_size", "prompt_cache_retention",
        }
    ),
    free=frozenset({"parameters", "schema", "metadata"}),
    speakers={
        "tools": Role.SYSTEM,
        "functions": Role.SYSTEM,
        "response_format": Role.SYSTEM,
        "prediction": Role.ASSISTANT,
    },
)  # fmt: skip
_REPLY: Final = Structure(
    structural=frozenset(
        {
            "id", "object", "model", "role", "type", "finish_reason", "service_tier", "system_fingerprint", "data",
            "token", "encoding_format", "embedding",
        }
    ),
    free=frozenset(),
)  # fmt: skip


def request_texts(document: Document) -> list[TextPlace]:
    """See gateway/dialect. A tool call's arguments are one place: the text that holds their JSON."""
    return places(document.tree, _REQUEST, Role.USER)


def edit_request(document: Document, edits: Mapping[Path, str]) -> bytes:
    """See gateway/dialect."""
    return edited(document, edits)


def reply_texts(body: bytes) -> list[TextPlace]:
    """See gateway/dialect."""
    return places(parse_answer(body).tree, _REPLY, Role.ASSISTANT)
