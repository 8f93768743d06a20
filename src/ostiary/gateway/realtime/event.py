"""The events of OpenAI's realtime API, as far as the gateway reads them. Pure: bytes in, values and edited bytes out.

Of a client's events the kinds are a closed list: what nobody here knows could start something that nobody counts. A
provider's events of other kinds pass unread. Both generations of names are read: `audio.input.transcription` and
`max_output_tokens`, and before them `input_audio_transcription` and `max_response_output_tokens`.
"""

from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import unquote_to_bytes

import msgspec

from ostiary.core.error import CallerError, Code, OstiaryError, UpstreamError
from ostiary.core.limit import MAX_TOKENS_MAX, MODEL_NAME_BYTES_MAX, USAGE_TOKENS_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.wire.failure import safe_text
from ostiary.gateway.wire.field import invalid, unsupported, whole_number
from ostiary.gateway.wire.json import Document, encode, parse, parse_answer, raw_members
from ostiary.gateway.wire.openai import error_object

SESSION_UPDATE: Final = "session.update"
RESPONSE_CREATE: Final = "response.create"
AUDIO_APPEND: Final = "input_audio_buffer.append"
CLIENT_EVENTS: Final = frozenset(
    {
        SESSION_UPDATE,
        RESPONSE_CREATE,
        AUDIO_APPEND,
        "response.cancel",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "output_audio_buffer.clear",
        "conversation.item.create",
        "conversation.item.delete",
        "conversation.item.retrieve",
        "conversation.item.truncate",
    }
)

SESSION_EVENTS: Final = frozenset({"session.created", "session.updated"})
RESPONSE_CREATED: Final = "response.created"
RESPONSE_DONE: Final = "response.done"
TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"
ERROR: Final = "error"
AUDIO_DELTAS: Final = frozenset({"response.output_audio.delta", "response.audio.delta"})

_EVENT_ID_CHARS_MAX: Final = 512
_TRANSCRIPTION: Final = (
    ("session", "audio", "input", "transcription", "model"),
    ("session", "input_audio_transcription", "model"),
)
_MODEL: Final = ("session", "model")
_BOUNDS: Final = ("max_output_tokens", "max_response_output_tokens")

Path = tuple[str, ...]


class Asked(msgspec.Struct, frozen=True):
    """A client's event: its kind, the client's own id for it (empty: none) and the whole."""

    kind: str
    event_id: str
    document: Document


def asked(raw: bytes) -> Asked:
    """Read a client's event. Raises CallerError for what is no event, or of a kind not known here."""
    document = parse(raw)
    kind, event_id = document.tree.get("type"), document.tree.get("event_id")
    if type(kind) is not str:
        invalid("type", "must be a string")
    if event_id is not None and (type(event_id) is not str or len(event_id) > _EVENT_ID_CHARS_MAX):
        invalid("event_id", f"must be a string of at most {_EVENT_ID_CHARS_MAX} characters")
    if kind not in CLIENT_EVENTS:
        unsupported("type", "is no event that is known here")
    return Asked(kind, event_id or "", document)


def event_id_of(raw: bytes) -> str:
    """The id of an event that could not be read otherwise, for the error that tells so; empty where it has none."""
    try:
        found = _HEAD.decode(raw).event_id
    except (msgspec.DecodeError, RecursionError):
        return ""
    return found if type(found) is str and len(found) <= _EVENT_ID_CHARS_MAX else ""


# --- what a client's event says ---------------------------------------------------------------------------


class Wanted(msgspec.Struct, frozen=True):
    """What an update of a session asks for that the rules look at. None: it says nothing of it. `bound` is the most
    output tokens of a response, with `unbounded` where it asks for as many as there are."""

    model: str | None
    transcription: str | None
    transcription_path: Path
    bound: int | None
    unbounded: bool


def wanted(event: Asked) -> Wanted:
    """Read a `session.update`. Raises CallerError for a session that does not converse, and for wrong types."""
    session = _members(event.document.tree, "session")
    kind = session.get("type")
    if kind is not None and kind != "realtime":
        unsupported("session.type", "must be realtime: sessions that only transcribe or translate are not offered here")
    path, transcription = _found(event.document.tree, _TRANSCRIPTION)
    bound, unbounded = _bound(session, "session")
    return Wanted(_name(session, "model", "session.model"), transcription, path, bound, unbounded)


def response_bound(event: Asked) -> tuple[int | None, bool]:
    """The most output tokens that a `response.create` asks for (None: it does not say), and whether it asks for as many
    as there are. Raises CallerError for wrong types, and for another model."""
    response = _members(event.document.tree, "response")
    if response.get("model") is not None:
        unsupported("response.model", "cannot be chosen here: a session has one model")
    return _bound(response, "response")


def _bound(members: Mapping[str, object], path: str) -> tuple[int | None, bool]:
    for name in _BOUNDS:
        value = members.get(name)
        if value == "inf" and type(value) is str:
            return None, True
        if value is not None:
            return whole_number(value, f"{path}.{name}", 1, MAX_TOKENS_MAX), False
    return None, False


