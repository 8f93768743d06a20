"""Places of text in Anthropic's requests and answers."""

from collections.abc import Mapping
from typing import Final

from ostiary.core.message import Role
from ostiary.gateway.dialect import TextPlace
from ostiary.gateway.wire.json import Document, parse_answer
from ostiary.gateway.wire.place import Path, Structure, edited, places

# `data` is inline media, opaque thinking, or the text of a plain document: text is never left unread for its name.
_REQUEST: Final = Structure(
    structural=frozenset(
        {
            "model", "role", "type", "id", "tool_use_id", "media_type", "signature", "file_id", "service_tier", "ttl",
            "effort", "display", "inference_geo", "speed", "workspace_id", "encrypted_content", "encrypted_index",
        }
    ),
    free=frozenset({"input", "input_schema", "schema", "metadata", "input_examples"}),
    speakers={"system": Role.SYSTEM, "tools": Role.SYSTEM, "output_config": Role.SYSTEM, "output_format": Role.SYSTEM},
    opaque=frozenset({"base64", "redacted_thinking"}),
)  # fmt: skip
_REPLY: Final = Structure(
    structural=frozenset(
        {
            "id", "model", "role", "type", "stop_reason", "signature", "service_tier", "tool_use_id", "inference_geo",
            "speed", "encrypted_content", "encrypted_index",
        }
    ),
    free=frozenset({"input"}),
    opaque=frozenset({"base64", "redacted_thinking"}),
)  # fmt: skip


def request_texts(document: Document) -> list[TextPlace]:
    """See gateway/dialect. A tool call's input is read string by string."""
    return places(document.tree, _REQUEST, Role.USER)


def edit_request(document: Document, edits: Mapping[Path, str]) -> bytes:
    """See gateway/dialect."""
    return edited(document, edits)


def reply_texts(body: bytes) -> list[TextPlace]:
    """See gateway/dialect."""
    return places(parse_answer(body).tree, _REPLY, Role.ASSISTANT)
