"""A provider's own word for a failure is in the journal, and refusals for length and content are not tried again."""

import pytest

from ostiary.core.error import Code, UpstreamError
from ostiary.core.event import Outcome
from tests.exchange.harness import House


@pytest.mark.parametrize("code", [Code.UPSTREAM_CONTEXT_WINDOW, Code.UPSTREAM_CONTENT_FILTER])
@pytest.mark.parametrize("model", ["gpt", "pair"])
async def test_such_a_refusal_is_told_and_recorded_and_not_tried_again(model, code):
    house = House()
    house.upstream.errors = [UpstreamError(code, "No.", provider_code="their_word")]
    sink = await house.chat(model)
    assert sink.status == 400
    assert sink.json["error"]["code"] == code
    assert sink.json["error"]["provider_code"] == "their_word"
    assert len(house.upstream.sent) == 1
    assert house.closed.outcome is Outcome.FAILED
    assert [(one.reason, one.provider_code) for one in house.closed.attempts] == [(code, "their_word")]
    house.check()


async def test_an_attempt_that_succeeds_has_no_such_word():
    house = House()
    await house.chat()
    assert [one.provider_code for one in house.closed.attempts] == [""]
