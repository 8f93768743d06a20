"""Every failure the product can name, drawn as one tree and split by whose fault it is.

    OstiaryError
    ├── CallerError        the request cannot be served as it stands; the caller must change something
    ├── OperatorError      the configuration or the installation is wrong; an operator must change something
    ├── UpstreamError      the provider failed, refused or broke its protocol
    └── GatewayError       we failed, are overloaded or are shutting down

An error carries a `Code`: a stable dotted reason that is the same in the answer, the log, the metric and the
journal. `REASONS` says of each code which HTTP status it has, what causes it, what the caller should do and
whether a retry helps; `docs/errors.md` is generated from it. Each dialect turns an error into its own wire
form in one place (`gateway/dialect/<name>/error.py`). Only `message` may reach a client, so it never holds a
secret, a request body or an upstream's raw text that was not redacted.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec


class Code(StrEnum):
    """The closed vocabulary of reasons. Names are stable: clients branch on them."""

    REQUEST_MALFORMED = "request.malformed"
    REQUEST_INVALID = "request.invalid"
    REQUEST_UNSUPPORTED = "request.unsupported"
    REQUEST_TOO_LARGE = "request.too_large"
    REQUEST_LIMIT = "request.limit"
    REQUEST_MEDIA_TYPE = "request.media_type"
    REQUEST_METHOD = "request.method_not_allowed"
    REQUEST_TIMEOUT = "request.timeout"
    REQUEST_UPGRADE = "request.upgrade_required"
    ROUTE_NOT_FOUND = "route.not_found"
    AUTH_MISSING = "auth.missing"
    AUTH_INVALID = "auth.invalid"
    AUTH_AMBIGUOUS = "auth.ambiguous"
    AUTH_IN_QUERY = "auth.in_query"
    POLICY_MODEL_NOT_ALLOWED = "policy.model_not_allowed"
    POLICY_PASSTHROUGH = "policy.passthrough"
    POLICY_MAX_TOKENS = "policy.max_tokens"
    POLICY_TOOL_DEPTH = "policy.tool_depth"
    POLICY_SENSITIVITY = "policy.sensitivity"
    POLICY_RESIDENCY = "policy.residency"
    LIMIT_REQUESTS = "limit.requests"
    LIMIT_TOKENS = "limit.tokens"
    LIMIT_CONCURRENCY = "limit.concurrency"
    BUDGET_EXHAUSTED = "budget.exhausted"
    COUNTERS_UNAVAILABLE = "counters.unavailable"
    MODEL_NOT_FOUND = "model.not_found"
    MODEL_UNSUITABLE = "model.unsuitable"
    MODEL_CONDITION = "model.condition"
    CAPABILITY_IMAGES = "capability.images"
    CAPABILITY_FILES = "capability.files"
    CAPABILITY_AUDIO = "capability.audio"
    CAPABILITY_VIDEO = "capability.video"
    CAPABILITY_IMAGE_OUTPUT = "capability.image_output"
    CAPABILITY_AUDIO_OUTPUT = "capability.audio_output"
    CAPABILITY_TOOLS = "capability.tools"
    CAPABILITY_STRUCTURED_OUTPUT = "capability.structured_output"
    CAPABILITY_THINKING = "capability.thinking"
    CAPABILITY_LOGPROBS = "capability.logprobs"
    CAPABILITY_CONTEXT_WINDOW = "capability.context_window"
    CAPABILITY_MAX_TOKENS = "capability.max_tokens"
    PRICE_UNKNOWN = "price.unknown"
    CACHE_MISS = "cache.miss"
    IDEMPOTENCY_INVALID = "idempotency.invalid"
    IDEMPOTENCY_MISMATCH = "idempotency.mismatch"
    IDEMPOTENCY_IN_FLIGHT = "idempotency.in_flight"
    IDEMPOTENCY_NOT_REPLAYABLE = "idempotency.not_replayable"
    REVIEW_EXPIRED = "review.expired"
    REVIEW_DECLINED = "review.declined"
    AUDIT_UNAVAILABLE = "audit.unavailable"
    HEDGE_LOST = "hedge.lost"
    MODEL_BUSY = "model.busy"
    GATEWAY_OVERLOADED = "gateway.overloaded"
    GATEWAY_DRAINING = "gateway.draining"
    GATEWAY_NOT_READY = "gateway.not_ready"
    GATEWAY_INTERNAL = "gateway.internal"
    CLIENT_GONE = "client.gone"
    CLIENT_SLOW = "client.slow"
    UPSTREAM_UNREACHABLE = "upstream.unreachable"
    UPSTREAM_TLS = "upstream.tls"
    UPSTREAM_TIMEOUT = "upstream.timeout"
    UPSTREAM_PROTOCOL = "upstream.protocol"
    UPSTREAM_TOO_LARGE = "upstream.too_large"
    UPSTREAM_CUT = "upstream.cut"
    UPSTREAM_CREDENTIAL = "upstream.credential"
    UPSTREAM_REFUSED = "upstream.refused"
    UPSTREAM_CONTEXT_WINDOW = "upstream.context_window"
    UPSTREAM_CONTENT_FILTER = "upstream.content_filter"
    UPSTREAM_RATE_LIMITED = "upstream.rate_limited"
    UPSTREAM_OVERLOADED = "upstream.overloaded"
    UPSTREAM_ERROR = "upstream.error"
    UPSTREAM_UNAVAILABLE = "upstream.unavailable"
    UPSTREAM_SCHEMA = "upstream.schema"
    UPSTREAM_QUALITY = "upstream.quality"
    GUARD_ANSWER = "guard.answer"
    CONFIG_INVALID = "config.invalid"
    STORE_UNAVAILABLE = "store.unavailable"
    JOURNAL_CORRUPT = "journal.corrupt"
    CALL_ABORTED = "call.aborted"
    AUTH_FORBIDDEN = "auth.forbidden"
    OBJECT_INVALID = "object.invalid"
    OBJECT_NOT_FOUND = "object.not_found"
    OBJECT_EXISTS = "object.exists"
    OBJECT_FILE_OWNED = "object.file_owned"


class Reason(msgspec.Struct, frozen=True):
    """What is documented of one code. `status` is the HTTP status of the answer (0: never answered over HTTP)."""

    status: int
    cause: str
    advice: str
    retryable: bool


def _incapable(what: str, otherwise: str) -> Reason:
    return Reason(400, f"No target of the model can {what}.", f"Use a model that can, or {otherwise}.", False)


REASONS: Final[Mapping[Code, Reason]] = MappingProxyType(
    {
        Code.REQUEST_MALFORMED: Reason(
            400,
            "The request is not valid HTTP or its body is not strict JSON (duplicate keys, bad UTF-8, too deep, "
            "trailing bytes).",
            "Send one well-formed JSON document in UTF-8.",
            False,
        ),
        Code.REQUEST_INVALID: Reason(
            400, "A field is missing or has a wrong type or value.", "Correct the field named in the message.", False
        ),
        Code.REQUEST_UNSUPPORTED: Reason(
            400,
            "A field or content part cannot be carried to the model this request goes to.",
            "Leave the named field out, choose another model, or send `x-ostiary-drop-unsupported: true`.",
            False,
        ),
        Code.REQUEST_TOO_LARGE: Reason(413, "The body is larger than this route accepts.", "Send less.", False),
        Code.REQUEST_LIMIT: Reason(
            400,
            "A count or size in the request is beyond a bound of this gateway.",
            "Stay below the bound named.",
            False,
        ),
        Code.REQUEST_MEDIA_TYPE: Reason(
            415, "The content type or content encoding is not accepted here.", "Send plain application/json.", False
        ),
        Code.REQUEST_METHOD: Reason(
            405, "The path exists but not with this method.", "Use the method in `allow`.", False
        ),
        Code.REQUEST_TIMEOUT: Reason(
            408, "The request did not arrive completely in time.", "Send the whole request without pauses.", True
        ),
        Code.REQUEST_UPGRADE: Reason(
            426,
            "The path is a WebSocket's, or another version of it was offered.",
            "Connect with a WebSocket client, version 13, and no intermediary that drops `upgrade`.",
            False,
        ),
        Code.ROUTE_NOT_FOUND: Reason(404, "No such path.", "Check the base URL and the path.", False),
        Code.AUTH_MISSING: Reason(401, "No key was sent.", "Send the key as your SDK does.", False),
        Code.AUTH_INVALID: Reason(
            401, "The key is unknown, revoked or expired.", "Ask the owner of the gateway for a valid key.", False
        ),
        Code.AUTH_AMBIGUOUS: Reason(400, "Two different keys were sent.", "Send one key.", False),
        Code.AUTH_IN_QUERY: Reason(
            400,
            "A key was sent in the query string, where logs would keep it.",
            "Send it as a header; rotate it.",
            False,
        ),
        Code.POLICY_MODEL_NOT_ALLOWED: Reason(
            403, "The key or its team may not use this model.", "Use a model from `GET /v1/models`.", False
        ),
        Code.POLICY_PASSTHROUGH: Reason(
            403,
            "The team may not reach this provider by passthrough, or the path has an endpoint of its own here.",
            "Use that endpoint, or ask for the provider in the team's `passthrough`.",
            False,
        ),
        Code.POLICY_MAX_TOKENS: Reason(
            400, "More output tokens were asked for than the model entry or the team allows.", "Ask for fewer.", False
        ),
        Code.POLICY_TOOL_DEPTH: Reason(
            400,
            "The conversation holds more consecutive tool rounds than allowed.",
            "End the loop, or ask for a higher bound.",
            False,
        ),
        Code.POLICY_SENSITIVITY: Reason(
            403,
            "Data with this sensitivity label may not go to any target of the model.",
            "Use a private model.",
            False,
        ),
        Code.POLICY_RESIDENCY: Reason(
            403,
            "The model or the key's team is bound to regions or to private targets, and no target of the model is there.",
            "Choose another model, or ask the operator.",
            False,
        ),
        Code.LIMIT_REQUESTS: Reason(
            429,
            "More requests came in a minute than a limit of the key, user, team, tenant or model lets through.",
            "Wait for the time in `retry-after`, or ask for a higher limit.",
            True,
        ),
        Code.LIMIT_TOKENS: Reason(
            429,
            "More tokens were asked for in a minute than a limit lets through.",
            "Wait for the time in `retry-after`, or ask for fewer output tokens.",
            True,
        ),
        Code.LIMIT_CONCURRENCY: Reason(
            429, "As many calls are open at once as a limit lets through.", "Wait until one of them has ended.", True
        ),
        Code.BUDGET_EXHAUSTED: Reason(
            402,
            "What the call may cost at most is more than what is left of a budget for its period.",
            "Ask for fewer output tokens, wait for the next period, or ask for a higher budget.",
            False,
        ),
        Code.COUNTERS_UNAVAILABLE: Reason(
            503,
            "A budget covers the call, and what is left of it cannot be told: the shared counters cannot be reached, or "
            "are being built anew.",
            "Retry after the time in `retry-after`; the operator is alarmed.",
            True,
        ),
        Code.MODEL_NOT_FOUND: Reason(404, "No such model.", "Use a model from `GET /v1/models`.", False),
        Code.MODEL_UNSUITABLE: Reason(
            400, "The model's targets do not offer this endpoint.", "Choose a model that does.", False
        ),
        Code.MODEL_CONDITION: Reason(
            400,
            "No target of the model takes such a call: the operator's conditions for them do not hold.",
            "Choose another model, or ask the operator.",
            False,
        ),
        Code.CAPABILITY_IMAGES: _incapable("take images", "leave the images out"),
        Code.CAPABILITY_FILES: _incapable("take PDF files", "send their text instead"),
        Code.CAPABILITY_AUDIO: _incapable("take sound", "send a transcript instead"),
        Code.CAPABILITY_VIDEO: _incapable("take video", "leave it out"),
        Code.CAPABILITY_IMAGE_OUTPUT: _incapable("make images", "ask for text alone"),
        Code.CAPABILITY_AUDIO_OUTPUT: _incapable("answer in sound", "ask for text alone"),
        Code.CAPABILITY_TOOLS: _incapable("call tools", "leave the tools out"),
        Code.CAPABILITY_STRUCTURED_OUTPUT: _incapable("answer by a JSON schema", "ask for it in the prompt"),
        Code.CAPABILITY_THINKING: _incapable("think before it answers", "leave the setting for it out"),
        Code.CAPABILITY_LOGPROBS: _incapable("tell log probabilities", "do not ask for them"),
        Code.CAPABILITY_CONTEXT_WINDOW: _incapable("take as many tokens as the request has", "shorten it"),
        Code.CAPABILITY_MAX_TOKENS: _incapable("answer with as many tokens as were asked for", "ask for fewer"),
        Code.PRICE_UNKNOWN: Reason(
            403,
            "No price is known for the target and the operator refuses unpriced calls.",
            "Ask the operator to add a price.",
            False,
        ),
        Code.CACHE_MISS: Reason(
            504,
            "The caller wanted a kept answer and nothing else, and there is none.",
            "Leave `only-if-cached` out of `cache-control`.",
            False,
        ),
        Code.IDEMPOTENCY_INVALID: Reason(
            400,
            "The idempotency key is no text of 1 to 255 visible characters.",
            "Send one, such as a UUID.",
            False,
        ),
        Code.IDEMPOTENCY_MISMATCH: Reason(
            422,
            "The idempotency key was used for another request.",
            "Use a new key for each request, and the same one only to repeat it.",
            False,
        ),
        Code.IDEMPOTENCY_IN_FLIGHT: Reason(
            409,
            "The request with this idempotency key is still being worked on.",
            "Retry after the time in `retry-after`, or send `last-event-id` to follow a stream.",
            True,
        ),
        Code.IDEMPOTENCY_NOT_REPLAYABLE: Reason(
            409,
            "The request with this idempotency key was done, and its answer could not be kept.",
            "Look up what it did; a new key does it again.",
            False,
        ),
        Code.REVIEW_EXPIRED: Reason(
            410,
            "The ticket has ended: nobody decided in time, or the decision is no longer kept.",
            "Make the call again.",
            False,
        ),
        Code.REVIEW_DECLINED: Reason(
            422, "A person looked at the call and declined to answer it.", "Ask for something else.", False
        ),
        Code.AUDIT_UNAVAILABLE: Reason(
            503,
            "The audit journal cannot be written, so no call may go out.",
            "Retry later; the operator is alarmed.",
            True,
        ),
        Code.GATEWAY_OVERLOADED: Reason(
            503,
            "The gateway is at a bound of its own: of calls in flight, of those that wait, of memory, or of what its "
            "processor can do.",
            "Retry after the time in `retry-after`.",
            True,
        ),
        Code.HEDGE_LOST: Reason(
            0, "Another target was asked too and was faster; the call went on with that one.", "Nothing to do.", False
        ),
        Code.MODEL_BUSY: Reason(
            503,
            "As many calls as the model's servers take are in flight, and no place comes free in time.",
            "Retry after the time in `retry-after`.",
            True,
        ),
        Code.GATEWAY_DRAINING: Reason(503, "This gateway is shutting down.", "Retry; another replica answers.", True),
        Code.GATEWAY_NOT_READY: Reason(503, "The gateway has not loaded its configuration.", "Retry shortly.", True),
        Code.GATEWAY_INTERNAL: Reason(
            500, "A fault of the gateway.", "Report it with the request id; a retry may help.", True
        ),
        Code.CLIENT_GONE: Reason(499, "The client went away before the answer was complete.", "Nothing to do.", True),
        Code.CLIENT_SLOW: Reason(
            499, "The client read its answer slower than the gateway waits.", "Read the answer as it arrives.", True
        ),
        Code.UPSTREAM_UNREACHABLE: Reason(
            502, "No connection to the provider could be made.", "Retry; the provider may be down.", True
        ),
        Code.UPSTREAM_TLS: Reason(
            502,
            "The provider's certificate could not be verified, or TLS failed.",
            "The operator must check the CA bundle and the host name.",
            False,
        ),
        Code.UPSTREAM_TIMEOUT: Reason(504, "The provider did not answer in time.", "Retry.", True),
        Code.UPSTREAM_PROTOCOL: Reason(
            502, "The provider's answer breaks its own protocol.", "Retry; report it if it stays.", True
        ),
        Code.UPSTREAM_TOO_LARGE: Reason(502, "The provider's answer is beyond a bound.", "Ask for less.", False),
        Code.UPSTREAM_CUT: Reason(502, "The provider's answer ended early.", "Retry.", True),
        Code.UPSTREAM_CREDENTIAL: Reason(
            502, "The provider refused the gateway's own credential.", "The operator must renew it.", False
        ),
        Code.UPSTREAM_REFUSED: Reason(
            400, "The provider refused the request as invalid.", "Correct it as the message says.", False
        ),
        Code.UPSTREAM_CONTEXT_WINDOW: Reason(
            400,
            "The request is longer than the model can take.",
            "Shorten the conversation, or use a model with a larger context window.",
            False,
        ),
        Code.UPSTREAM_CONTENT_FILTER: Reason(
            400,
            "The provider refused the request for its content.",
            "Change what the request says, or use a model with other rules.",
            False,
        ),
        Code.UPSTREAM_RATE_LIMITED: Reason(
            429, "The provider's rate limit is reached.", "Retry after the time given.", True
        ),
        Code.UPSTREAM_OVERLOADED: Reason(503, "The provider is overloaded.", "Retry after the time given.", True),
        Code.UPSTREAM_ERROR: Reason(502, "The provider failed.", "Retry.", True),
        Code.UPSTREAM_UNAVAILABLE: Reason(
            503,
            "Every target of the model failed lately and rests.",
            "Retry after the time in `retry-after`.",
            True,
        ),
        Code.UPSTREAM_SCHEMA: Reason(
            502,
            "The model's answer is no JSON, or does not fit the schema that the request asked for, and no fallback's does.",
            "Retry, ask for a simpler schema, or use a model that keeps to schemas.",
            True,
        ),
        Code.UPSTREAM_QUALITY: Reason(
            502,
            "The model's answer is poor by what the model's entry calls so, and no fallback's is better.",
            "Retry, or ask for something else: `x-request-id` leads to the record, which says what was found.",
            True,
        ),
        Code.GUARD_ANSWER: Reason(
            502,
            "A guard kept the answer back. No guard looks at answers in this version, so nothing gives this reason yet.",
            "Ask for something else.",
            False,
        ),
        Code.CONFIG_INVALID: Reason(0, "The configuration is not valid.", "Correct the file and line named.", False),
        Code.STORE_UNAVAILABLE: Reason(0, "The database cannot be used.", "See the message.", True),
        Code.JOURNAL_CORRUPT: Reason(
            0, "The journal's chain does not verify.", "Keep the files and investigate; do not delete them.", False
        ),
        Code.CALL_ABORTED: Reason(
            0, "The gateway process died while the call was open; recovery closed its record.", "Retry the call.", True
        ),
        Code.AUTH_FORBIDDEN: Reason(403, "You may not do this.", "Ask for the permission named.", False),
        Code.OBJECT_INVALID: Reason(400, "A field of the object has a wrong value.", "Correct the field named.", False),
        Code.OBJECT_NOT_FOUND: Reason(404, "No such object.", "Check its name or id.", False),
        Code.OBJECT_EXISTS: Reason(409, "An object with this name exists.", "Choose another name.", False),
        Code.OBJECT_FILE_OWNED: Reason(
            409, "The configuration file defines this object.", "Edit the file named instead.", False
        ),
    }
)


class OstiaryError(Exception):
    """A failure with a stable reason.

    Parameters: `code`, the reason; `message`, one or two sentences for the person who reads it, free of secrets;
    `param`, the path of the field at fault in the caller's own terms, if one is; `retry_after_seconds`, when a
    retry may succeed, if known; `status`, where an upstream's own status is passed on instead of the reason's.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.status = REASONS[code].status if status is None else status

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class CallerError(OstiaryError):
    """The caller must change the request."""


class OperatorError(OstiaryError):
    """An operator must change the configuration or the installation."""


class UpstreamError(OstiaryError):
    """The provider failed, refused or broke its protocol. `provider_code` is its own word for why: short, printable,
    for people; empty where it gave none. What a program should go by is `code`."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        status: int | None = None,
        provider_code: str = "",
    ) -> None:
        super().__init__(code, message, param=param, retry_after_seconds=retry_after_seconds, status=status)
        self.provider_code = provider_code


def provider_code(error: OstiaryError) -> str:
    """The provider's own word for a failure of its, or the empty text."""
    return error.provider_code if isinstance(error, UpstreamError) else ""


class GatewayError(OstiaryError):
    """We failed, are overloaded or are shutting down."""
