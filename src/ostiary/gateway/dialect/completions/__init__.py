"""OpenAI's older form: `POST /v1/completions`, a text to be continued. A provider is spoken to in it only where its
clients are: it has no place for a conversation, so that nothing else can be told to it."""

# ruff: noqa: ARG002 - the contract hands every dialect what only some of them use

from collections.abc import Mapping, Sequence
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
from ostiary.gateway.dialect.completions import peek, reply, request_decode, stream_decode, stream_encode, text
from ostiary.gateway.wire.json import Document, edit, encode, raw_members
from ostiary.gateway.wire.openai import decode_error, encode_error, model_list, model_object

PATH: Final = b"/completions"


class Completions:
    """Implements Dialect. The form has no embeddings and no count of tokens: the methods for them refuse."""

    name: DialectName = DialectName.COMPLETIONS

    def peek_chat(self, document: Document, addressed: Addressed = IN_BODY) -> ChatPeek:
        return peek.peek_chat(document)

    def chat_needs(self, document: Document, *, media: bool) -> tuple[Capability, ...]:
        return ()  # the form has nothing but text

    def decode_chat(self, document: Document, addressed: Addressed = IN_BODY) -> ChatCall:
        return request_decode.decode_chat(document)

    def encode_chat_reply(self, reply_: ChatReply, *, created: int = 0) -> bytes:
        return reply.encode_reply(reply_, created)

    def stream_encoder(self, *, include_usage: bool, created: int = 0, addressed: Addressed = IN_BODY) -> StreamEncoder:
        return stream_encode.StreamEncoder(include_usage=include_usage, created=created)

    def peek_embeddings(self, document: Document, addressed: Addressed = IN_BODY) -> EmbeddingsPeek:
        _nothing_else()

    def decode_embeddings(self, document: Document, addressed: Addressed = IN_BODY) -> EmbeddingsCall:
        _nothing_else()

    def encode_embeddings_reply(self, reply_: EmbeddingsReply, addressed: Addressed = IN_BODY) -> bytes:
        _nothing_else()

    def encode_token_count(self, input_tokens: int) -> bytes:
        _nothing_else()

    def encode_models(self, models: Sequence[ListedModel], query: bytes = b"") -> bytes:
        return model_list([(model.name, model.created) for model in models])

    def encode_model(self, model: ListedModel) -> bytes:
        return encode(model_object(model.name, model.created))

    def encode_error(self, error: OstiaryError, request_id: str) -> ErrorAnswer:
        return ErrorAnswer(*encode_error(error, request_id))

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
        tree = document.tree
        if report_usage and tree.get("stream") is True:
            options = tree.get("stream_options")
            if type(options) is not dict:
                members["stream_options"] = b'{"include_usage":true}'
            elif options.get("include_usage") is not True:
                inner = Document(bytes(raw_members(document)["stream_options"]), options)
                members["stream_options"] = edit(inner, {"include_usage": b"true"})
        if max_tokens is not None and tree.get("max_tokens") is None:
            members["max_tokens"] = b"%d" % max_tokens
        return Encoded(PATH, edit(document, members))

    def forward_embeddings(self, document: Document, *, model: str, addressed: Addressed = IN_BODY) -> Encoded:
        _nothing_else()

    def forward_count_tokens(self, document: Document, *, model: str) -> Encoded:
        _nothing_else()

    def encode_chat(self, call: ChatCall, *, model: str, max_tokens: int | None, drop: bool) -> Encoded:
        _nothing_else()

    def encode_count_tokens(self, call: ChatCall, *, model: str, drop: bool) -> Encoded:
        _nothing_else()

    def embeddings_pass(self, model: str) -> bool:
        return True

    def embedding_inputs(self, model: str) -> int:
        return EMBEDDING_INPUTS_MAX

    def encode_embeddings(self, call: EmbeddingsCall, *, model: str, drop: bool) -> Encoded:
        _nothing_else()

    def tap_chat_reply(self, body: bytes) -> ReplyTap:
        return reply.tap_reply(body)

    def decode_chat_reply(self, body: bytes) -> ChatReply:
        return reply.decode_reply(body)

    def decode_embeddings_reply(self, body: bytes) -> EmbeddingsReply:
        _nothing_else()

    def decode_token_count(self, body: bytes) -> int:
        _nothing_else()

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


def _nothing_else() -> NoReturn:
    raise CallerError(Code.MODEL_UNSUITABLE, "A provider of this form continues a text and offers nothing else.")
