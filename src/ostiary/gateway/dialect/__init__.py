"""Wire formats. One folder per dialect: `request`, `reply`, `stream`, `error`, `text`; all pure, bytes in, values out.

This file is the contract between a dialect and the exchange. A dialect plays two parts: towards clients (decode
their requests, encode answers) and towards providers (encode requests, decode answers), so that N client and M
provider dialects need N + M translators. Where both sides speak the same dialect, `forward_*` edits only what is
named and a decoder taps the answer. The list of dialects is explicit, in `bootstrap`.

Nothing vanishes on the way to another dialect. A field is carried, or it changes nothing there and the encoder says
why, or it is refused by its name. One kind is neither: a hint, which asks for no other answer (who the end user is, a
key for the prompt cache, the name of a file, that thinking may be shown). Where it has no place it is left out without the caller's leave, and
its name is in `Encoded.dropped`, which the caller sees (`wire/leave.py`).

The law, for every pair: folding the stream gives the plain answer, tool arguments byte for byte, and splitting
the stream at any byte changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from ostiary.core.call import ChatCall, DialectName, EmbeddingsCall
from ostiary.core.capability import Capability
from ostiary.core.error import OstiaryError, UpstreamError
from ostiary.core.http import JSON_TYPE, Header
from ostiary.core.reply import ChatReply, EmbeddingsReply
from ostiary.core.stream import StreamEvent
from ostiary.core.usage import Usage
from ostiary.gateway.wire.frame import Frame as Frame
from ostiary.gateway.wire.json import Document
from ostiary.gateway.wire.place import TextPlace as TextPlace  # part of this contract


class Addressed(msgspec.Struct, frozen=True):
    """What a request's path and query say of the call, for dialects that put it there (Gemini): the `model`, whether
    the answer streams (`sse`: as events; otherwise as one JSON array) and whether embeddings come as a `batch`."""

    model: str = ""
    stream: bool = False
    sse: bool = False
    batch: bool = False


IN_BODY: Final = Addressed()
"""The path says nothing: everything stands in the body."""


class PromptCache(msgspec.Struct, frozen=True):
    """That a provider's prompt cache is to be used: for how long what is written there is to live (5m or 1h), and a key
    for providers that go by one."""

    lifetime: str
    key: str


class ChatPeek(msgspec.Struct, frozen=True):
    """What admission and policy need to know of a chat request, read without building canonical values.

    `tool_depth` is the number of consecutive tool rounds (assistant tool calls answered by tool results) at the
    end of the conversation. `prompt_bytes` is the size of the request without inline media: never less than the text
    sent, for estimates from above. `media` counts images, files and audio parts.
    """

    model: str
    stream: bool
    include_usage: bool
    max_tokens: int | None
    choices: int
    messages: int
    tools: int
    tool_depth: int
    prompt_bytes: int
    end_user: str | None
    media: int = 0


class EmbeddingsPeek(msgspec.Struct, frozen=True):
    """The same of an embeddings request."""

    model: str
    inputs: int
    prompt_bytes: int
    end_user: str | None


class Encoded(msgspec.Struct, frozen=True):
    """A request ready to send: `path` below the provider's base path, the body, headers of this dialect, and the
    fields left out because the caller allowed it or they are hints. `media_type` is None where the headers say it, if anything does.
    `rest` are further requests without which this one is only a part: their answers come as the items of an array."""

    path: bytes
    body: bytes
    headers: tuple[Header, ...] = ()
    dropped: tuple[str, ...] = ()
    method: bytes = b"POST"
    media_type: Header | None = JSON_TYPE
    rest: tuple["Encoded", ...] = ()


class ErrorAnswer(msgspec.Struct, frozen=True):
    """An error in the wire form of a dialect."""

    status: int
    headers: tuple[Header, ...]
    body: bytes


class ReplyTap(msgspec.Struct, frozen=True):
    """What metering and the journal need of an answer that passes through.

    `finish_reason` is the provider's own word. `usage_invalid` says that it reported numbers that cannot be true,
    which are treated as not reported.
    """

    response_model: str
    usage: Usage | None
    finish_reason: str
    usage_invalid: bool = False


class StreamDecoder(Protocol):
    """A provider's stream, in any slices."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by `data`.

        Raises UpstreamError: upstream.protocol for bytes that are no event of this dialect, upstream.too_large for
        an event beyond the bound, or the provider's own error event as decode_error would give it. Frames completed
        before the fault are given first; the error is raised by the next call.
        """
        ...

    def glance(self, data: bytes) -> int:
        """How many bytes of content there are in `data`, where it is one whole event of which nothing else is to be
        known; it then counts as fed. 0 where that is not so or not easily told: then it is still to be fed. Raises
        nothing. Only for a decoder that was asked for no events."""
        ...

    def close(self) -> list[Frame]:
        """To call once at the end of the bytes. Raises UpstreamError upstream.cut if the terminal event is missing."""
        ...


class StreamEncoder(Protocol):
    """A client's stream. `encode` gives the bytes to send for one canonical event (possibly none).

    It raises UpstreamError upstream.protocol where the client's dialect has no form for the order of the events.
    `media_type` is the content type of the stream, `keepalive` what may stand between any two pieces of it and says
    nothing. A stream that passes through unchanged has an encoder too, for its head and for its `error`.
    """

    media_type: bytes
    keepalive: bytes

    def encode(self, event: StreamEvent) -> bytes: ...

    def wrote(self, data: bytes) -> None:
        """To be told of each piece that goes to the client, encoded here or passed through unchanged."""
        ...

    def error(self, error: OstiaryError, request_id: str) -> bytes:
        """What ends a stream that cannot go on, fit to stand behind what was written; nothing may follow it."""
        ...


class ListedModel(msgspec.Struct, frozen=True):
    """A model as `GET /v1/models` shows it; `created` in seconds since 1970."""

    name: str
    created: int


class ClientDialect(Protocol):
    """A wire format as clients speak it. Every decode_* and peek_* raises CallerError with the path of the field at
    fault. `addressed` is what the request's path says; dialects that keep everything in the body ignore it."""

    name: DialectName

    def peek_chat(self, document: Document, addressed: Addressed = IN_BODY) -> ChatPeek: ...
    def chat_needs(self, document: Document, *, media: bool) -> tuple[Capability, ...]:
        """What a chat request that `peek_chat` accepted certainly needs of a model, read without building anything;
        `media` says whether it holds any. Asked for only where a target has known limits."""
        ...

    def decode_chat(self, document: Document, addressed: Addressed = IN_BODY) -> ChatCall: ...
    def encode_chat_reply(self, reply: ChatReply, *, created: int = 0) -> bytes:
        """`created` (seconds since 1970) stands where the provider gave no time and the dialect needs one."""
        ...

    def stream_encoder(
        self, *, include_usage: bool, created: int = 0, addressed: Addressed = IN_BODY
    ) -> StreamEncoder: ...
    def peek_embeddings(self, document: Document, addressed: Addressed = IN_BODY) -> EmbeddingsPeek: ...
    def decode_embeddings(self, document: Document, addressed: Addressed = IN_BODY) -> EmbeddingsCall: ...
    def encode_embeddings_reply(self, reply: EmbeddingsReply, addressed: Addressed = IN_BODY) -> bytes: ...
    def encode_token_count(self, input_tokens: int) -> bytes: ...
    def encode_models(self, models: Sequence[ListedModel], query: bytes = b"") -> bytes:
        """The list, or the part of it that the query asks for. Raises CallerError request.invalid."""
        ...

    def encode_model(self, model: ListedModel) -> bytes: ...
    def encode_error(self, error: OstiaryError, request_id: str) -> ErrorAnswer: ...

    # --- text in place, for guards
    def request_texts(self, document: Document) -> list[TextPlace]: ...
    def edit_request(self, document: Document, edits: Mapping[tuple[str | int, ...], str]) -> bytes: ...
    def reply_texts(self, body: bytes) -> list[TextPlace]: ...


