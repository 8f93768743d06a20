"""Embeddings in OpenAI's form: requests and answers, both parts."""

from typing import Final

import msgspec

from ostiary.core.call import DialectName, EmbeddingsCall
from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import EMBEDDING_INPUTS_MAX
from ostiary.core.reply import EmbeddingsReply
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Encoded
from ostiary.gateway.dialect.openai.peek import peek_embeddings
from ostiary.gateway.wire.field import Fields, beyond, invalid
from ostiary.gateway.wire.json import Document, decode_as, encode, parse_answer
from ostiary.gateway.wire.leave import Leave
from ostiary.gateway.wire.openai import embedded_error
from ostiary.gateway.wire.openai_usage import decode_usage

PATH: Final = b"/embeddings"
_DIMENSIONS_MAX: Final = 1_000_000


class WireVector(msgspec.Struct):
    """One vector of an answer."""

    embedding: msgspec.Raw
    index: int = 0


class WireVectors(msgspec.Struct):
    """An answer to an embeddings call."""

    data: list[WireVector]
    model: str | None = None


_DECODER: Final = msgspec.json.Decoder(WireVectors)


def decode_embeddings(document: Document) -> EmbeddingsCall:
    """See gateway/dialect."""
    peek = peek_embeddings(document)
    fields = Fields(document.tree, "")
    fields.take("model")
    inputs = _inputs(fields.take("input"))
    encoding_format = fields.maybe_text("encoding_format") or ""
    if encoding_format not in ("", "float", "base64"):
        invalid("encoding_format", "must be float or base64")
    dimensions = fields.integer("dimensions", 1, _DIMENSIONS_MAX)
    fields.take("user")
    extensions: dict[str, bytes] = {}
    fields.rest(extensions)
    return EmbeddingsCall(
        peek.model, inputs, encoding_format, dimensions, peek.end_user, extensions, DialectName.OPENAI
    )


def _inputs(value: object) -> tuple[str | tuple[int, ...], ...]:
    if type(value) is str:
        return (value,)
    assert type(value) is list
    if type(value[0]) is int:
        return (_token_list(value, "input"),)
    inputs: list[str | tuple[int, ...]] = []
    for index, item in enumerate(value):
        inputs.append(item if type(item) is str else _token_list(item, f"input[{index}]"))
    if len(inputs) > EMBEDDING_INPUTS_MAX:
        beyond("input", EMBEDDING_INPUTS_MAX, "items")
    return tuple(inputs)


def _token_list(value: object, path: str) -> tuple[int, ...]:
    if type(value) is not list or not value:
        invalid(path, "must be a string or an array of tokens")
    for token in value:
        if type(token) is not int or token < 0:
            invalid(path, "must hold whole numbers only")
    return tuple(value)


def encode_embeddings(call: EmbeddingsCall, model: str, *, drop: bool) -> Encoded:
    """See gateway/dialect."""
    leave = Leave({}, drop=drop)
    body: dict[str, object] = {"model": model, "input": call.inputs}
    if call.encoding_format:
        body["encoding_format"] = call.encoding_format
    if call.dimensions is not None:
        body["dimensions"] = call.dimensions
    if call.end_user is not None:
        body["user"] = call.end_user
    for path, raw in call.extensions.items():
        if call.dialect is DialectName.OPENAI:
            body[path] = msgspec.Raw(raw)
        else:
            leave.place(path)
    return Encoded(PATH, encode(body), (), tuple(leave.dropped))


def decode_embeddings_reply(body: bytes) -> EmbeddingsReply:
    """See gateway/dialect."""
    tree = parse_answer(body).tree
    if type(tree.get("data")) is not list:
        if tree.get("error") or tree.get("object") == "error":
            raise embedded_error(tree)
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no data.")
    wire = decode_as(_DECODER, body, UpstreamError, Code.UPSTREAM_PROTOCOL)
    usage, _ = decode_usage(tree.get("usage"))
    vectors = sorted(wire.data, key=lambda vector: vector.index)
    return EmbeddingsReply(wire.model or "", tuple(bytes(vector.embedding) for vector in vectors), usage)


def encode_embeddings_reply(reply: EmbeddingsReply) -> bytes:
    """See gateway/dialect."""
    usage = reply.usage or Usage()
    return encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": msgspec.Raw(vector)}
                for index, vector in enumerate(reply.vectors)
            ],
            "model": reply.response_model,
            "usage": {"prompt_tokens": usage.input_tokens, "total_tokens": usage.total_tokens},
        }
    )
