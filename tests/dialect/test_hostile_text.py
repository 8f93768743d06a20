"""Answers that are not UTF-8 are refused, whether they pass through unchanged or are translated."""

import pytest

from ostiary.core.error import Code, UpstreamError
from ostiary.core.fold import unfold
from ostiary.core.message import TextPart
from ostiary.core.reply import ChatReply, Choice, FinishReason
from tests.dialect.known import BOTH, PROVIDERS, write_reply, write_stream

REPLY = ChatReply("r", "m", (Choice((TextPart("one MARK two"),), FinishReason.STOP),), None)
WRONG = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf"]


# Bytes changed in a stream of Amazon's framing fail its checksum; Cohere's answers never pass unchanged.
@pytest.mark.parametrize("name", [*BOTH, "cohere"])
@pytest.mark.parametrize("events", [True, False], ids=["translated", "passed"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_stream_that_is_not_utf8_is_refused(name, events, wrong):
    stream = write_stream(name, unfold(REPLY))
    assert b"MARK" in stream
    decoder = PROVIDERS[name].stream_decoder(events=events)
    with pytest.raises(UpstreamError) as caught:
        decoder.feed(stream.replace(b"MARK", wrong))
        decoder.close()
    assert caught.value.code is Code.UPSTREAM_PROTOCOL


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_plain_answer_that_is_not_utf8_is_refused(name, wrong):
    body = write_reply(name, REPLY).replace(b"MARK", wrong)
    for read in (PROVIDERS[name].tap_chat_reply, PROVIDERS[name].decode_chat_reply):
        with pytest.raises(UpstreamError) as caught:
            read(body)
        assert caught.value.code is Code.UPSTREAM_PROTOCOL


@pytest.mark.parametrize("name", PROVIDERS)
def test_characters_cut_in_two_by_a_packet_are_whole(name):
    reply = ChatReply("r", "m", (Choice((TextPart("one é😀 two"),), FinishReason.STOP),), None)
    stream = write_stream(name, unfold(reply))
    decoder = PROVIDERS[name].stream_decoder(events=False)
    frames = [frame for place in range(len(stream)) for frame in decoder.feed(stream[place : place + 1])]
    frames += decoder.close()
    assert b"".join(frame.raw for frame in frames) == stream
