"""The table of all routes of the gateway's public listener: the single source of what exists and what it needs.

Every field of a route is required, so that none can be forgotten; tests enumerate the table. Paths are matched
byte for byte against the raw path of the request: no decoding, no normalising, no trailing slash.
"""

import re
from collections.abc import Collection
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from ostiary.core.call import DialectName, Operation
from ostiary.core.limit import BODY_BYTES_MAX
from ostiary.gateway.dialect import IN_BODY, Addressed


class Audit(StrEnum):
    """What the journal keeps of a request: two records of a call, or nothing but counters."""

    CALL = "call"
    COUNTED = "counted"


class Permission(StrEnum):
    """What a key needs."""

    NONE = "none"
    CALL_MODELS = "gateway:models:call"
    LIST_MODELS = "gateway:models:list"


class RateClass(StrEnum):
    """Which limits count a request."""

    NONE = "none"
    CALL = "call"
    READ = "read"


class Endpoint(StrEnum):
    """What answers."""

    CALL = "call"
    MODELS = "models"
    MODEL = "model"
    LIVE = "live"
    READY = "ready"
    SESSION = "session"
    REVIEW = "review"


class MediaType(StrEnum):
    """What a request's body must be: of any type (or there is none), JSON, or a form."""

    ANY = ""
    JSON = "application/json"
    FORM = "multipart/form-data"


class Route(msgspec.Struct, frozen=True):
    """One route. `path` ends in "/" where the rest of the path, up to `suffix`, is an argument; with `published` that is
    only the end of it, behind a project, a location and a publisher, as Vertex AI has it. `operation` is set for
    calls, `streamed` and `batch` where the path alone says so."""

    method: str
    path: bytes
    suffix: bytes
    streamed: bool
    batch: bool
    published: bool
    endpoint: Endpoint
    dialect: DialectName
    operation: Operation | None
    media_type: MediaType
    permission: Permission
    audit: Audit
    rate: RateClass
    body_bytes_max: int


def _call(
    path: bytes,
    dialect: DialectName,
    operation: Operation,
    *,
    method: str = "POST",
    media_type: MediaType = MediaType.JSON,
    suffix: bytes = b"",
    streamed: bool = False,
    batch: bool = False,
    published: bool = False,
) -> Route:
    return Route(
        method=method,
        path=path,
        suffix=suffix,
        streamed=streamed,
        batch=batch,
        published=published,
        endpoint=Endpoint.CALL,
        dialect=dialect,
        operation=operation,
        media_type=media_type,
        permission=Permission.CALL_MODELS,
        audit=Audit.CALL,
        rate=RateClass.CALL,
        body_bytes_max=BODY_BYTES_MAX,
    )


def _form(path: bytes, operation: Operation) -> Route:
    return _call(path, DialectName.OPENAI, operation, media_type=MediaType.FORM)


def _gemini(path: bytes) -> tuple[Route, ...]:
    """Google's form puts the model and what is asked of it into the path, below `path`."""
    return (
        _call(path, DialectName.GEMINI, Operation.CHAT, suffix=b":generateContent"),
        _call(path, DialectName.GEMINI, Operation.CHAT, suffix=b":streamGenerateContent", streamed=True),
        _call(path, DialectName.GEMINI, Operation.EMBEDDINGS, suffix=b":embedContent"),
        _call(path, DialectName.GEMINI, Operation.EMBEDDINGS, suffix=b":batchEmbedContents", batch=True),
        _call(path, DialectName.GEMINI, Operation.COUNT_TOKENS, suffix=b":countTokens"),
    )


def _vertex(path: bytes) -> tuple[Route, ...]:
    """The same calls as Vertex AI's form names them."""
    return tuple(msgspec.structs.replace(route, published=True) for route in _gemini(path))


def _read(path: bytes, endpoint: Endpoint, permission: Permission, dialect: DialectName = DialectName.OPENAI) -> Route:
    return Route(
        method="GET",
        path=path,
        suffix=b"",
        streamed=False,
        batch=False,
        published=False,
        endpoint=endpoint,
        dialect=dialect,
        operation=None,
        media_type=MediaType.ANY,
        permission=permission,
        audit=Audit.COUNTED,
        rate=RateClass.NONE if permission is Permission.NONE else RateClass.READ,
        body_bytes_max=0,
    )


def _session(path: bytes, operation: Operation) -> Route:
    """A WebSocket: opened by a GET that offers one."""
    return msgspec.structs.replace(
        _call(path, DialectName.OPENAI, operation, method="GET", media_type=MediaType.ANY),
        endpoint=Endpoint.SESSION,
        body_bytes_max=0,
    )


