"""Signed messages to webhooks."""

import base64
import hashlib
import hmac

import pytest

from ostiary.core.error import Code, UpstreamError
from ostiary.core.event import BudgetAlert
from ostiary.core.http import Origin
from ostiary.core.secret import Secret
from ostiary.jobs.alerts.model import message
from ostiary.jobs.alerts.ports import DeliveryFailed
from ostiary.net.webhook import Webhook, check_secret, signature

# The example of the specification's reference libraries.
EXAMPLE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOLD = message("alert_1", BudgetAlert(0, "team/a/b", 0.5, 0, 60))


class Clock:
    def monotonic(self):
        return 100.0

    def now_ns(self):
        return 0


class Reply:
    def __init__(self, status):
        self.status = status
        self.closed = False

    def close(self):
        self.closed = True


class Upstream:
    def __init__(self, answer):
        self.answer = answer
        self.sent = []

    async def send(self, request):
        self.sent.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        self.reply = Reply(self.answer)
        return self.reply


def hook(answer):
    upstream = Upstream(answer)
    return upstream, Webhook(upstream, Clock(), Origin("https", "hooks.test", 443), b"/in?a=b", Secret(EXAMPLE))


def test_the_signature_is_that_of_the_specifications_example():
    body = b'{"test": 2432232314}'
    told = signature(Secret(EXAMPLE), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_what_is_sent_can_be_verified_from_its_headers_and_body_alone():
    upstream, sender = hook(204)
    await sender.send(TOLD, 1_700_000_000)
    (request,) = upstream.sent
    headers = dict(request.headers)
    assert (request.method, request.target, headers[b"content-type"]) == (b"POST", b"/in?a=b", b"application/json")
    assert headers[b"webhook-id"] == b"alert_1"
    signed = b".".join((headers[b"webhook-id"], headers[b"webhook-timestamp"], request.body))
    key = base64.b64decode(EXAMPLE.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    assert headers[b"webhook-signature"] == b"v1," + expected
    assert request.timeouts.deadline == 120.0
    assert upstream.reply.closed


@pytest.mark.parametrize(("status", "final"), [(300, False), (302, False), (401, False), (410, True), (500, False)])
async def test_anything_but_2xx_is_a_failure_and_410_is_the_last(status, final):
    _, sender = hook(status)
    with pytest.raises(DeliveryFailed, match=f"it answered {status}") as caught:
        await sender.send(TOLD, 0)
    assert caught.value.final is final


async def test_a_receiver_that_cannot_be_reached_is_a_failure():
    _, sender = hook(UpstreamError(Code.UPSTREAM_UNREACHABLE, "nobody there"))
    with pytest.raises(DeliveryFailed, match="nobody there"):
        await sender.send(TOLD, 0)


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_" + "A" * 28, "whsec_" + "A" * 400, "whsec_not base64!", EXAMPLE.removeprefix("whsec_")],
)
def test_a_secret_of_another_form_is_refused_with_how_to_make_one(text):
    with pytest.raises(ValueError, match="openssl rand -base64 32") as caught:
        check_secret(text)
    assert text in ("", "whsec_") or text not in str(caught.value)
