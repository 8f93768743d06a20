"""OpenAI's responses form: `POST /v1/responses` and its count of input tokens. The gateway keeps no state of it."""

# ruff: noqa: ARG002 - the contract hands every dialect what only some of them use

from collections.abc import Mapping, Sequence
from typing import NoReturn

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
from ostiary.gateway.dialect.responses import (
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
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.json import Document, edit, encode, parse_answer
from ostiary.gateway.wire.openai import decode_error, embedded_error, model_list, model_object


class Responses:
    """Implements Dialect. The form has no embeddings: the methods for them refuse."""

    name: DialectName = DialectName.RESPONSES

    def peek_chat(self, document: Document, addressed: Addressed = IN_BODY) -> ChatPeek:
        return peek.peek_chat(document)

    def chat_needs(self, document: Document, *, media: bool) -> tuple[Capability, ...]:
        return needs.chat_needs(document, media=media)

    def decode_chat(self, document: Document, addressed: Addressed = IN_BODY) -> ChatCall:
        return request_decode.decode_chat(document)

    def encode_chat_reply(self, reply_: ChatReply, *, created: int = 0) -> bytes:
        return reply.encode_reply(reply_, created)

    def stream_encoder(self, *, include_usage: bool, created: int = 0, addressed: Addressed = IN_BODY) -> StreamEncoder:
        return stream_encode.StreamEncoder(created=created)

    def peek_embeddings(self, document: Document, addressed: Addressed = IN_BODY) -> EmbeddingsPeek:
        _no_embeddings()

    def decode_embeddings(self, document: Document, addressed: Addressed = IN_BODY) -> EmbeddingsCall:
        _no_embeddings()

    def encode_embeddings_reply(self, reply_: EmbeddingsReply, addressed: Addressed = IN_BODY) -> bytes:
        _no_embeddings()

    def encode_token_count(self, input_tokens: int) -> bytes:
        return encode({"object": "response.input_tokens", "input_tokens": input_tokens})

    def encode_models(self, models: Sequence[ListedModel], query: bytes = b"") -> bytes:
        return model_list([(model.name, model.created) for model in models])

    def encode_model(self, model: ListedModel) -> bytes:
        return encode(model_object(model.name, model.created))

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
        """One more edit than the contract names: `store` is false where the caller did not say, since the provider's
        default is to keep the answer, and nothing that it keeps can be asked for through the gateway."""
        members = {"model": encode(model)}
        if document.tree.get("store") is None:
            members["store"] = b"false"
        if max_tokens is not None and document.tree.get("max_output_tokens") is None:
            members["max_output_tokens"] = b"%d" % max_tokens
        if prompt_cache is not None and document.tree.get("prompt_cache_key") is None:
            members["prompt_cache_key"] = encode(prompt_cache.key)
        return Encoded(request_encode.PATH, edit(document, members))

    def forward_embeddings(self, document: Document, *, model: str, addressed: Addressed = IN_BODY) -> Encoded:
        _no_embeddings()

    def forward_count_tokens(self, document: Document, *, model: str) -> Encoded:
        return Encoded(request_encode.COUNT_PATH, edit(document, {"model": encode(model)}))

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
            raise embedded_error(tree)
        if count is None or tokens(count) == NOT_TRUE:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no token count.")
        return tokens(count)

    def stream_decoder(self, *, events: bool = True) -> StreamDecoder:
        return stream_decode.StreamDecoder(events=events)

    def decode_error(self, status: int, headers: Sequence[Header], body: bytes) -> UpstreamError:
        return decode_error(status, headers, body)

    def request_texts(self, document: Document) -> list[TextPlace]:
        return text.request_texts(document)

    def edit_request(self, document: Document, edits: Mapping[tuple[str | int, ...], str]) -> bytes:
        return text.edit_request(document, edits)

    def reply_texts(self, body: bytes) -> list[TextPlace]:
        return text.reply_texts(body)


def _no_embeddings() -> NoReturn:
    raise CallerError(Code.MODEL_UNSUITABLE, "Providers of this model offer no embeddings.")
