"""Errors of Amazon Bedrock: {"message": ...} with the exception's name in the header `x-amzn-errortype`.

Sources: the errors of each operation in the Amazon Bedrock Runtime API reference, and "Common Errors" there for those
of signatures. In a stream the same names arrive as messages of type `exception`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Header, header
from ostiary.gateway.wire.eventstream import EventMessage
from ostiary.gateway.wire.failure import failure
from ostiary.gateway.wire.json import parse_value

# The status each name has over HTTP, and the code where the status alone would say something else.
_NAMES: Final[dict[str, tuple[int, Code | None]]] = {
    "validationexception": (400, None),
    "servicequotaexceededexception": (400, Code.UPSTREAM_RATE_LIMITED),
    "accessdeniedexception": (403, None),
    "expiredtokenexception": (403, Code.UPSTREAM_CREDENTIAL),
    "incompletesignatureexception": (403, Code.UPSTREAM_CREDENTIAL),
    "invalidsignatureexception": (403, Code.UPSTREAM_CREDENTIAL),
    "missingauthenticationtokenexception": (403, Code.UPSTREAM_CREDENTIAL),
    "unrecognizedclientexception": (403, Code.UPSTREAM_CREDENTIAL),
    "resourcenotfoundexception": (404, None),
    "modeltimeoutexception": (408, None),
    "modelerrorexception": (424, Code.UPSTREAM_ERROR),
    "modelstreamerrorexception": (424, Code.UPSTREAM_ERROR),
    "modelnotreadyexception": (429, Code.UPSTREAM_OVERLOADED),
    "throttlingexception": (429, None),
    "internalserverexception": (500, None),
    "serviceunavailableexception": (503, None),
}


def decode_error(status: int, headers: Sequence[Header], body: bytes) -> UpstreamError:
    """What an error answer means. Any bytes are taken: what is no error object gives a generic message."""
    try:
        value = parse_value(body)
    except ValueError:
        value = None
    name = (header(headers, b"x-amzn-errortype") or b"").decode("latin-1")
    if not name and isinstance(value, Mapping) and isinstance(value.get("__type"), str):
        name = value["__type"]
    _, code = _NAMES.get(_plain(name), (status, None))
    return failure(status, headers, _message(value), code=code, words=(_bare(name),))


def stream_error(message: EventMessage) -> UpstreamError:
    """The same of a stream's message of type `exception` or `error`."""
    try:
        value = parse_value(message.payload)
    except ValueError:
        value = None
    name = message.text(":exception-type") or message.text(":error-code")
    status, code = _NAMES.get(_plain(name), (500, Code.UPSTREAM_ERROR))
    text = _message(value) or message.text(":error-message") or None
    return failure(status, (), text, code=code, words=(_bare(name),))


def _bare(name: str) -> str:
    """A name without the namespace before it and the address behind it."""
    return name.partition(":")[0].rpartition("#")[2]


def _plain(name: str) -> str:
    """The same in lower case."""
    return _bare(name).lower()


def _message(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return None
    message = value.get("message", value.get("Message"))
    return message if isinstance(message, str) else None
