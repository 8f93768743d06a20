"""Google's wire format: content (plain and streamed), embeddings, token counts, models.

The model and the kind of answer stand in the path. Paths go below a provider's base path, so that the same holds for
the Gemini API (`/v1beta`) and for Vertex AI (`/v1/projects/<p>/locations/<l>/publishers/google`).
"""

# ruff: noqa: ARG002 - the contract hands every dialect what only some of them use

from collections.abc import Mapping, Sequence
from typing import Final

from ostiary.core.call import ChatCall, DialectName, EmbeddingsCall
from ostiary.core.capability import Capability
from ostiary.core.error import Code, OstiaryError, UpstreamError
from ostiary.core.http import Header
from ostiary.core.reply import ChatReply, EmbeddingsReply
from ostiary.gateway.dialect import (
    IN_BODY,
    Addressed,
    ChatPeek,
    EmbeddingsPeek,
    Encoded,
    ErrorAnswer,
    ListedModel,
    PromptCache,
    ReplyTap,
    StreamDecoder,
    StreamEncoder,
    TextPlace,
)
from ostiary.gateway.dialect.gemini import (
    embeddings,
    error,
    needs,
    peek,
    predict,
    reply,
    request_decode,
    request_encode,
    stream_decode,
    stream_encode,
    text,
)
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.json import Document, edit, encode, parse_answer, raw_members
from ostiary.gateway.wire.paging import PageWords, page_of
from ostiary.snapshot.tables import ProfileRow

_API: Final = ProfileRow()


