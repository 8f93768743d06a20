"""Embeddings of Cohere (`/v2/embed`).

Cohere wants to be told what a vector is for. A caller of another form never says, so that it is `search_document`, its
word for texts that go into an index; one who sends `input_type` or `truncate` by Cohere's own name is heard. At most
96 texts a call. Vectors come as numbers, or in base64, the same bytes as OpenAI's. Usage is what is charged for.

Source: Cohere API reference, "Embed" (v2).
"""

from typing import Final

import msgspec

from ostiary.core.call import EmbeddingsCall
from ostiary.core.error import CallerError, Code, UpstreamError
from ostiary.core.reply import EmbeddingsReply
from ostiary.gateway.dialect import Encoded
from ostiary.gateway.dialect.cohere.error import embedded_error
from ostiary.gateway.dialect.cohere.reply import decode_usage
from ostiary.gateway.wire.json import decode_as, encode, parse_answer, raw_members
from ostiary.gateway.wire.leave import Leave

PATH: Final = b"/v2/embed"
INPUTS_MAX: Final = 96
"""Texts that Cohere takes a call."""
_OWN: Final = frozenset({"input_type", "truncate"})
_VECTORS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def encode_embeddings(call: EmbeddingsCall, *, model: str, drop: bool) -> Encoded:
    """See gateway/dialect."""
    leave = Leave({"end_user": "user"}, drop=drop)
    for index, item in enumerate(call.inputs):
        if not isinstance(item, str):
            param = f"input[{index}]" if len(call.inputs) > 1 else "input"
            raise CallerError(
                Code.REQUEST_UNSUPPORTED, f"`{param}` is a list of tokens, and this model reads text.", param=param
            )
    body: dict[str, object] = {
        "model": model,
        "texts": call.inputs,
        "input_type": "search_document",
        "embedding_types": [call.encoding_format or "float"],
    }
    if call.dimensions is not None:
        body["output_dimension"] = call.dimensions
    if call.end_user is not None:
        leave.hint("end_user")
    for path, raw in call.extensions.items():
        if path in _OWN:
            body[path] = msgspec.Raw(raw)
        else:
            leave.place(path)
    return Encoded(PATH, encode(body), (), tuple(leave.dropped))


def decode_embeddings_reply(body: bytes) -> EmbeddingsReply:
    """See gateway/dialect."""
    tree = parse_answer(body).tree
    found = tree.get("embeddings")
    if type(found) is not dict:
        if type(tree.get("message")) is str:
            raise embedded_error(tree)
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no embeddings.")
    by_type = raw_members(raw_members(body)["embeddings"])
    vectors = next((by_type[kind] for kind in ("float", "base64") if found.get(kind) is not None), None)
    if vectors is None:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no embeddings.")
    usage, _ = decode_usage(tree.get("meta"))
    items = decode_as(_VECTORS, vectors, UpstreamError, Code.UPSTREAM_PROTOCOL)
    return EmbeddingsReply("", tuple(bytes(item) for item in items), usage)