ROUTES: Final = (
    _call(b"/v1/chat/completions", DialectName.OPENAI, Operation.CHAT),
    _call(b"/v1/completions", DialectName.COMPLETIONS, Operation.CHAT),
    _call(b"/v1/embeddings", DialectName.OPENAI, Operation.EMBEDDINGS),
    _call(b"/v1/moderations", DialectName.OPENAI, Operation.MODERATION),
    _call(b"/v1/images/generations", DialectName.OPENAI, Operation.IMAGE_GENERATION),
    _form(b"/v1/images/edits", Operation.IMAGE_EDIT),
    _form(b"/v1/images/variations", Operation.IMAGE_VARIATION),
    _call(b"/v1/audio/speech", DialectName.OPENAI, Operation.SPEECH),
    _form(b"/v1/audio/transcriptions", Operation.TRANSCRIPTION),
    _form(b"/v1/audio/translations", Operation.TRANSLATION),
    _call(b"/v1/rerank", DialectName.OPENAI, Operation.RERANK),
    _call(b"/v2/rerank", DialectName.OPENAI, Operation.RERANK),
    _call(b"/v1/messages", DialectName.ANTHROPIC, Operation.CHAT),
    _call(b"/v1/messages/count_tokens", DialectName.ANTHROPIC, Operation.COUNT_TOKENS),
    _call(b"/v1/responses", DialectName.RESPONSES, Operation.CHAT),
    _call(b"/v1/responses/input_tokens", DialectName.RESPONSES, Operation.COUNT_TOKENS),
    *_gemini(b"/v1beta/models/"),
    *_gemini(b"/v1/models/"),  # where Google's SDKs of version 3 look
    *_vertex(b"/v1beta1/projects/"),  # where they look with `vertexai`, for a project
    *_vertex(b"/v1beta1/publishers/"),  # and without one, with a key
    *_vertex(b"/v1/projects/"),
    *_vertex(b"/v1/publishers/"),
    *(
        _call(b"/passthrough/", DialectName.OPENAI, Operation.PASSTHROUGH, method=method, media_type=MediaType.ANY)
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
    ),
    _session(b"/v1/realtime", Operation.REALTIME),
    _read(b"/v1/models", Endpoint.MODELS, Permission.LIST_MODELS),
    _read(b"/v1/models/", Endpoint.MODEL, Permission.LIST_MODELS),
    _read(b"/v1beta/models", Endpoint.MODELS, Permission.LIST_MODELS, DialectName.GEMINI),
    _read(b"/v1beta/models/", Endpoint.MODEL, Permission.LIST_MODELS, DialectName.GEMINI),
    *(
        route
        for version in (b"/v1beta1", b"/v1")
        for route in (
            _read(version + b"/publishers/google/models", Endpoint.MODELS, Permission.LIST_MODELS, DialectName.GEMINI),
            msgspec.structs.replace(
                _read(version + b"/publishers/", Endpoint.MODEL, Permission.LIST_MODELS, DialectName.GEMINI),
                published=True,
            ),
        )
    ),
    _read(b"/v1/reviews/", Endpoint.REVIEW, Permission.CALL_MODELS),
    _read(b"/livez", Endpoint.LIVE, Permission.NONE),
    _read(b"/readyz", Endpoint.READY, Permission.NONE),
)

_DIALECTS: Final = (
    (b"/v1/messages", DialectName.ANTHROPIC),
    (b"/v1/responses", DialectName.RESPONSES),
    (b"/v1beta/", DialectName.GEMINI),
    (b"/v1beta1/", DialectName.GEMINI),
    (b"/v1/projects/", DialectName.GEMINI),
    (b"/v1/publishers/", DialectName.GEMINI),
)
"""What a path begins with, by dialect, where it is not OpenAI's."""

_GEMINI_SUFFIXES: Final = tuple(
    {route.suffix for route in ROUTES if route.dialect is DialectName.GEMINI and route.suffix}
)
_PUBLISHED: Final = re.compile(rb"/v1(?:beta1)?/(?:projects/[^/]+/locations/[^/]+/)?publishers/([^/]+)/models/(.+)")
_GOOGLE: Final = b"google"
_SHARED: Final = b"/v1/models"
"""Where models are, in the form of whoever asks."""

_METHODS: Final = frozenset(route.method for route in ROUTES)
_EXACT: Final = {(route.method, route.path): route for route in ROUTES if not route.path.endswith(b"/")}
_PREFIX: Final = tuple(route for route in ROUTES if route.path.endswith(b"/"))


def find(method: str, path: bytes) -> Route | None:
    """The route of a method and raw path."""
    route = _EXACT.get((method, path))
    if route is None:
        for candidate in _PREFIX:
            if candidate.method == method and path.startswith(candidate.path) and argument(candidate, path):
                return candidate
    return route


def argument(route: Route, path: bytes) -> bytes:
    """What stands in the path where the route has an argument, as it was sent; empty where it does not fit. Google's SDKs
    make a publisher of what stands before a slash in a model's name: here it stands there again."""
    if not path.endswith(route.suffix):
        return b""
    if route.published:
        match = _PUBLISHED.fullmatch(path, 0, len(path) - len(route.suffix))
        if match is None:
            return b""
        publisher, name = match.groups()
        return name if publisher == _GOOGLE else publisher + b"/" + name
    return path[len(route.path) : len(path) - len(route.suffix)]


def addressed(route: Route, path: bytes, query: bytes) -> Addressed:
    """What the path and query of a call say of it."""
    if not route.suffix:
        return IN_BODY
    name = unquote_to_bytes(argument(route, path)).decode("utf-8", "replace")
    return Addressed(name, route.streamed, b"alt=sse" in query.split(b"&"), route.batch)


def methods(path: bytes) -> tuple[str, ...]:
    """The methods a path exists with; empty where there is no such path."""
    return tuple(sorted({method for method in _METHODS if find(method, path) is not None}))


def dialect_of(path: bytes, headers: Collection[bytes] = ()) -> DialectName:
    """The dialect of an answer, route or not: the path's. Where several dialects share a path, the names of `headers`
    tell: Anthropic's clients send a version, Google's their key in a header of its own."""
    if b"anthropic-version" in headers:
        return DialectName.ANTHROPIC
    for beginning, dialect in _DIALECTS:
        if path.startswith(beginning):
            return dialect
    if path.startswith(_SHARED) and (b"x-goog-api-key" in headers or path.endswith(_GEMINI_SUFFIXES)):
        return DialectName.GEMINI
    return DialectName.OPENAI
