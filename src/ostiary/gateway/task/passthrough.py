"""Any other path of a provider, byte for byte: files, batches, fine-tuning and whatever comes next.

It is no side door. A team names the providers it may reach this way; a path that has an endpoint of its own here is
refused, so that allow-lists, caps and translation cannot be walked around; a body that names a model must name one
that the key may use at this provider. What the answer shows of usage is costed.
"""

# ruff: noqa: ARG002 - the contract hands every task what only some of them use

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from ostiary.core.capability import NO_NEED, Need
from ostiary.core.decision import Deny
from ostiary.core.error import CallerError, Code
from ostiary.core.http import Header, header
from ostiary.core.label import Sensitivity
from ostiary.core.limit import PASSTHROUGH_TAP_BYTES_MAX
from ostiary.core.principal import Principal
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ClientDialect, Encoded, ProviderDialect
from ostiary.gateway.meter import estimate
from ostiary.gateway.policy.access import Ask, Grant, Grants
from ostiary.gateway.relay import RawRelay, event_stream
from ostiary.gateway.task import Terms, Told
from ostiary.gateway.wire import json
from ostiary.snapshot.index import Target

_ASKED: Final = frozenset(
    (
        b"accept",
        b"anthropic-beta",
        b"anthropic-version",
        b"content-type",
        b"idempotency-key",
        b"if-match",
        b"if-none-match",
        b"openai-beta",
        b"range",
        b"x-goog-upload-command",
        b"x-goog-upload-header-content-length",
        b"x-goog-upload-header-content-type",
        b"x-goog-upload-offset",
        b"x-goog-upload-protocol",
    )
)
"""The caller's headers that go along. Never a credential, and nothing that speaks of the way to us."""

_SERVED: Final = (
    b"chat/completions",
    b"completions",
    b"embeddings",
    b"messages",
    b"messages/count_tokens",
    b"moderations",
    b"rerank",
    b"responses",
)
"""Ends of paths that have an endpoint of their own here, whatever version stands before them."""

_SERVED_PARTS: Final = (b"/images/", b"/audio/", b"/converse", b"/invoke", b"/realtime")
_SERVED_ACTIONS: Final = (
    b":generatecontent",
    b":streamgeneratecontent",
    b":embedcontent",
    b":batchembedcontents",
    b":counttokens",
    b":rawpredict",
    b":streamrawpredict",
    b":predict",
)


class Passthrough:
    """Implements Task."""

    stream = False
    raw = True
    end_user: str | None = None

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        self._client = client
        name, _, path = arrival.rest.partition(b"/")
        self._arrival = arrival
        self._body = body
        self._provider = unquote_to_bytes(name).decode("utf-8", "replace")
        self._path = b"/" + path
        _check_path(path)
        self._named = _named_model(arrival.headers.get(b"content-type", b""), body)
        self.model = f"{self._provider}/{self._named}" if self._named else self._provider

    def grant(self, grants: Grants, principal: Principal) -> Grant | Deny:
        return grants.passthrough(principal, self._provider, self._named)

    def ask(self, model: str, label: Sensitivity) -> Ask:
        return Ask(model, label)

    def bound(self, cap: int | None) -> Usage:
        return Usage()

    def need(self) -> Need:
        return NO_NEED

    def encode(self, target: Target, provider: ProviderDialect, terms: Terms) -> Encoded:
        arrival = self._arrival
        headers = tuple((name, value) for name, value in arrival.headers.items() if name in _ASKED)
        path = self._path + b"?" + arrival.query if arrival.query else self._path
        return Encoded(path, self._body, headers, method=arrival.method.encode("ascii"), media_type=None)

    def here(self, target: Target) -> Told | None:
        return None

    def told(
        self, target: Target, provider: ProviderDialect, headers: Sequence[Header], body: bytes, now_seconds: int
    ) -> Told:
        return Told(body, None)

    def relay(
        self,
        target: Target,
        provider: ProviderDialect,
        now_seconds: int,
        status: int,
        headers: Sequence[Header],
    ) -> RawRelay:
        encoder = self._client.stream_encoder(include_usage=False) if event_stream(headers) else None
        return RawRelay(status, headers, _ChatTap(provider, headers) if status == 200 else None, encoder)

    def estimated(self, produced_bytes: int) -> Usage | None:
        """Nothing is known of most paths. Where a model was named and the answer shows no usage, both are counted."""
        if not self._named:
            return None
        return Usage(estimate.input_tokens(len(self._body), 1), estimate.output_tokens(produced_bytes))


class _ChatTap:
    """Implements Tap: usage read off as far as the form is known: events as they pass, a JSON body at its end where it is
    no longer than PASSTHROUGH_TAP_BYTES_MAX."""

    def __init__(self, provider: ProviderDialect, headers: Sequence[Header]) -> None:
        self.usage: Usage | None = None
        self.response_model = ""
        self.finish_reason = ""
        self._provider = provider
        self._events = provider.stream_decoder(events=False) if event_stream(headers) else None
        json_type = (header(headers, b"content-type") or b"").lower().startswith(b"application/json")
        self._kept: list[bytes] | None = [] if json_type else None
        self._size = 0

    def feed(self, data: bytes) -> None:
        if self._events is not None and data:
            for frame in self._events.feed(data):
                self.usage = frame.usage or self.usage
                self.response_model = frame.response_model or self.response_model
                self.finish_reason = frame.finish_reason or self.finish_reason
        elif self._kept is not None:
            self._size += len(data)
            if self._size > PASSTHROUGH_TAP_BYTES_MAX:
                self._kept = None
            elif data:
                self._kept.append(data)
            else:
                tap = self._provider.tap_chat_reply(b"".join(self._kept))
                self.usage, self.response_model, self.finish_reason = tap.usage, tap.response_model, tap.finish_reason


def _check_path(path: bytes) -> None:
    """Refuse what would leave the provider's base path, and what has an endpoint of its own here. Decoded until
    nothing changes, since some servers decode more than once."""
    decoded, before = path, b""
    while decoded != before:
        decoded, before = unquote_to_bytes(decoded), decoded
    segments = decoded.replace(b"\\", b"/").split(b"/")
    if not path or any(segment in (b".", b"..") for segment in segments) or not _plain(decoded):
        raise CallerError(Code.ROUTE_NOT_FOUND, "There is no path of the provider in this request.")
    plain = b"/" + b"/".join(segment for segment in segments if segment).lower()
    if (
        any(plain.endswith(b"/" + end) for end in _SERVED)
        or any(part in plain for part in _SERVED_PARTS)
        or any(action in plain for action in _SERVED_ACTIONS)
    ):
        raise CallerError(
            Code.POLICY_PASSTHROUGH, "This endpoint is offered here by its own path; a passthrough would go around it."
        )


def _named_model(media_type: bytes, body: bytes) -> str:
    """The model a JSON body names, empty where it names none. Raises CallerError for JSON that is not strict: what two
    parsers could read differently could name two models."""
    if not body or b"json" not in media_type.lower():
        return ""
    model = json.parse(body).tree.get("model")
    return model if type(model) is str else ""


def _plain(path: bytes) -> bool:
    """Whether a decoded path is made of printable ASCII alone."""
    return all(0x20 < byte < 0x7F for byte in path)
