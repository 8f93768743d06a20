"""The channels of alerts that the operator's file names."""

from urllib.parse import urlsplit

import msgspec

from ostiary.bootstrap.server_url import is_local
from ostiary.control.reference import resolve
from ostiary.core.http import Origin
from ostiary.core.port import Clock
from ostiary.core.secret import Secret
from ostiary.gateway.ports import Upstream
from ostiary.jobs.alerts.service import Channel
from ostiary.net.mail import Mail, SmtpServer
from ostiary.net.webhook import Webhook, check_secret
from ostiary.settings import Loaded, WebhookSettings

_Path = tuple[str | int, ...]


def channels_of(loaded: Loaded, upstream: Upstream, clock: Clock) -> tuple[Channel, ...]:
    """Every channel, ready to send. Raises OperatorError config.invalid."""
    found = (_opened(one, upstream, clock) for one in addresses(loaded))
    return tuple(found)


class Hook(msgspec.Struct, frozen=True):
    """Where a webhook is."""

    name: str
    tenants: frozenset[str]
    origin: Origin
    target: bytes
    secret: Secret


class Letterbox(msgspec.Struct, frozen=True):
    """To whom mail goes, through which server."""

    name: str
    tenants: frozenset[str]
    server: SmtpServer
    sender: str
    recipients: tuple[str, ...]


def addresses(loaded: Loaded) -> list[Hook | Letterbox]:
    """Every channel of the file, with its secret. Raises OperatorError config.invalid at the first mistake."""
    alerts = loaded.settings.alerts
    found: list[Hook | Letterbox] = [
        _hook(loaded, ("alerts", "webhooks", i), hook) for i, hook in enumerate(alerts.webhooks)
    ]
    server = _server(loaded)
    for i, mail in enumerate(alerts.mail):
        path: _Path = ("alerts", "mail", i)
        if server is None or alerts.smtp is None:
            raise loaded.error(path, "mail needs a server: set `alerts.smtp`")
        found.append(Letterbox(mail.name, frozenset(mail.tenants), server, alerts.smtp.sender, tuple(mail.to)))
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise loaded.error(("alerts",), f"the channel `{name}` is there twice")
    return found


def callbacks_of(loaded: Loaded) -> list[Hook]:
    """Who may be told that a person has decided on a call. Raises OperatorError config.invalid."""
    callbacks = loaded.settings.reviews.callbacks
    found = [_hook(loaded, ("reviews", "callbacks", i), one) for i, one in enumerate(callbacks)]
    names = [one.name for one in found]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise loaded.error(("reviews", "callbacks", i), f"the callback `{name}` is there twice")
    return found


def doubts(loaded: Loaded) -> list[str]:
    """Tenants that channels name and the file does not: they may stand in the database, or be slips. Raises OperatorError
    config.invalid where a channel cannot be used."""
    known = {tenant.name for tenant in loaded.settings.tenants}
    return [
        f"alerts: the channel {one.name} is for a tenant `{name}` that is not in the file"
        for one in addresses(loaded)
        for name in sorted(one.tenants - known)
    ]


def _opened(one: Hook | Letterbox, upstream: Upstream, clock: Clock) -> Channel:
    if isinstance(one, Hook):
        return Channel(one.name, Webhook(upstream, clock, one.origin, one.target, one.secret), one.tenants)
    return Channel(one.name, Mail(one.server, one.sender, one.recipients), one.tenants)


def _hook(loaded: Loaded, path: _Path, hook: WebhookSettings) -> Hook:
    origin, target = _url(loaded, (*path, "url"), hook.url)
    secret = _secret(loaded, (*path, "secret"), hook.secret)
    try:
        check_secret(secret)
    except ValueError as error:
        raise loaded.error((*path, "secret"), str(error)) from error
    return Hook(hook.name, frozenset(hook.tenants), origin, target, Secret(secret))


def _server(loaded: Loaded) -> SmtpServer | None:
    smtp = loaded.settings.alerts.smtp
    if smtp is None:
        return None
    path: _Path = ("alerts", "smtp")
    password = None if smtp.password is None else _secret(loaded, (*path, "password"), smtp.password)
    if (password is None) != (not smtp.username):
        raise loaded.error(path, "`username` and `password` go together")
    if smtp.tls == "none" and not is_local(smtp.host):
        raise loaded.error((*path, "tls"), "mail beyond this machine needs TLS: `starttls` or `implicit`")
    ca_file = ""
    if smtp.ca_file:
        file = (loaded.base / smtp.ca_file).resolve()
        if not file.is_file():
            raise loaded.error((*path, "ca_file"), f"the file {file} is not there")
        ca_file = str(file)
    return SmtpServer(
        smtp.host, smtp.port, smtp.tls, smtp.username, None if password is None else Secret(password), ca_file
    )


def _url(loaded: Loaded, path: _Path, text: str) -> tuple[Origin, bytes]:
    try:
        parts = urlsplit(resolve(text, loaded.base))
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise loaded.error(path, str(error)) from error
    host = parts.hostname or ""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.username or parts.password or parts.fragment or not host:
        raise loaded.error(path, "a webhook's URL has a host, and neither user nor fragment")
    if not target.isascii() or any(char <= " " or char == "\x7f" for char in target):
        raise loaded.error(path, "a webhook's URL is plain ASCII; escape anything else")
    if parts.scheme != "https" and not is_local(host):
        raise loaded.error(path, "a webhook beyond this machine needs https")
    return Origin(parts.scheme, host, port), target.encode()


def _secret(loaded: Loaded, path: _Path, text: str) -> str:
    try:
        found = resolve(text, loaded.base)
    except ValueError as error:
        raise loaded.error(path, str(error)) from error
    if not found:
        raise loaded.error(path, "is empty")
    return found
