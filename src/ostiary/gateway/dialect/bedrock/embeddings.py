"""Embeddings through InvokeModel, whose body is each model's own: Amazon's Titan and Cohere's.

Titan takes one text a call; Cohere takes up to 96 and wants to be told what for:
`search_document`, its word for texts that go into an index, since a caller of another form never says. Both answer in
numbers, which are packed for a caller that asks for base64. Cohere's usage stands in a header only and is not known here.

Sources: Amazon Bedrock user guide, "Amazon Titan Embeddings", "Cohere Embed v3", "Cohere Embed v4".
"""

from typing import Final

import msgspec

from ostiary.core.call import EmbeddingsCall
from ostiary.core.error import CallerError, Code, UpstreamError
from ostiary.core.reply import EmbeddingsReply
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Encoded
from ostiary.gateway.dialect.bedrock.request_encode import ACCEPT_JSON, model_path
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.json import decode_as, encode, parse_answer, raw_members
from ostiary.gateway.wire.leave import Leave

_COHERE_TEXTS_MAX: Final = 96
_TITAN: Final = "amazon.titan-embed"
_TITAN_V1: Final = "amazon.titan-embed-text-v1"
_VECTORS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def inputs_max(model: str) -> int:
    """Titan takes one text a call. Of a model that is not known here as many as of Cohere's: it is refused by name."""
    return 1 if _TITAN in model else _COHERE_TEXTS_MAX


def encode_embeddings(call: EmbeddingsCall, *, model: str, drop: bool) -> Encoded:
    """See gateway/dialect. Raises CallerError model.unsuitable for a model whose body is not known here."""
    leave = Leave({"end_user": "user"}, drop=drop)
    texts = _texts(call)
    if _TITAN in model:
        body: dict[str, object] = {"inputText": texts[0]}
        if call.dimensions is not None:
            if _TITAN_V1 in model:
                leave.out("dimensions")
            else:
                body["dimensions"] = call.dimensions
    elif "cohere.embed" in model:
        body = {"texts": texts, "input_type": "search_document", "embedding_types": ["float"]}
        if call.dimensions is not None:
            if "v4" in model:
                body["output_dimension"] = call.dimensions
            else:
                leave.out("dimensions")
    else:
        raise CallerError(Code.MODEL_UNSUITABLE, "This model offers no embeddings that are known here.")
    if call.end_user is not None:
        leave.hint("end_user")
    for path in call.extensions:
        leave.place(path)
    return Encoded(model_path(model, "invoke"), encode(body), (ACCEPT_JSON,), tuple(leave.dropped))


def _texts(call: EmbeddingsCall) -> list[str]:
    texts: list[str] = []
    for index, item in enumerate(call.inputs):
        if not isinstance(item, str):
            param = f"input[{index}]" if len(call.inputs) > 1 else "input"
            raise CallerError(
                Code.REQUEST_UNSUPPORTED, f"`{param}` is a list of tokens, and this model reads text.", param=param
            )
        texts.append(item)
    return texts


def decode_embeddings_reply(body: bytes) -> EmbeddingsReply:
    """See gateway/dialect. Titan's answer has one vector, Cohere's a list of them, by type or not."""
    tree = parse_answer(body).tree
    members = raw_members(body)
    if "embedding" in tree:
        count = tokens(tree.get("inputTextTokenCount"))
        known = tree.get("inputTextTokenCount") is not None and count != NOT_TRUE
        return EmbeddingsReply("", (bytes(members["embedding"]),), Usage(input_tokens=count) if known else None)
    vectors = members.get("embeddings")
    if type(tree.get("embeddings")) is dict and vectors is not None:
        vectors = raw_members(vectors).get("float")
    if vectors is None:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no embeddings.")
    items = decode_as(_VECTORS, vectors, UpstreamError, Code.UPSTREAM_PROTOCOL)
    return EmbeddingsReply("", tuple(bytes(item) for item in items), None)
