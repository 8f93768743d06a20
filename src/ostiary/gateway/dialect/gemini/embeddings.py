"""Embeddings in Google's form, one content or a batch of them: requests and answers, both parts.

Vectors are lists of numbers here, whatever form a caller asks for: its own encoder gives them that form. One packed in
base64 is unpacked for a client. Who the end user is is a hint, and left out.
"""

from typing import Final

import msgspec

from ostiary.core.call import DialectName, EmbeddingsCall
from ostiary.core.error import Code, UpstreamError
from ostiary.core.reply import EmbeddingsReply
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Addressed, Encoded
from ostiary.gateway.dialect.gemini import predict
from ostiary.gateway.dialect.gemini.error import embedded_error
from ostiary.gateway.dialect.gemini.members import Members
from ostiary.gateway.dialect.gemini.peek import peek_embeddings
from ostiary.gateway.dialect.gemini.request_encode import model_path, resource
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.field import invalid, unsupported
from ostiary.gateway.wire.json import Document, decode_as, edit, encode, parse_answer, raw_items, raw_members
from ostiary.gateway.wire.leave import Leave
from ostiary.gateway.wire.vector import listed

ONE: Final = b":embedContent"
BATCH: Final = b":batchEmbedContents"
_DIMENSIONS_MAX: Final = 1_000_000
INPUTS_MAX: Final = 100
"""Contents that Google takes in a batch."""


class WireVector(msgspec.Struct):
    """One vector of an answer."""

    values: msgspec.Raw


class WireVectors(msgspec.Struct, rename="camel"):
    """An answer, to one content or to a batch."""

    embedding: WireVector | None = None
    embeddings: list[WireVector] | None = None


_DECODER: Final = msgspec.json.Decoder(WireVectors)


def decode_embeddings(document: Document, addressed: Addressed) -> EmbeddingsCall:
    """See gateway/dialect."""
    peek = peek_embeddings(document, addressed)
    fields = Members(document.tree, "")
    extensions: dict[str, bytes] = {}
    if not addressed.batch:
        text, dimensions = _asked(fields, extensions)
        return EmbeddingsCall(peek.model, (text,), "", dimensions, None, extensions, DialectName.GEMINI)
    asked = [
        _asked(Members(item, f"requests[{index}]"), extensions)
        for index, item in enumerate(fields.items("requests") or [])
    ]
    widths = {dimensions for _, dimensions in asked}
    if len(widths) > 1:
        unsupported("requests", "asks for vectors of different lengths, which cannot be carried to this model")
    fields.rest(extensions)
    return EmbeddingsCall(
        peek.model, tuple(text for text, _ in asked), "", widths.pop(), None, extensions, DialectName.GEMINI
    )


def _asked(fields: Members, extensions: dict[str, bytes]) -> tuple[str, int | None]:
    """The text of one request, its parts joined, and the length asked for."""
    fields.maybe_text("model")
    content = fields.members("content")
    if content is None:
        invalid(fields.at("content"), "must be an object")
    content.maybe_text("role")
    texts: list[str] = []
    for index, item in enumerate(content.items("parts") or []):
        part = Members(item, f"{content.at('parts')}[{index}]")
        text = part.maybe_text("text")
        if text is None:
            unsupported(part.path, "is no text, and nothing else can be carried to this model")
        texts.append(text)
        part.rest(extensions)
    if not texts:
        invalid(content.at("parts"), "must be an array that is not empty")
    content.rest(extensions)
    dimensions = fields.integer("outputDimensionality", 1, _DIMENSIONS_MAX)
    fields.rest(extensions)
    return "".join(texts), dimensions


def forward_embeddings(document: Document, model: str, addressed: Addressed) -> Encoded:
    """See gateway/dialect. Requests of a batch name the model once more, each for itself."""
    name = encode(resource(model))
    if not addressed.batch:
        body = edit(document, {"model": name}) if "model" in document.tree else document.raw
        return Encoded(model_path(model) + ONE, body)
    items = [edit(Document(bytes(raw), {}), {"model": name}) for raw in raw_items(raw_members(document)["requests"])]
    return Encoded(model_path(model) + BATCH, edit(document, {"requests": b"[" + b",".join(items) + b"]"}))


def encode_embeddings(call: EmbeddingsCall, model: str, *, drop: bool) -> Encoded:
    """See gateway/dialect. A single input is asked for alone."""
    leave = Leave({}, drop=drop)
    requests: list[dict[str, object]] = []
    for index, text in enumerate(call.inputs):
        if type(text) is not str:
            unsupported("input" if len(call.inputs) == 1 else f"input[{index}]", "is a list of another model's tokens")
        request: dict[str, object] = {"model": resource(model), "content": {"parts": [{"text": text}]}}
        if call.dimensions is not None:
            request["outputDimensionality"] = call.dimensions
        requests.append(request)
    if call.end_user is not None:
        leave.hint("user")
    for path in call.extensions:
        leave.place(path)
    if len(requests) == 1:
        return Encoded(model_path(model) + ONE, encode(requests[0]), (), tuple(leave.dropped))
    return Encoded(model_path(model) + BATCH, encode({"requests": requests}), (), tuple(leave.dropped))


def decode_embeddings_reply(body: bytes) -> EmbeddingsReply:
    """See gateway/dialect."""
    tree = parse_answer(body).tree
    if tree.get("error"):
        raise embedded_error(tree)
    if "predictions" in tree:
        return predict.decode_embeddings_reply(body)
    wire = decode_as(_DECODER, body, UpstreamError, Code.UPSTREAM_PROTOCOL)
    vectors = wire.embeddings if wire.embedding is None else [wire.embedding]
    if vectors is None:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no embeddings.")
    told = tree.get("usageMetadata")
    count = tokens(told.get("promptTokenCount")) if type(told) is dict and "promptTokenCount" in told else NOT_TRUE
    usage = None if count == NOT_TRUE else Usage(input_tokens=count)
    return EmbeddingsReply("", tuple(bytes(vector.values) for vector in vectors), usage)


def encode_embeddings_reply(reply: EmbeddingsReply, addressed: Addressed) -> bytes:
    """See gateway/dialect."""
    vectors = [{"values": msgspec.Raw(listed(vector))} for vector in reply.vectors]
    body: dict[str, object] = (
        {"embeddings": vectors} if addressed.batch else {"embedding": vectors[0] if vectors else {}}
    )
    if reply.usage is not None:
        body["usageMetadata"] = {"promptTokenCount": reply.usage.input_tokens}
    return encode(body)
