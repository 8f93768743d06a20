"""What the operations have in common whose requests pass as they came, the model's name alone changed: moderation,
images, sound, ranking. Nothing of them is translated, so they reach only providers that have such an endpoint
(`gateway/provider/paths.py`), and their answers pass as the provider gave them."""

# ruff: noqa: ARG002 - the contract hands every task what only some of them use

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ostiary.core.capability import NO_NEED, Need
from ostiary.core.decision import Deny
from ostiary.core.error import CallerError, Code
from ostiary.core.http import JSON_TYPE, Header
from ostiary.core.label import Sensitivity
from ostiary.core.principal import Principal
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ClientDialect, Encoded, ProviderDialect
from ostiary.gateway.guard.screen import screen_stream
from ostiary.gateway.policy.access import Ask, Grant, Grants
from ostiary.gateway.provider.paths import PATHS
from ostiary.gateway.relay import Carrier, RawRelay, Relay, WholeRelay, event_stream, passed_headers
from ostiary.gateway.task import Terms, Told
from ostiary.gateway.wire.field import whole_number
from ostiary.gateway.wire.json import Document, edit, encode, parse
from ostiary.gateway.wire.media import MediaEvents, Tapped, json_type, tap
from ostiary.gateway.wire.multipart import Form
from ostiary.gateway.wire.multipart import parse as parse_form
from ostiary.snapshot.index import Target


class Forwarded(ABC):
    """Implements Task but for what `bound` and `estimated` say of one operation. `images` says that the items of an
    answer are images made, `known` what the request itself says of the usage."""

    raw = False
    stream = False
    images = False
    results = 1
    end_user: str | None = None
    known: Usage = Usage()
    model: str

    def __init__(self, client: ClientDialect, arrival: Arrival) -> None:
        self._client = client
        self._operation = arrival.operation

    def grant(self, grants: Grants, principal: Principal) -> Grant | Deny:
        return grants.find(principal, self.model)

    def ask(self, model: str, label: Sensitivity) -> Ask:
        return Ask(model, label)

    @abstractmethod
    def bound(self, cap: int | None) -> Usage:
        """See Task."""

    @abstractmethod
    def renamed(self, model: str) -> tuple[bytes, Header]:
        """The request with another model's name, every other value as it came, and its content type."""

    def need(self) -> Need:
        return NO_NEED

    def encode(self, target: Target, provider: ProviderDialect, terms: Terms) -> Encoded:
        path = PATHS.get(provider.name, {}).get(self._operation)
        if path is None:
            raise CallerError(Code.MODEL_UNSUITABLE, f"{target.name} does not offer {self._operation}.", param="model")
        body, media_type = self.renamed(target.request_model)
        return Encoded(path, body, media_type=media_type)

    def here(self, target: Target) -> Told | None:
        return None

    def told(
        self, target: Target, provider: ProviderDialect, headers: Sequence[Header], body: bytes, now_seconds: int
    ) -> Told:
        passed = passed_headers(headers)
        if not json_type(passed):
            return Told(body, None, headers=passed, produced_bytes=len(body))
        tapped = self._tapped(body)
        return Told(body, tapped.usage, tapped.response_model, headers=passed, produced_bytes=len(body))

    def relay(
        self, target: Target, provider: ProviderDialect, now_seconds: int, status: int, headers: Sequence[Header]
    ) -> Carrier:
        if json_type(headers):
            return WholeRelay(status, headers, self._tapped)
        if not event_stream(headers):
            return RawRelay(status, headers, None)
        events = MediaEvents(results=self.results, known=self.known)
        encoder = self._client.stream_encoder(include_usage=True)
        return Relay(events, encoder, screen_stream(), passes=True, include_usage=True)

    def _tapped(self, body: bytes) -> Tapped:
        tapped = tap(body, images=self.images)
        return tapped if tapped.usage is None else Tapped(tapped.response_model, tapped.usage + self.known)

    @abstractmethod
    def estimated(self, produced_bytes: int) -> Usage | None:
        """See Task."""


class ForwardedJson(Forwarded):
    """Implements Forwarded for requests in JSON."""

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        super().__init__(client, arrival)
        self.document: Document = parse(body)

    def renamed(self, model: str) -> tuple[bytes, Header]:
        return edit(self.document, {"model": encode(model)}), JSON_TYPE


class ForwardedForm(Forwarded):
    """Implements Forwarded for requests in forms."""

    def __init__(self, client: ClientDialect, arrival: Arrival, body: bytes) -> None:
        super().__init__(client, arrival)
        self.form: Form = parse_form(body, arrival.headers.get(b"content-type", b""))

    def renamed(self, model: str) -> tuple[bytes, Header]:
        return self.form.edit("model", model.encode()), (b"content-type", self.form.media_type)


def form_number(form: Form, name: str, minimum: int, maximum: int) -> int | None:
    """The whole number in a field of a form."""
    text = form.text(name, _NUMBER_BYTES_MAX)
    if text is None or not text:
        return None
    plain = text.isascii() and text.isdigit()
    return whole_number(int(text) if plain else text, name, minimum, maximum)


def form_flag(form: Form, name: str) -> bool:
    """Whether a field of a form says true."""
    text = form.text(name, _NUMBER_BYTES_MAX)
    if text is not None and text.lower() not in ("true", "false", "1", "0", ""):
        whole_number(text, name, 0, 1)
    return text is not None and text.lower() in ("true", "1")


_NUMBER_BYTES_MAX = 16