def _members(tree: dict[str, object], key: str) -> dict[str, object]:
    value = tree.get(key)
    if value is None:
        return {}
    if type(value) is not dict:
        invalid(key, "must be an object")
    return value


def _name(members: Mapping[str, object], key: str, path: str) -> str | None:
    value = members.get(key)
    if value is None:
        return None
    if type(value) is not str or not value or len(value.encode()) > MODEL_NAME_BYTES_MAX:
        invalid(path, "must be the name of a model")
    return value


def _found(tree: dict[str, object], paths: tuple[Path, ...]) -> tuple[Path, str | None]:
    """The one of some paths at which a string stands. Raises CallerError where two do: which holds would be a guess."""
    found: list[tuple[Path, str]] = []
    for path in paths:
        value: object = tree
        for key in path:
            value = value.get(key) if type(value) is dict else None
        if value is not None:
            name = ".".join(path)
            if type(value) is not str or not value or len(value.encode()) > MODEL_NAME_BYTES_MAX:
                invalid(name, "must be the name of a model")
            found.append((path, value))
    if len(found) > 1:
        invalid("session", "names a model for transcription twice")
    return found[0] if found else ((), None)


# --- edits ------------------------------------------------------------------------------------------------


def edited(document: Document, edits: Mapping[Path, bytes]) -> bytes:
    """The event with raw JSON put at some paths, replaced or added; every other value keeps its bytes. What stands on the
    way to a path and is no object is replaced by one."""
    if not edits:
        return document.raw
    below: dict[str, dict[Path, bytes]] = {}
    for path, value in edits.items():
        below.setdefault(path[0], {})[path[1:]] = value
    members = raw_members(document)
    for name, inner in below.items():
        whole = inner.get(())
        if whole is None:
            tree = document.tree.get(name)
            child = Document(bytes(members[name]), tree) if type(tree) is dict else Document(b"{}", {})
            whole = edited(child, inner)
        members[name] = msgspec.Raw(whole)
    return encode(members)


def bound_edit(event: Asked, key: str, cap: int) -> dict[Path, bytes]:
    """What puts a bound on the output tokens into `session` or `response`, under the name that stands there already."""
    members = _members(event.document.tree, key)
    name = next((one for one in _BOUNDS if one in members), _BOUNDS[0])
    return {(key, name): b"%d" % cap}


def session_cap(created: Document, cap: int, event_id: str) -> bytes:
    """The update that puts a cap on all responses of a session, in the generation of names of its `session.created`."""
    session = created.tree.get("session")
    older = type(session) is dict and _BOUNDS[1] in session
    kind = {} if older else {"type": "realtime"}
    return encode(
        {"type": SESSION_UPDATE, "event_id": event_id, "session": {**kind, _BOUNDS[1] if older else _BOUNDS[0]: cap}}
    )


def cancel(response_id: str) -> bytes:
    """The event that stops a response."""
    return encode({"type": "response.cancel", "response_id": response_id})


# --- what a provider's event says -------------------------------------------------------------------------


class _Named(msgspec.Struct, frozen=True):
    id: object = None


class Head(msgspec.Struct, frozen=True):
    """What is read of every event of a provider. Members of another type than usual count as not there."""

    type: object = None
    event_id: object = None
    response_id: object = None
    response: msgspec.Raw = msgspec.Raw()
    delta: msgspec.Raw = msgspec.Raw()

    @property
    def kind(self) -> str:
        """The event's kind, empty where it has none."""
        return self.type if type(self.type) is str else ""

    @property
    def of_response(self) -> str:
        """The response that the event belongs to, or empty."""
        if type(self.response_id) is str:
            return self.response_id
        if not bytes(self.response):
            return ""
        try:
            found = _NAMED.decode(self.response).id
        except (msgspec.DecodeError, RecursionError):
            return ""
        return found if type(found) is str else ""


_HEAD: Final = msgspec.json.Decoder(Head)
_NAMED: Final = msgspec.json.Decoder(_Named)


def head(raw: bytes) -> Head:
    """Read a provider's event. Raises UpstreamError upstream.protocol for what is none."""
    try:
        found = _HEAD.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's event is not a JSON object.") from None
    if not found.kind:
        raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's event has no type.")
    return found


_Count = Annotated[int, msgspec.Meta(ge=0, le=USAGE_TOKENS_MAX)]


class _Cached(msgspec.Struct):
    audio_tokens: _Count | None = None
    image_tokens: _Count | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    image_tokens: _Count | None = None
    cached_tokens_details: _Cached | None = None


class _OutputDetails(msgspec.Struct):
    audio_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    input_token_details: _InputDetails | None = None
    output_token_details: _OutputDetails | None = None
    seconds: float | None = None


class Done(msgspec.Struct, frozen=True):
    """How a response ended: its own word, its usage (None: not reported, or with numbers that cannot be true), and
    whether it belongs to the session's conversation, so that the next one reads what it said."""

    status: str
    usage: Usage | None
    joins: bool


