"""FD-17: a provider that reports what can hardly be so. It is told on record, and no budget is the poorer for too little."""

import json

import msgspec
import pytest

from ostiary.core.event import Doubt, Outcome
from ostiary.gateway.meter import estimate
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import PriceRow, Rates
from tests.attack.test_upstream_answers import ANSWERS, PAIRS, SSE, House, Played, dumped, met

TEXT = "The quick brown fox jumps over the lazy dog, and then it does so again. " * 20
OWN = estimate.output_tokens(len(TEXT))
TRUE = 16 * 20


def whole(model, text, output):
    answer = ANSWERS[model]
    usage = {"prompt_tokens": 9, "completion_tokens": output, "input_tokens": 9, "output_tokens": output}
    if model == "claude":
        return dumped(answer, content=[{"type": "text", "text": text}], usage=usage)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return dumped(answer, choices=[choice], usage=usage)


def streamed(model, text, output, *, ended=True):
    """The same in pieces."""
    size = 40
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    if model == "claude":
        start = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet", "content": []}
        events = [
            {"type": "message_start", "message": {**start, "usage": {"input_tokens": 9, "output_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": one}}
                for one in parts
            ),
        ]
        if ended:
            events += [
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": output}},
                {"type": "message_stop"},
            ]
        return tuple(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events)
    chunks = [{"model": "gpt-spare", "choices": [{"index": 0, "delta": {"content": one}}]} for one in parts]
    if ended:
        chunks += [
            {"model": "gpt-spare", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"model": "gpt-spare", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": output}},
        ]
    lines = [b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks]
    return (*lines, b"data: [DONE]\n\n") if ended else tuple(lines)


async def told(verb, model, text, output, *, stream):
    if stream:
        return await met(verb, model, streamed(model, text, output), headers=SSE, stream=True)
    return await met(verb, model, whole(model, text, output))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("verb", "model"), PAIRS)
async def test_fd17_ten_times_the_tokens_are_charged_as_reported_and_told(verb, model, stream):
    house, _ = await told(verb, model, TEXT, TRUE * 10, stream=stream)
    closed = house.closed
    assert closed.doubts == (Doubt.USAGE_MORE,)
    assert (closed.usage.output_tokens, closed.usage_estimated) == (TRUE * 10, False)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("verb", "model"), PAIRS)
async def test_fd17_a_tenth_of_the_tokens_is_not_believed(verb, model, stream):
    house, _ = await told(verb, model, TEXT, TRUE // 10, stream=stream)
    closed = house.closed
    assert closed.doubts == (Doubt.USAGE_LESS,)
    assert (closed.usage.input_tokens, closed.usage.output_tokens) == (9, OWN)
    assert closed.usage_estimated
    assert closed.cost.estimated


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("verb", "model"), PAIRS)
@pytest.mark.parametrize(("text", "output"), [(TEXT, TRUE), ("Good day.", 3), ("Да.", 4), ("ok", 20)])
async def test_fd17_what_may_be_so_is_not_doubted(verb, model, stream, text, output):
    house, _ = await told(verb, model, text, output, stream=stream)
    closed = house.closed
    assert (closed.doubts, closed.usage.output_tokens, closed.usage_estimated) == ((), output, False)


async def test_fd17_thinking_that_was_asked_for_and_is_not_shown_is_no_reason_to_doubt():
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    house, _ = await met("message", "claude", whole("claude", "Good day.", 900), max_tokens=2_000, thinking=thinking)
    assert (house.closed.doubts, house.closed.usage.output_tokens) == ((), 900)


@pytest.mark.parametrize(("verb", "model"), PAIRS)
async def test_fd17_a_stream_that_breaks_off_is_charged_for_what_it_said(verb, model):
    """Anthropic's form reports one output token at the start, and the rest at an end that never comes."""
    house, _ = await met(verb, model, streamed(model, TEXT, 0, ended=False), headers=SSE, stream=True)
    closed = house.closed
    assert closed.outcome is Outcome.FAILED
    assert (closed.usage.output_tokens, closed.usage_estimated, closed.doubts) == (OWN, True, ())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("named", "doubts"),
    [
        ("gpt-spare", ()),
        ("gpt-spare-2025-01-31", ()),
        ("a-deployment", ()),
        ("same-price", ()),
        ("gpt-dear", (Doubt.MODEL,)),
        ("gpt-spare-large", (Doubt.MODEL,)),
    ],
)
async def test_fd17_another_model_than_was_asked_for_is_told_where_it_has_another_price(named, doubts, stream):
    house = House()
    told_ = house.world.index.snapshot
    rows = (
        *told_.pricing.rows,
        PriceRow(provider="list", model="gpt-dear", rates=Rates(input=10**12, output=10**12)),
        PriceRow(provider="list", model="gpt-spare-large", rates=Rates(input=10**12, output=10**12)),
        msgspec.structs.replace(told_.pricing.rows[0], model="same-price"),
    )
    pricing = msgspec.structs.replace(told_.pricing, rows=rows)
    house.world.swap(Index(msgspec.structs.replace(told_, pricing=pricing)))
    pieces = (dumped(ANSWERS["spare"], model=named),)
    if stream:
        pieces = tuple(one.replace(b"gpt-spare", named.encode()) for one in streamed("spare", "Good day.", 3))
    house.world.upstream = Played(200, SSE if stream else (), pieces)
    await house.chat("spare", stream=stream)
    closed = house.closed
    assert (closed.response_model, closed.doubts) == (named, doubts)
    assert closed.cost.nano < 10**6, "at the price of the model that was asked for"
