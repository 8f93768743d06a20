"""Anthropic's wire format: messages, token counts, models."""

# ruff: noqa: ARG002 - the contract hands every dialect what only some of them use

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NoReturn

from ostiary.core.call import ChatCall, DialectName, EmbeddingsCall
from ostiary.core.capability import Capability
from ostiary.core.error import CallerError, Code, OstiaryError, UpstreamError
from ostiary.core.http import Header
from ostiary.core.limit import EMBEDDING_INPUTS_MAX
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
from ostiary.gateway.dialect.anthropic import (
    error,
    needs,
    peek,
    reply,
    request_decode,
    request_encode,
    stream_decode,
    stream_encode,
    text,
)
from ostiary.gateway.dialect.anthropic.marks import marks
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.json import Document, edit, encode, parse_answer
from ostiary.gateway.wire.paging import PageWords, page_of

_PAGING: Final = PageWords("limit", "after_id", "before_id")
"""https://docs.anthropic.com/en/api/models-list; without a limit the whole list is one page."""


class Anthropic:
    """Implements Dialect. Anthropic has no embeddings: the methods for them refuse."""

    name: DialectName = DialectName.ANTHROPIC

    def peek_chat(self, document: Document, addressed: Addressed = IN_BODY) -> ChatPeek:
        return peek.peek_chat(document)

    def chat_needs(self, document: Document, *, media: bool) -> tuple[Capability, ...]:
        return needs.chat_needs(document, media=media)

    def decode_chat(self, document: Document, addressed: Addressed = IN_BODY) -> ChatCall:
        return request_decode.decode_chat(document)

    def encode_chat_reply(self, reply_: ChatReply, *, created: int = 0) -> bytes:
        return reply.encode_reply(reply_)

    def stream_encoder(self, *, include_usage: bool, created: int = 0, addressed: Addressed = IN_BODY) -> StreamEncoder:
        return stream_encode.StreamEncoder()

    def peek_embeddings(self, document: Document, addressed: Addressed = IN_BODY) -> EmbeddingsPeek:
        _no_embeddings()

    def decode_embeddings(self, document: Document, addressed: Addressed = IN_BODY) -> EmbeddingsCall:
        _no_embeddings()

    def encode_embeddings_reply(self, reply_: EmbeddingsReply, addressed: Addressed = IN_BODY) -> bytes:
        _no_embeddings()

    def encode_token_count(self, input_tokens: int) -> bytes:
        return encode({"input_tokens": input_tokens})

    def encode_models(self, models: Sequence[ListedModel], query: bytes = b"") -> bytes:
        page = page_of([model.name for model in models], query, _PAGING)
        shown = models[page.start : page.stop]
        return encode(
            {
                "data": [_model(model) for model in shown],
                "has_more": page.more,
                "first_id": shown[0].name if shown else None,
                "last_id": shown[-1].name if shown else None,
            }
        )

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
        members = {"model": encode(model)}
        if max_tokens is not None and document.tree.get("max_tokens") is None:
            members["max_tokens"] = b"%d" % max_tokens
        if prompt_cache is not None:
            members |= marks(document, prompt_cache.lifetime)
        return Encoded(request_encode.PATH, edit(document, members), request_encode.HEADERS)

    def forward_embeddings(self, document: Document, *, model: str, addressed: Addressed = IN_BODY) -> Encoded:
        _no_embeddings()

    def forward_count_tokens(self, document: Document, *, model: str) -> Encoded:
        return Encoded(request_encode.COUNT_PATH, edit(document, {"model": encode(model)}), request_encode.HEADERS)

    def encode_chat(self, call: ChatCall, *, model: str, max_tokens: int | None, drop: bool) -> Encoded:
        return request_encode.encode_chat(call, model=model, max_tokens=max_tokens, drop=drop)

    def encode_count_tokens(self, call: ChatCall, *, model: str, drop: bool) -> Encoded:
        return request_encode.encode_count_tokens(call, model=model, drop=drop)

    def embeddings_pass(self, model: str) -> bool:
        return True

    def embedding_inputs(self, model: str) -> int:
        return EMBEDDING_INPUTS_MAX

    def encode_embeddings(self, call: EmbeddingsCall, *, model: str, drop: bool) -> Encoded:
        _no_embeddings()

    def tap_chat_reply(self, body: bytes) -> ReplyTap:
        return reply.tap_reply(body)

    def decode_chat_reply(self, body: bytes) -> ChatReply:
        return reply.decode_reply(body)

    def decode_embeddings_reply(self, body: bytes) -> EmbeddingsReply:
        _no_embeddings()

    def decode_token_count(self, body: bytes) -> int:
        tree = parse_answer(body).tree
        count = tree.get("input_tokens")
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


def _model(model: ListedModel) -> dict[str, object]:
    moment = datetime.fromtimestamp(model.created, UTC).isoformat().replace("+00:00", "Z")
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": moment,
        "lifecycle": "active",
    }


def _no_embeddings() -> NoReturn:
    raise CallerError(Code.MODEL_UNSUITABLE, "Providers of this model offer no embeddings.")
