"""Who hears of alerts."""

from typing import Annotated, Literal

from msgspec import Meta

from ostiary.settings.section import Name, Port, Section

HookUrl = Annotated[str, Meta(pattern=r"^(https?://|\$\{(env|file):)", max_length=2_048)]
"""A URL, which may be a secret itself: then a reference to it."""

Address = Annotated[str, Meta(pattern=r"^[^@\s<>,;]{1,64}@[A-Za-z0-9.-]{1,255}$", description="name@domain")]


class WebhookSettings(Section, frozen=True, kw_only=True):
    """A URL that gets alerts, signed; of every tenant unless some are named."""

    name: Name
    url: HookUrl
    secret: str
    tenants: list[Name] = []


class ReviewSettings(Section, frozen=True, kw_only=True):
    """Who may be told that a person has decided on a call: of which calls, their models say."""

    callbacks: Annotated[list[WebhookSettings], Meta(max_length=50)] = []


class MailSettings(Section, frozen=True, kw_only=True):
    """Mailboxes that get alerts; of every tenant unless some are named."""

    name: Name
    to: Annotated[list[Address], Meta(min_length=1, max_length=50)]
    tenants: list[Name] = []


class SmtpSettings(Section, frozen=True, kw_only=True):
    """The server that mail is handed to, and in whose name."""

    host: Annotated[str, Meta(min_length=1, max_length=255)]
    sender: Address
    port: Port = 587
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    username: str = ""
    password: str | None = None
    ca_file: str = ""


class AlertSettings(Section, frozen=True, kw_only=True):
    """The channels of alerts."""

    webhooks: Annotated[list[WebhookSettings], Meta(max_length=50)] = []
    mail: Annotated[list[MailSettings], Meta(max_length=50)] = []
    smtp: SmtpSettings | None = None
