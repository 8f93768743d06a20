"""Documents in the order of their relevance to a query (Cohere's /v2/rerank, Jina's and others' /rerank)."""

# ruff: noqa: ARG002 - the contract hands every task what only some of them use

from typing import Final

from ostiary.core.limit import RERANK_DOCUMENT_BYTES_MAX, RERANK_DOCUMENTS_MAX, RERANK_QUERY_BYTES_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ClientDialect
from ostiary.gateway.meter import estimate
from ostiary.gateway.task.forwarded import ForwardedJson
from ostiary.gateway.wire.field import beyond, invalid, model_name, whole_number
from ostiary.gateway.wire.json import raw_items, raw_members

# A search unit is a query with up to 100 documents; a document whose tokens exceed 500 together with the query's counts
# as several (Cohere's price list).
_DOCUMENTS_PER_UNIT: Final = 100
_TOKENS_PER_CHUNK: Final = 500
_TOKENS_OF_DOCUMENT_MIN: Final = 50


class Rerank(ForwardedJson):
    """Implements Task. Answers pass in the form of their provider: `meta` is Cohere's, `usage` Jina's."""

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        super().__init__(client, arrival, body)
        tree = self.document.tree
        self.model = model_name(tree)
        query, documents = tree.get("query"), tree.get("documents")
        if query is None or type(query) not in (str, dict):
            invalid("query", "must be a string")
        if type(documents) is not list or not documents:
            invalid("documents", "must be an array that is not empty")
        if len(documents) > RERANK_DOCUMENTS_MAX:
            beyond("documents", RERANK_DOCUMENTS_MAX, "items")
        for name in ("top_n", "max_tokens_per_doc", "max_chunks_per_doc"):
            if tree.get(name) is not None:
                whole_number(tree[name], name, 1, None)
        members = raw_members(self.document)
        asked = len(bytes(members["query"]))
        if asked > RERANK_QUERY_BYTES_MAX:
            beyond("query", RERANK_QUERY_BYTES_MAX, "bytes")
        sizes = [len(bytes(raw)) for raw in raw_items(members["documents"])]
        for index, size in enumerate(sizes):
            if type(documents[index]) not in (str, dict):
                invalid(f"documents[{index}]", "must be a string or an object")
            if size > RERANK_DOCUMENT_BYTES_MAX:
                beyond(f"documents[{index}]", RERANK_DOCUMENT_BYTES_MAX, "bytes")
        # Some count the query once for each document.
        self._usage = Usage(
            input_tokens=estimate.input_tokens(sum(sizes) + asked * len(sizes), len(sizes)),
            search_units=_search_units(asked, sizes),
        )

    def bound(self, cap: int | None) -> Usage:
        return self._usage

    def estimated(self, produced_bytes: int) -> Usage:
        return self._usage


def _search_units(query_bytes: int, sizes: list[int]) -> int:
    left = max(_TOKENS_PER_CHUNK - estimate.input_tokens(query_bytes, 0), _TOKENS_OF_DOCUMENT_MIN)
    chunks = sum(max(-(-estimate.input_tokens(size, 0) // left), 1) for size in sizes)
    return -(-chunks // _DOCUMENTS_PER_UNIT)
