"""Places of text in requests and answers of the responses form."""

from collections.abc import Mapping
from typing import Final

from ostiary.core.message import Role
from ostiary.gateway.dialect import TextPlace
from ostiary.gateway.wire.json import Document, parse_answer
from ostiary.gateway.wire.place import Path, Structure, edited, places

_SAID: Final = frozenset(
    {
        "model", "role", "type", "id", "call_id", "status", "phase", "encrypted_content", "service_tier", "effort",
        "tool_choice", "truncation", "verbosity", "summary", "prompt_cache_retention",
    }
)  # fmt: skip
_KINDS: Final = {
    "reasoning": Role.ASSISTANT,
    "function_call": Role.ASSISTANT,
    "custom_tool_call": Role.ASSISTANT,
    "function_call_output": Role.TOOL,
    "custom_tool_call_output": Role.TOOL,
}
_FREE: Final = frozenset({"parameters", "output_schema", "schema", "metadata"})
_SPEAKERS: Final = {"instructions": Role.SYSTEM, "tools": Role.SYSTEM, "text": Role.SYSTEM}
_REQUEST: Final = Structure(
    structural=_SAID
    | {"detail", "file_id", "file_data", "mode", "ttl", "syntax", "search_context_size", "previous_response_id"},
    free=_FREE,
    speakers=_SPEAKERS,
    kinds=_KINDS,
)
_REPLY: Final = Structure(
    structural=_SAID | {"object", "token", "reason", "previous_response_id"},
    free=_FREE,
    speakers=_SPEAKERS,
    kinds=_KINDS,
)


def request_texts(document: Document) -> list[TextPlace]:
    """See gateway/dialect. A tool call's arguments are one place: the text that holds their JSON."""
    return places(document.tree, _REQUEST, Role.USER)


def edit_request(document: Document, edits: Mapping[Path, str]) -> bytes:
    """See gateway/dialect."""
    return edited(document, edits)


def reply_texts(body: bytes) -> list[TextPlace]:
    """See gateway/dialect."""
    return places(parse_answer(body).tree, _REPLY, Role.ASSISTANT)