class ProviderDialect(Protocol):
    """A wire format as providers speak it. Every decode_* raises UpstreamError; every encode_* raises CallerError
    request.unsupported naming the caller's field, unless `drop` is true: then the name is in `Encoded.dropped`.

    The `forward_*` are asked for only where the client speaks this dialect too.
    """

    name: DialectName

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
        """The same bytes with the named edits: the model's name, where `report_usage` the option that makes a
        stream end with its usage, `max_tokens` where the caller sent none and a default is set, what this
        provider's server wants otherwise, and what `prompt_cache` asks for where the caller placed nothing of it. `drop` is as for `encode_chat`."""
        ...

    def forward_embeddings(self, document: Document, *, model: str, addressed: Addressed = IN_BODY) -> Encoded: ...
    def forward_count_tokens(self, document: Document, *, model: str) -> Encoded: ...
    def encode_chat(self, call: ChatCall, *, model: str, max_tokens: int | None, drop: bool) -> Encoded: ...
    def encode_count_tokens(self, call: ChatCall, *, model: str, drop: bool) -> Encoded: ...
    def embeddings_pass(self, model: str) -> bool:
        """Whether this model takes and gives vectors in this dialect's own form, so that a call of a client that speaks it
        passes as it came. Otherwise it is translated like any other."""
        ...

    def embedding_inputs(self, model: str) -> int:
        """How many texts this model takes at once, at least 1."""
        ...

    def encode_embeddings(self, call: EmbeddingsCall, *, model: str, drop: bool) -> Encoded: ...
    def tap_chat_reply(self, body: bytes) -> ReplyTap:
        """What metering needs of a plain answer that passes through unchanged. Raises UpstreamError upstream.protocol
        for what is no JSON object in UTF-8 or no answer of this dialect, or the provider's own error under a 200.

        A name that stands twice in an object is not looked for, as it is where an answer is translated: the strict
        pass that finds it takes three times as long as the tap. The client's own reader takes the last, or refuses.
        """
        ...

    def decode_chat_reply(self, body: bytes) -> ChatReply: ...
    def decode_embeddings_reply(self, body: bytes) -> EmbeddingsReply: ...
    def decode_token_count(self, body: bytes) -> int: ...
    def stream_decoder(self, *, events: bool = True) -> StreamDecoder:
        """A decoder for one stream. With `events` false its frames carry no canonical events, which is cheaper and
        is all that a stream passing through unchanged needs."""
        ...

    def decode_error(self, status: int, headers: Sequence[Header], body: bytes) -> UpstreamError: ...


class Dialect(ClientDialect, ProviderDialect, Protocol):
    """A wire format in both parts."""
