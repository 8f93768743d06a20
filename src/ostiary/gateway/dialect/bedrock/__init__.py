"""Amazon Bedrock's wire format: Converse, ConverseStream, CountTokens, and embeddings through InvokeModel."""

# ruff: noqa: ARG002 - the contract hands every dialect what only some of them use

from collections.abc import Sequence
from typing import NoReturn

from ostiary.core.call import ChatCall, DialectName, EmbeddingsCall
from ostiary.core.error import CallerError, Code, UpstreamError
from ostiary.core.http import Header
from ostiary.core.reply import ChatReply, EmbeddingsReply
from ostiary.gateway.dialect import IN_BODY, Addressed, Encoded, PromptCache, ReplyTap, StreamDecoder
from ostiary.gateway.dialect.bedrock import embeddings, error, reply, request_encode, stream_decode
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.json import Document, parse_answer


class Bedrock:
    """Implements ProviderDialect. Clients do not speak it: nothing is ever forwarded as it came."""

    name: DialectName = DialectName.BEDROCK

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
        _not_for_clients()

    def forward_embeddings(self, document: Document, *, model: str, addressed: Addressed = IN_BODY) -> Encoded:
        _not_for_clients()

    def forward_count_tokens(self, document: Document, *, model: str) -> Encoded:
        _not_for_clients()

    def encode_chat(self, call: ChatCall, *, model: str, max_tokens: int | None, drop: bool) -> Encoded:
        return request_encode.encode_chat(call, model=model, max_tokens=max_tokens, drop=drop)

    def encode_count_tokens(self, call: ChatCall, *, model: str, drop: bool) -> Encoded:
        return request_encode.encode_count_tokens(call, model=model, drop=drop)

    def embeddings_pass(self, model: str) -> bool:
        return True

    def embedding_inputs(self, model: str) -> int:
        return embeddings.inputs_max(model)

    def encode_embeddings(self, call: EmbeddingsCall, *, model: str, drop: bool) -> Encoded:
        return embeddings.encode_embeddings(call, model=model, drop=drop)

    def tap_chat_reply(self, body: bytes) -> ReplyTap:
        return reply.tap_reply(body)

    def decode_chat_reply(self, body: bytes) -> ChatReply:
        return reply.decode_reply(body)

    def decode_embeddings_reply(self, body: bytes) -> EmbeddingsReply:
        return embeddings.decode_embeddings_reply(body)

    def decode_token_count(self, body: bytes) -> int:
        value = parse_answer(body).tree.get("inputTokens")
        count = tokens(value)
        if value is None or count == NOT_TRUE:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer has no token count.")
        return count

    def stream_decoder(self, *, events: bool = True) -> StreamDecoder:
        return stream_decode.StreamDecoder(events=events)

    def decode_error(self, status: int, headers: Sequence[Header], body: bytes) -> UpstreamError:
        return error.decode_error(status, headers, body)


def _not_for_clients() -> NoReturn:
    raise CallerError(Code.MODEL_UNSUITABLE, "Clients do not speak this provider's form.")