def done(raw: bytes) -> Done:
    """Read a `response.done`. Raises UpstreamError upstream.protocol for JSON that is not strict."""
    response = parse_answer(raw).tree.get("response")
    if type(response) is not dict:
        return Done("", None, joins=False)
    status = response.get("status")
    joins = response.get("conversation_id", "") is not None
    return Done(status if type(status) is str else "", usage_of(response.get("usage")), joins=joins)


def transcribed(raw: bytes) -> Usage | None:
    """The usage in the event of a transcript: tokens, or how long the sound was."""
    return usage_of(parse_answer(raw).tree.get("usage"))


def usage_of(value: object) -> Usage | None:
    """A usage object. Cached tokens are told apart from audio and images, so that each token is of one kind."""
    try:
        wire = msgspec.convert(value, _Usage)
    except msgspec.ValidationError:
        return None
    if wire.seconds is not None:
        fits = 0.0 <= wire.seconds <= USAGE_TOKENS_MAX
        return Usage(audio_milliseconds=round(wire.seconds * 1000)) if fits else None
    if wire.input_tokens is None and wire.output_tokens is None:
        return None
    inside = wire.input_token_details or _InputDetails()
    outside = wire.output_token_details or _OutputDetails()
    cached = inside.cached_tokens_details or _Cached()
    usage = Usage(
        input_tokens=wire.input_tokens or 0,
        output_tokens=wire.output_tokens or 0,
        cached_tokens=inside.cached_tokens or 0,
        reasoning_tokens=outside.reasoning_tokens or 0,
        input_audio_tokens=max((inside.audio_tokens or 0) - (cached.audio_tokens or 0), 0),
        output_audio_tokens=outside.audio_tokens or 0,
        input_image_tokens=max((inside.image_tokens or 0) - (cached.image_tokens or 0), 0),
    )
    parts_in = usage.cached_tokens + usage.input_audio_tokens + usage.input_image_tokens
    parts_out = usage.output_audio_tokens + usage.reasoning_tokens
    return None if parts_in > usage.input_tokens or parts_out > usage.output_tokens else usage


def renamed(document: Document, names: Mapping[str, str]) -> bytes:
    """A session as the provider tells it, with its models under the names that clients know; others stay."""
    edits: dict[Path, bytes] = {}
    for path in (_MODEL, *_TRANSCRIPTION):
        value: object = document.tree
        for key in path:
            value = value.get(key) if type(value) is dict else None
        if type(value) is str and value in names:
            edits[path] = encode(names[value])
    return edited(document, edits)


def model_edit(name: str, path: Path = _MODEL) -> dict[Path, bytes]:
    """What puts a model's name into a session."""
    return {path: encode(name)}


def session_model(document: Document) -> str:
    """The model that a provider says a session has, or empty."""
    session = document.tree.get("session")
    model = session.get("model") if type(session) is dict else None
    return model if type(model) is str else ""


class Failed(msgspec.Struct, frozen=True):
    """A provider's error: the client's event that caused it (empty: not said), and the event as a client may see it."""

    event_id: str
    raw: bytes


def failed(raw: bytes) -> Failed:
    """Read a provider's `error`. Its text is masked like that of any provider's failure."""
    document = parse_answer(raw)
    error = document.tree.get("error")
    if type(error) is not dict:
        return Failed("", encode({"type": ERROR, "error": {"type": "server_error", "message": "The provider failed."}}))
    event_id = error.get("event_id")
    message = error.get("message")
    edits: dict[Path, bytes] = {}
    if type(message) is str:
        edits[("error", "message")] = encode(safe_text(message))
    return Failed(event_id if type(event_id) is str else "", edited(document, edits))


def error_event(error: OstiaryError, event_id: str, number: str) -> bytes:
    """An error of ours as an event; `event_id` is that of the client's event it answers (empty: of none), `number`
    its own."""
    inner = error_object(error)["error"]
    assert type(inner) is dict
    if event_id:
        inner = {**inner, "event_id": event_id}
    return encode({"type": ERROR, "event_id": number, "error": inner})


def query_model(query: bytes) -> str:
    """The model that the query of an opening request names. Raises CallerError where there is none or more than one,
    and for what else a query may ask for."""
    found: str | None = None
    for pair in query.split(b"&"):
        if not pair:
            continue
        name, _, value = pair.partition(b"=")
        if name != b"model" or found is not None:
            shown = name[:40].decode("ascii", "replace")
            problem = "stands there twice" if name == b"model" else "is no parameter that is known here"
            raise CallerError(Code.REQUEST_UNSUPPORTED, f"`{shown}` {problem}.", param=shown)
        found = _unquoted(value)
    if not found:
        raise CallerError(Code.REQUEST_INVALID, "Name the model in the query: `?model=…`.", param="model")
    if len(found.encode()) > MODEL_NAME_BYTES_MAX:
        raise CallerError(Code.REQUEST_LIMIT, f"`model` is beyond {MODEL_NAME_BYTES_MAX} bytes.", param="model")
    return found


def _unquoted(value: bytes) -> str:
    """A query's value, percent-decoded; "+" is a space there."""
    try:
        return unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise CallerError(Code.REQUEST_INVALID, "`model` is not UTF-8.", param="model") from None
