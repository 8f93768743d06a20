"""Places of text in completion requests and answers."""

from collections.abc import Mapping
from typing import Final

from ostiary.core.message import Role
from ostiary.gateway.dialect import TextPlace
from ostiary.gateway.wire.json import Document, parse_answer
from ostiary.gateway.wire.place import Path, Structure, edited, places

_REQUEST: Final = Structure(structural=frozenset({"model"}), free=frozenset({"metadata"}))
_REPLY: Final = Structure(
    structural=frozenset({"id", "object", "model", "finish_reason", "system_fingerprint", "tokens"}), free=frozenset()
)


def request_texts(document: Document) -> list[TextPlace]:
    """See gateway/dialect."""
    return places(document.tree, _REQUEST, Role.USER)


def edit_request(document: Document, edits: Mapping[Path, str]) -> bytes:
    """See gateway/dialect."""
    return edited(document, edits)


def reply_texts(body: bytes) -> list[TextPlace]:
    """See gateway/dialect."""
    return places(parse_answer(body).tree, _REPLY, Role.ASSISTANT)
