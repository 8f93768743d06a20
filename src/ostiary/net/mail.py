"""Messages by e-mail, handed to one SMTP server (RFC 5321) that the operator names."""

import asyncio
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final, Literal, final

import msgspec

from ostiary.core.secret import Secret
from ostiary.jobs.alerts.model import Message
from ostiary.jobs.alerts.ports import DeliveryFailed

SMTP_SECONDS: Final = 15.0
"""For each answer of the server."""

_REFUSED_FOR_GOOD: Final = range(500, 600)


class SmtpServer(msgspec.Struct, frozen=True):
    """Where mail is handed in. `tls` is STARTTLS on a plain connection, TLS from the first byte, or none at all; the
    certificate is always verified, against `ca_file` where one is given."""

    host: str
    port: int
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    username: str = ""
    password: Secret | None = None
    ca_file: str = ""


@final
class Mail:
    """Implements Sender for one sender and its recipients."""

    def __init__(self, server: SmtpServer, sender: str, recipients: tuple[str, ...]) -> None:
        self._server = server
        self._sender = sender
        self._recipients = recipients

    async def send(self, message: Message, now_seconds: int) -> None:
        """See Sender."""
        await asyncio.to_thread(self._hand_in, self._letter(message, now_seconds))

    def _letter(self, message: Message, now_seconds: int) -> EmailMessage:
        letter = EmailMessage()
        letter["From"] = self._sender
        letter["To"] = ", ".join(self._recipients)
        letter["Subject"] = message.subject()
        letter["Date"] = format_datetime(datetime.fromtimestamp(now_seconds, UTC))
        letter["Message-ID"] = f"<{message.id}@{self._sender.rpartition('@')[2]}>"
        letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's vacation answers it
        letter.set_content(message.text())
        return letter

    def _hand_in(self, letter: EmailMessage) -> None:
        server = self._server
        try:
            context = ssl.create_default_context(cafile=server.ca_file or None)
            with self._connected(context) as session:
                if server.tls == "starttls":
                    session.starttls(context=context)
                if server.password is not None:
                    session.login(server.username, server.password.reveal())
                refused = session.send_message(letter)
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            last = all(code in _REFUSED_FOR_GOOD for code in codes)
            raise DeliveryFailed("every recipient was refused", final=last) from error
        except smtplib.SMTPResponseException as error:
            # Its own words may hold what was sent; the code says enough.
            raise DeliveryFailed(f"the mail server answered {error.smtp_code}") from error
        except (smtplib.SMTPException, OSError) as error:
            raise DeliveryFailed(f"the mail server cannot be used: {type(error).__name__}") from error
        if refused:
            raise DeliveryFailed(f"{len(refused)} of {len(self._recipients)} recipients were refused", final=True)

    def _connected(self, context: ssl.SSLContext) -> smtplib.SMTP:
        server = self._server
        if server.tls == "implicit":
            return smtplib.SMTP_SSL(server.host, server.port, timeout=SMTP_SECONDS, context=context)
        return smtplib.SMTP(server.host, server.port, timeout=SMTP_SECONDS)
