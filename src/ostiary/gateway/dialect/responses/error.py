"""Errors in OpenAI's form, and what a response says of its own failure.

A stream ends in an `error` event, whose members stand flat: {"type", "code", "message", "param", "sequence_number"}
(ResponseErrorEvent of the API's description).
"""

from collections.abc import Mapping

from ostiary.core.error import Code, OstiaryError, UpstreamError, provider_code
from ostiary.gateway.dialect import ErrorAnswer
from ostiary.gateway.wire.json import encode
from ostiary.gateway.wire.openai import embedded_error
from ostiary.gateway.wire.openai import encode_error as encode_answer


def encode_error(error: OstiaryError, request_id: str) -> ErrorAnswer:
    """See gateway/dialect."""
    return ErrorAnswer(*encode_answer(error, request_id))


def error_event(error: OstiaryError, request_id: str, sequence_number: int) -> bytes:
    """The data of a stream's last event where it cannot go on."""
    event: dict[str, object] = {
        "type": "error",
        "code": str(error.code),
        "message": error.message,
        "param": error.param,
        "sequence_number": sequence_number,
        "request_id": request_id,
    }
    if theirs := provider_code(error):
        event["provider_code"] = theirs
    return encode(event)


def failed(status: object, error: object) -> UpstreamError | None:
    """The error of a response that gives no answer: by its error object, or because it was given up or is not done.
    None where `status` is that of an answer; a server that leaves the status out has answered."""
    if isinstance(error, Mapping) and error:
        return embedded_error({"error": error})
    if status == "failed":
        return UpstreamError(Code.UPSTREAM_ERROR, "The provider failed while answering.")
    if status == "cancelled":
        return UpstreamError(Code.UPSTREAM_ERROR, "The provider gave up the answer.")
    if status in ("queued", "in_progress"):
        return UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider's answer is not finished.")
    return None
