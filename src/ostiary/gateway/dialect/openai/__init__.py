"""OpenAI's wire format: chat completions, embeddings, models."""

# ruff: noqa: ARG002 - the contract hands every dialect what only some of them use

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from ostiary.core.call import ChatCall, DialectName, EmbeddingsCall
from ostiary.core.error import CallerError, Code, OstiaryError, UpstreamError
from ostiary.core.http import Header
from ostiary.core.reply import ChatReply, EmbeddingsReply
from ostiary.gateway.dialect import (
    ChatPeek,
    EmbeddingsPeek,
    Encoded,
    ErrorAnswer,
    ListedModel,
    ReplyTap,
    StreamDecoder,
    StreamEncoder,
    TextPlace,
)
from ostiary.gateway.dialect.openai import (
    embeddings,
    error,
    peek,
    reply,
    request_decode,
    request_encode,
    stream_decode,
    stream_encode,
    text,
)
from ostiary.gateway.wire.json import Document, edit, encode, raw_members


class OpenAI:
    """Implements Dialect.

    `max_tokens_field` is the member in which a bound on output is sent where the caller did not choose one itself:
    OpenAI's own models want `max_completion_tokens`, some compatible servers know only `max_tokens`.
    """

    name: DialectName = DialectName.OPENAI

    def __init__(self, max_tokens_field: str = "max_completion_tokens") -> None:
        self._max_tokens_field: Final = max_tokens_field

    def peek_chat(self, document: Document) -> ChatPeek:
        return peek.peek_chat(document)

    def decode_chat(self, document: Document) -> ChatCall:
        return request_decode.decode_chat(document)

    def encode_chat_reply(self, reply_: ChatReply, *, created: int = 0) -> bytes:
        return reply.encode_reply(reply_, created)

    def stream_encoder(self, *, include_usage: bool, created: int = 0) -> StreamEncoder:
        return stream_encode.StreamEncoder(include_usage=include_usage, created=created)

    def peek_embeddings(self, document: Document) -> EmbeddingsPeek:
        return peek.peek_embeddings(document)

    def decode_embeddings(self, document: Document) -> EmbeddingsCall:
        return embeddings.decode_embeddings(document)

    def encode_embeddings_reply(self, reply_: EmbeddingsReply) -> bytes:
        return embeddings.encode_embeddings_reply(reply_)

    def encode_token_count(self, input_tokens: int) -> bytes:
        return encode({"object": "response.input_tokens", "input_tokens": input_tokens})

    def encode_models(self, models: Sequence[ListedModel]) -> bytes:
        return encode({"object": "list", "data": [_model(model) for model in models]})

    def encode_model(self, model: ListedModel) -> bytes:
        return encode(_model(model))

    def encode_error(self, error_: OstiaryError, request_id: str) -> ErrorAnswer:
        return error.encode_error(error_, request_id)

    def forward_chat(self, document: Document, *, model: str, report_usage: bool, max_tokens: int | None) -> Encoded:
        members = {"model": encode(model)}
        tree = document.tree
        if report_usage and tree.get("stream") is True:
            options = tree.get("stream_options")
            if type(options) is not dict:
                members["stream_options"] = b'{"include_usage":true}'
            elif options.get("include_usage") is not True:
                inner = Document(bytes(raw_members(document)["stream_options"]), options)
                members["stream_options"] = edit(inner, {"include_usage": b"true"})
        if max_tokens is not None and tree.get("max_tokens") is None and tree.get("max_completion_tokens") is None:
            members[self._max_tokens_field] = b"%d" % max_tokens
        asked = tree.get("max_completion_tokens")
        if self._max_tokens_field == "max_tokens" and type(asked) is int and tree.get("max_tokens") is None:
            members["max_tokens"] = b"%d" % asked  # a server that ignores the newer name must not ignore the bound
        return Encoded(request_encode.PATH, edit(document, members))

    def forward_embeddings(self, document: Document, *, model: str) -> Encoded:
        return Encoded(embeddings.PATH, edit(document, {"model": encode(model)}))

    def forward_count_tokens(self, document: Document, *, model: str) -> Encoded:
        _no_token_count()

    def encode_chat(self, call: ChatCall, *, model: str, max_tokens: int | None, drop: bool) -> Encoded:
        return request_encode.encode_chat(
            call, model=model, max_tokens=max_tokens, drop=drop, max_tokens_field=self._max_tokens_field
        )

    def encode_count_tokens(self, call: ChatCall, *, model: str, drop: bool) -> Encoded:
        _no_token_count()

    def encode_embeddings(self, call: EmbeddingsCall, *, model: str, drop: bool) -> Encoded:
        return embeddings.encode_embeddings(call, model)

    def tap_chat_reply(self, body: bytes) -> ReplyTap:
        return reply.tap_reply(body)

    def decode_chat_reply(self, body: bytes) -> ChatReply:
        return reply.decode_reply(body)

    def decode_embeddings_reply(self, body: bytes) -> EmbeddingsReply:
        return embeddings.decode_embeddings_reply(body)

    def decode_token_count(self, body: bytes) -> int:
        _no_token_count()

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
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": "ostiary"}


def _no_token_count() -> NoReturn:
    raise CallerError(Code.MODEL_UNSUITABLE, "Providers of this model have no endpoint that counts tokens.")