class Gemini:
    """Implements Dialect. A stream is one JSON array where the path asks for a stream but not for events. `profile` is how
    the server that is spoken to differs from the Gemini API."""

    name: DialectName = DialectName.GEMINI

    def __init__(self, profile: ProfileRow = _API) -> None:
        self._vertex_embeddings: Final = profile.vertex_embeddings

    def peek_chat(self, document: Document, addressed: Addressed = IN_BODY) -> ChatPeek:
        return peek.peek_chat(document, addressed)

    def chat_needs(self, document: Document, *, media: bool) -> tuple[Capability, ...]:
        return needs.chat_needs(document, media=media)

    def decode_chat(self, document: Document, addressed: Addressed = IN_BODY) -> ChatCall:
        return request_decode.decode_chat(document, addressed)

    def encode_chat_reply(self, reply_: ChatReply, *, created: int = 0) -> bytes:
        return reply.encode_reply(reply_)

    def stream_encoder(self, *, include_usage: bool, created: int = 0, addressed: Addressed = IN_BODY) -> StreamEncoder:
        return stream_encode.StreamEncoder(array=addressed.stream and not addressed.sse)

    def peek_embeddings(self, document: Document, addressed: Addressed = IN_BODY) -> EmbeddingsPeek:
        return peek.peek_embeddings(document, addressed)

    def decode_embeddings(self, document: Document, addressed: Addressed = IN_BODY) -> EmbeddingsCall:
        return embeddings.decode_embeddings(document, addressed)

    def encode_embeddings_reply(self, reply_: EmbeddingsReply, addressed: Addressed = IN_BODY) -> bytes:
        return embeddings.encode_embeddings_reply(reply_, addressed)

    def encode_token_count(self, input_tokens: int) -> bytes:
        return encode({"totalTokens": input_tokens})

    def encode_models(self, models: Sequence[ListedModel], query: bytes = b"") -> bytes:
        page = page_of([model.name for model in models], query, _PAGING)
        listed: dict[str, object] = {"models": [_model(model) for model in models[page.start : page.stop]]}
        if page.more:
            listed["nextPageToken"] = models[page.stop - 1].name
        return encode(listed)

    def encode_model(self, model: ListedModel) -> bytes:
        return encode(_model(model))

    def encode_error(self, error_: OstiaryError, request_id: str) -> ErrorAnswer:
        return error.encode_error(error_, request_id)

    def forward_chat(
        self,
        document: Document,
        *,
        model: str,
        report_usage: bool,
        max_tokens: int | None,
        drop: bool = False,
        addressed: Addressed = IN_BODY,
        prompt_cache: PromptCache | None = None,
    ) -> Encoded:
        path = request_encode.model_path(model)
        if addressed.stream:
            path += request_encode.STREAM + (request_encode.SSE if addressed.sse else b"")
        else:
            path += request_encode.GENERATE
        body = document.raw
        config = peek.config_of(document.tree, "")
        if max_tokens is not None and config.tree.get("maxOutputTokens") is None:
            # Under the names the caller wrote: one member in two spellings would be refused.
            raw = raw_members(document).get(config.path)
            inner = Document(b"{}" if raw is None else bytes(raw), config.tree)
            bound = {config.spelled("maxOutputTokens"): b"%d" % max_tokens}
            body = edit(document, {config.path: edit(inner, bound)})
        return Encoded(path, body)

    def forward_embeddings(self, document: Document, *, model: str, addressed: Addressed = IN_BODY) -> Encoded:
        return embeddings.forward_embeddings(document, model, addressed)

    def forward_count_tokens(self, document: Document, *, model: str) -> Encoded:
        inner, name = peek.generate_request(document)
        body = document.raw
        if name:
            body = edit(document, {name: edit(inner, {"model": encode(request_encode.resource(model))})})
        return Encoded(request_encode.model_path(model) + request_encode.COUNT, body)

    def encode_chat(self, call: ChatCall, *, model: str, max_tokens: int | None, drop: bool) -> Encoded:
        return request_encode.encode_chat(call, model=model, max_tokens=max_tokens, drop=drop)

    def encode_count_tokens(self, call: ChatCall, *, model: str, drop: bool) -> Encoded:
        return request_encode.encode_count_tokens(call, model=model, drop=drop)

    def embeddings_pass(self, model: str) -> bool:
        return not (self._vertex_embeddings and predict.predicted(model))

    def embedding_inputs(self, model: str) -> int:
        return embeddings.INPUTS_MAX if self.embeddings_pass(model) else predict.INPUTS_MAX

    def encode_embeddings(self, call: EmbeddingsCall, *, model: str, drop: bool) -> Encoded:
        if self.embeddings_pass(model):
            return embeddings.encode_embeddings(call, model, drop=drop)
        return predict.encode_embeddings(call, model, drop=drop)

    def tap_chat_reply(self, body: bytes) -> ReplyTap:
        return reply.tap_reply(body)

    def decode_chat_reply(self, body: bytes) -> ChatReply:
        return reply.decode_reply(body)

    def decode_embeddings_reply(self, body: bytes) -> EmbeddingsReply:
        return embeddings.decode_embeddings_reply(body)

    def decode_token_count(self, body: bytes) -> int:
        tree = parse_answer(body).tree
        count = tree.get("totalTokens")
        if count is None and tree.get("error"):
            raise error.embedded_error(tree)
        if count is None or tokens(count) == NOT_TRUE:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no token count.")
        return tokens(count)

    def stream_decoder(self, *, events: bool = True) -> StreamDecoder:
        return stream_decode.StreamDecoder(events=events)

    def decode_error(self, status: int, headers: Sequence[Header], body: bytes) -> UpstreamError:
        return error.decode_error(status, headers, body)

    def request_texts(self, document: Document) -> list[TextPlace]:
        return text.request_texts(document)

    def edit_request(self, document: Document, edits: Mapping[tuple[str | int, ...], str]) -> bytes:
        return text.edit_request(document, edits)

    def reply_texts(self, body: bytes) -> list[TextPlace]:
        return text.reply_texts(body)


_PAGING: Final = PageWords("pageSize", "pageToken")
"""https://ai.google.dev/api/models#method:-models.list; without a size the whole list is one page."""
_METHODS = ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"]


def _model(model: ListedModel) -> dict[str, object]:
    return {
        "name": f"models/{model.name}",
        "version": "",
        "displayName": model.name,
        "supportedGenerationMethods": _METHODS,
    }
