"""Mail, handed to a server of the standard's own words on this machine."""

import base64
import email
import email.policy
import socketserver
import ssl
import threading

import pytest
import trustme

from ostiary.core.event import BudgetAlert
from ostiary.core.secret import Secret
from ostiary.jobs.alerts.model import message
from ostiary.jobs.alerts.ports import DeliveryFailed
from ostiary.net.mail import Mail, SmtpServer

TOLD = message("alert_1", BudgetAlert(0, "team/acme/search", 0.8, 0, 60, 8, 0, 10))


class Session(socketserver.StreamRequestHandler):
    """RFC 5321 as far as handing in a letter needs it, with STARTTLS and AUTH PLAIN."""

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        server = self.server
        if server.greeting is not None:
            self.say(server.greeting)
            return
        self.say("220 here")
        secure = False
        for line in self.rfile:
            words = line.decode().strip()
            server.heard.append(words.split(" ")[0].upper())
            match words.upper().split(" ")[0]:
                case "EHLO":
                    self.say("250-here")
                    if server.context is not None and not secure:
                        self.say("250-STARTTLS")
                    self.say("250 AUTH PLAIN")
                case "STARTTLS":
                    self.say("220 go")
                    self.request = server.context.wrap_socket(self.request, server_side=True)
                    self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", 0)
                    secure = True
                    self.tls()
                    return
                case _:
                    if self.usual(words):
                        return

    def tls(self):
        with self.request, self.rfile, self.wfile:
            self.talk()

    def talk(self):
        for line in self.rfile:
            words = line.decode().strip()
            if words.upper().startswith("EHLO"):
                self.say("250-here")
                self.say("250 AUTH PLAIN")
            elif self.usual(words):
                return

    def usual(self, words):
        server = self.server
        match words.upper().split(" ")[0]:
            case "AUTH":
                server.login = base64.b64decode(words.split(" ")[2]).split(b"\0")[1:]
                self.say("235 welcome" if server.login == [b"me", b"a-password"] else "535 no")
            case "MAIL":
                self.say("250 fine")
            case "RCPT":
                code = next((code for name, code in server.refuses.items() if name in words), 250)
                self.say(f"{code} it is")
            case "DATA":
                self.say("354 go on")
                lines = []
                while (line := self.rfile.readline()) != b".\r\n":
                    lines.append(line)
                server.letters.append(b"".join(lines))
                self.say("250 taken")
            case "QUIT":
                self.say("221 bye")
                return True
            case _:
                self.say("250 fine")
        return False


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Session)
        self.context = None
        self.greeting = None
        self.refuses = {}
        self.letters, self.heard, self.login = [], [], None
        self.port = self.server_address[1]

    def handle_error(self, request, client_address):
        """A client that does not trust us goes away in the middle."""


@pytest.fixture
def server():
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


@pytest.fixture
def authority(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority, str(tmp_path / "ca.pem")


def secured(server, authority, host="127.0.0.1"):
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(server.context)


def mail(server, recipients=("ops@acme.test",), **fields):
    place = SmtpServer("127.0.0.1", server.port, **{"tls": "none", **fields})
    return Mail(place, "ostiary@acme.test", recipients)


async def test_a_letter_says_what_the_alert_says(server):
    await mail(server, ("ops@acme.test", "finance@acme.test")).send(TOLD, 1_700_000_000)
    (letter,) = server.letters
    read = email.message_from_bytes(letter, policy=email.policy.default)
    assert read["Subject"] == "Ostiary: 80% of the budget of team/acme/search is spent"
    assert read["To"] == "ops@acme.test, finance@acme.test"
    assert read["Message-ID"] == "<alert_1@acme.test>", "the same at every attempt"
    assert read["Auto-Submitted"] == "auto-generated"
    assert "80% of it was reached" in read.get_content()
    assert server.heard.count("RCPT") in (0, 2)


async def test_over_starttls_with_a_login(server, authority):
    secured(server, authority[0])
    sender = mail(server, tls="starttls", ca_file=authority[1], username="me", password=Secret("a-password"))
    await sender.send(TOLD, 0)
    assert len(server.letters) == 1
    assert server.login == [b"me", b"a-password"]


@pytest.mark.parametrize("case", ["another authority", "another host", "no STARTTLS"])
async def test_a_server_that_proves_nothing_gets_neither_password_nor_letter(server, authority, case):
    if case != "no STARTTLS":
        secured(server, trustme.CA() if case == "another authority" else authority[0], "127.0.0.2")
    sender = mail(server, tls="starttls", ca_file=authority[1], username="me", password=Secret("a-password"))
    with pytest.raises(DeliveryFailed) as caught:
        await sender.send(TOLD, 0)
    assert not caught.value.final
    assert (server.letters, server.login) == ([], None)
    assert "a-password" not in str(caught.value)


async def test_a_wrong_password_is_told_without_it(server):
    sender = mail(server, username="me", password=Secret("wrong-password"))
    with pytest.raises(DeliveryFailed, match="answered 535") as caught:
        await sender.send(TOLD, 0)
    assert "wrong" not in str(caught.value)


async def test_recipients_refused_for_good_are_not_tried_again_and_for_now_are(server):
    server.refuses = {"ops@": 550, "finance@": 450}
    with pytest.raises(DeliveryFailed, match="every recipient") as caught:
        await mail(server, ("ops@acme.test",)).send(TOLD, 0)
    assert caught.value.final
    with pytest.raises(DeliveryFailed, match="every recipient") as caught:
        await mail(server, ("finance@acme.test",)).send(TOLD, 0)
    assert not caught.value.final
    with pytest.raises(DeliveryFailed, match="1 of 2") as caught:
        await mail(server, ("good@acme.test", "ops@acme.test")).send(TOLD, 0)
    assert caught.value.final, "the others have it"


async def test_a_server_that_is_busy_or_away_is_tried_again(server):
    server.greeting = "421 too busy"
    with pytest.raises(DeliveryFailed) as caught:
        await mail(server).send(TOLD, 0)
    assert not caught.value.final
    server.shutdown()
    server.server_close()
    with pytest.raises(DeliveryFailed, match="cannot be used") as caught:
        await mail(server).send(TOLD, 0)
    assert not caught.value.final


async def test_an_authority_whose_file_is_gone_is_a_failed_delivery(server, tmp_path):
    with pytest.raises(DeliveryFailed, match="cannot be used"):
        await mail(server, tls="starttls", ca_file=str(tmp_path / "gone.pem")).send(TOLD, 0)
    assert server.letters == []
