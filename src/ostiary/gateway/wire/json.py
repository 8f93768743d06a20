"""Strict JSON: one pass decides what is a document; everything later reads the same bytes."""

import msgspec


class Document(msgspec.Struct, frozen=True):
    """A JSON object that passed the strict pass: its bytes and its decoded tree."""

    raw: bytes
    tree: dict[str, object]
