"""More texts than a provider takes at once, for vectors: into several requests, and their answers into one.

Vectors keep the order of the texts: each part's answer must have as many as were asked for, or nothing is told.
"""

from collections.abc import Sequence

import msgspec

from ostiary.core.call import EmbeddingsCall
from ostiary.core.error import CallerError, Code, UpstreamError
from ostiary.core.limit import EMBEDDING_PARTS_MAX
from ostiary.core.reply import EmbeddingsReply
from ostiary.core.usage import Usage
from ostiary.gateway.wire.json import Document, edit, raw_items, raw_members


def sizes_of(inputs: int, most: int, param: str) -> tuple[int, ...]:
    """How many texts go into each part. Raises CallerError request.unsupported where there would be too many parts."""
    parts = -(-inputs // most)
    if parts > EMBEDDING_PARTS_MAX:
        raise CallerError(
            Code.REQUEST_UNSUPPORTED,
            f"`{param}` has {inputs} items; this model takes {most} at once, and a call is put to it in at most "
            f"{EMBEDDING_PARTS_MAX} parts.",
            param=param,
        )
    return (most,) * (parts - 1) + (inputs - most * (parts - 1),)


def documents(document: Document, member: str, sizes: Sequence[int]) -> list[Document]:
    """A request as it came, once for each part: `member` holds that part's items, as they came, and all else is there."""
    raws, values = raw_items(raw_members(document)[member]), document.tree[member]
    assert type(values) is list
    found: list[Document] = []
    at = 0
    for size in sizes:
        raw = edit(document, {member: b"[" + b",".join(bytes(one) for one in raws[at : at + size]) + b"]"})
        found.append(Document(raw, {**document.tree, member: values[at : at + size]}))
        at += size
    return found


def calls(call: EmbeddingsCall, sizes: Sequence[int]) -> list[EmbeddingsCall]:
    """The same of a request in our terms."""
    found: list[EmbeddingsCall] = []
    at = 0
    for size in sizes:
        found.append(msgspec.structs.replace(call, inputs=call.inputs[at : at + size], first=at))
        at += size
    return found


def joined(replies: Sequence[EmbeddingsReply], sizes: Sequence[int]) -> EmbeddingsReply:
    """One answer of those to the parts, with the usage of all where each told it. Raises UpstreamError upstream.protocol
    where one has not the vectors that were asked for."""
    if [len(reply.vectors) for reply in replies] != list(sizes):
        raise UpstreamError(
            Code.UPSTREAM_PROTOCOL, "The provider's answers have not as many vectors as there are texts."
        )
    usage: Usage | None = Usage()
    for reply in replies:
        usage = None if usage is None or reply.usage is None else usage + reply.usage
    vectors = tuple(vector for reply in replies for vector in reply.vectors)
    return EmbeddingsReply(replies[0].response_model, vectors, usage)
