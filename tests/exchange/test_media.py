"""Operations whose requests pass as they came: moderations, images, sound, rankings, on the road of every call."""

import asyncio
import json

import pytest

from ostiary.core.error import Code
from ostiary.core.event import Kind, Outcome
from ostiary.core.usage import Usage
from ostiary.gateway.edge.route import ROUTES, MediaType
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.snapshot.tables import PriceRow, PricingRow, Rates, UnknownPrice
from tests.exchange.harness import House, RecordingSink, events, model, provider, replaced, snapshot
from tests.routes import example

BOUNDARY = b"a-boundary"
RATES = Rates(
    input=1_000_000,
    output=2_000_000,
    image=40_000_000,
    request=7,
    audio_minute=6_000_000,
    character=15_000_000,
    search_unit=2_000_000,
)


def form(fields, files=(("file", b"\x00sound\xff" * 4_000),)):
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (BOUNDARY, name.encode(), value)
        for name, value in ((name, str(value).encode()) for name, value in fields.items())
    ]
    parts += [
        b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%b\r\n" % (BOUNDARY, name.encode(), data)
        for name, data in files
    ]
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


PICTURE = (("image", b"\x89PNG\r\n\x1a\n\x00"),)
RANKED = {"query": "what", "documents": ["one", "two", "three"], "top_n": 2}

# What is sent to each path, whether as a form, and where it goes below the provider's base path.
CALLS = {
    "moderation": (b"/v1/moderations", {"input": ["a", "b"]}, None),
    "generation": (b"/v1/images/generations", {"prompt": "a door", "n": 2}, None),
    "edit": (b"/v1/images/edits", {"prompt": "a door", "n": 2}, PICTURE),
    "variation": (b"/v1/images/variations", {"n": 2}, PICTURE),
    "speech": (b"/v1/audio/speech", {"input": "Say it.", "voice": "alloy"}, None),
    "transcription": (b"/v1/audio/transcriptions", {}, (("file", b"\x00sound\xff" * 4_000),)),
    "translation": (b"/v1/audio/translations", {}, (("file", b"\x00sound\xff" * 4_000),)),
    "rerank": (b"/v1/rerank", RANKED, None),
    "rerank v2": (b"/v2/rerank", RANKED, None),
}
STREAMED = {
    "generation": {"stream": True, "partial_images": 2, "n": 1},
    "edit": {"stream": "true", "partial_images": 2, "n": 1},
    "speech": {"stream_format": "sse"},
    "transcription": {"stream": "true"},
}


def house(behaviour=None, *, unknown=UnknownPrice.CEILING, priced=True, **fields):
    names = ("gpt-4o-mini", "tiny", "rank")
    pricing = PricingRow(
        rows=tuple(PriceRow(provider="list", model=name, rates=RATES, version="v1") for name in names if priced),
        unknown=unknown,
        ceiling=Rates(input=1, output=1, image=300_000_000),
        version="v1",
    )
    base = snapshot()
    return House(
        behaviour=behaviour,
        pricing=pricing,
        providers=(*base.providers, replaced(provider("coh", "cohere"), auth=base.providers[0].auth)),
        models=(*base.models, model("ranker", ("coh", "rank"))),
        teams=tuple(replaced(team, models=(*team.models, "ranker")) for team in base.teams),
        **fields,
    )


async def call(one, name, named="gpt", *, headers=None, sink=None, **fields):
    path, given, files = CALLS[name]
    content = {**given, **({} if named is None else {"model": named}), **fields}
    given_headers = dict(headers or {})
    if files is None:
        body = json.dumps(content).encode()
    else:
        body = form(content, files)
        given_headers[b"content-type"] = b'multipart/form-data; boundary="a-boundary"'
    sink = await one.post(path, body, headers=given_headers, sink=sink)
    one.check()
    return sink, body


@pytest.mark.parametrize("name", CALLS)
async def test_a_request_passes_with_the_models_name_alone_changed(name):
    one = house()
    sink, body = await call(one, name)
    assert sink.status == 200, sink.body
    (sent,) = one.upstream.sent
    assert sent.target == CALLS[name][0].replace(b"/v2/", b"/v1/")
    if CALLS[name][2] is None:
        assert json.loads(sent.body) == {**json.loads(body), "model": "gpt-4o-mini"}
    else:
        assert sent.body == body.replace(b'"model"\r\n\r\ngpt\r\n', b'"model"\r\n\r\ngpt-4o-mini\r\n')
        assert (b"content-type", b"multipart/form-data; boundary=a-boundary") in sent.headers
    assert one.outcome is Outcome.SUCCEEDED
    assert one.closed.request_model == "gpt-4o-mini"
    assert one.closed.operation == next(route.operation for route in ROUTES if route.path == CALLS[name][0])


@pytest.mark.parametrize(
    ("name", "fields", "usage", "nano"),
    [
        ("generation", {}, Usage(2, 544, images=2), 2 + 1_088 + 80_000_000 + 7),
        ("edit", {}, Usage(2, 544, images=2), 2 + 1_088 + 80_000_000 + 7),
        ("variation", {}, Usage(0, 544, images=2), 1_088 + 80_000_000 + 7),
        ("transcription", {"response_format": "verbose_json"}, Usage(audio_milliseconds=2_500), 250_007),
        ("translation", {"response_format": "verbose_json"}, Usage(audio_milliseconds=2_500), 250_007),
        ("rerank", {}, Usage(input_tokens=5), 5 + 7),
    ],
)
async def test_what_an_answer_reports_is_charged_kind_by_kind(name, fields, usage, nano):
    one = house()
    await call(one, name, **fields)
    assert one.closed.usage == usage
    assert not one.closed.usage_estimated
    assert one.closed.cost.nano == nano


async def test_tokens_of_sound_are_told_apart():
    one = house()
    await call(one, "transcription")
    usage = one.closed.usage
    assert (usage.input_tokens, usage.input_audio_tokens) == (25, 25)
    assert usage.output_tokens > 0


async def test_a_ranking_reaches_cohere_by_its_own_path_and_is_charged_by_search_units():
    one = house()
    sink, _ = await call(one, "rerank", "ranker")
    assert one.upstream.sent[0].target == b"/v1/v2/rerank"
    assert sink.json["meta"]["billed_units"] == {"search_units": 1}
    assert len(sink.json["results"]) == 2
    assert one.closed.usage == Usage(search_units=1)
    assert one.closed.cost.nano == 2_000_000 + 7


async def test_moderation_that_reports_no_usage_costs_the_request_alone():
    one = house()
    await call(one, "moderation")
    assert one.closed.usage == Usage()
    assert one.closed.cost.nano == 7


async def test_speech_passes_as_it_is_made_and_its_characters_are_charged():
    one = house()
    sink, _ = await call(one, "speech", response_format="flac")
    assert sink.streamed
    assert sink.headers[b"content-type"] == b"audio/flac"
    assert len([piece for piece in sink.pieces if piece]) > 5
    assert sink.body.startswith(b"ID3")
    assert one.closed.usage.characters == len("Say it.")
    assert one.closed.usage_estimated


@pytest.mark.parametrize("name", STREAMED)
async def test_a_stream_passes_as_it_came_with_the_usage_of_its_last_event(name):
    one = house()
    sink, _ = await call(one, name, **STREAMED[name])
    assert sink.streamed
    assert sink.ended
    assert sink.headers[b"content-type"].startswith(b"text/event-stream")
    told = [json.loads(event) for event in events(sink.body) if event != "[DONE]"]
    reported = next(event["usage"] for event in told if "usage" in event)
    usage = one.closed.usage
    assert (usage.input_tokens, usage.output_tokens) == (reported["input_tokens"], reported["output_tokens"])
    assert usage.images == (1 if name in ("generation", "edit") else 0)
    assert usage.characters == (len("Say it.") if name == "speech" else 0)
    assert not one.closed.usage_estimated
    assert sink.records_at[-1] == 2, "the closing record stands before the last event leaves"


@pytest.mark.parametrize("name", STREAMED)
async def test_a_stream_that_stops_early_is_an_error(name):
    one = house(Behaviour(fault=Fault.NO_END))
    sink, _ = await call(one, name, **STREAMED[name])
    assert json.loads(events(sink.body)[-1])["error"]["code"] == Code.UPSTREAM_CUT
    assert (one.outcome, one.closed.error) == (Outcome.FAILED, Code.UPSTREAM_CUT)


@pytest.mark.parametrize("name", ["speech", "transcription", "generation"])
async def test_an_error_inside_a_stream_is_told(name):
    one = house(Behaviour(fault=Fault.ERROR_EVENT, after=1))
    fields = {**STREAMED[name], "partial_images": 3} if name == "generation" else STREAMED[name]
    sink, _ = await call(one, name, **fields)
    assert json.loads(events(sink.body)[-1])["error"]["code"] == Code.UPSTREAM_ERROR
    assert one.outcome is Outcome.FAILED


async def test_sound_that_is_cut_is_broken_off_rather_than_ended_in_good_order():
    one = house(Behaviour(fault=Fault.CUT, after=2))
    sink, _ = await call(one, "speech")
    assert sink.aborted
    assert not sink.ended
    assert b"error" not in sink.body
    assert (one.outcome, one.closed.error) == (Outcome.FAILED, Code.UPSTREAM_CUT)
    assert one.closed.cost is not None, "what was produced is charged for"


@pytest.mark.parametrize("answer", ["text", "srt", "vtt"])
async def test_a_transcript_that_is_no_json_passes_and_its_length_is_estimated(answer):
    one = house()
    sink, body = await call(one, "transcription", response_format=answer)
    assert sink.headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert b"simulated answer" in sink.body
    assert one.closed.usage_estimated
    assert one.closed.usage.audio_milliseconds == 7 * 4_000 / 8
    del body


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("status", "code"), [(400, Code.UPSTREAM_REFUSED), (500, Code.UPSTREAM_ERROR)])
async def test_a_providers_error_is_told_in_the_clients_form(name, status, code):
    one = house(Behaviour(status=status))
    sink, _ = await call(one, name, "spare")
    assert sink.json["error"]["code"] == code
    assert one.closed.error == code


@pytest.mark.parametrize("name", CALLS)
async def test_an_error_under_a_200_is_an_error(name):
    one = house(Behaviour(fault=Fault.ERROR_EVENT))
    sink, _ = await call(one, name, "spare")
    assert sink.json["error"]["code"] == Code.UPSTREAM_ERROR


@pytest.mark.parametrize("name", CALLS)
async def test_what_has_no_price_is_refused_where_the_operator_wants_it_so(name):
    one = house(unknown=UnknownPrice.REFUSE, priced=False)
    sink, _ = await call(one, name)
    assert sink.json["error"]["code"] == Code.PRICE_UNKNOWN
    assert one.upstream.sent == []


async def test_what_has_no_price_costs_the_ceiling():
    one = house(priced=False)
    await call(one, "generation")
    assert one.closed.cost.nano == 600_000_001
    assert one.closed.cost.estimated


def sold_by_the_minute(unknown):
    rates = Rates(input=0, output=0, audio_minute=6_000_000)
    return PricingRow(
        rows=tuple(
            PriceRow(provider="list", model=name, rates=rates, version="v1") for name in ("gpt-4o-mini", "gpt-spare")
        ),
        unknown=unknown,
        ceiling=Rates(input=1, output=1, image=300_000_000),
        version="v1",
    )


async def test_what_a_list_has_no_rate_for_costs_the_ceiling_and_never_nothing():
    one = House(pricing=sold_by_the_minute(UnknownPrice.CEILING))
    await call(one, "generation")
    assert one.closed.cost.nano == 600_000_001
    assert one.closed.cost.estimated


@pytest.mark.parametrize("unknown", UnknownPrice)
async def test_what_a_list_of_minutes_sells_is_charged_by_them_and_never_refused(unknown):
    one = House(pricing=sold_by_the_minute(unknown))
    await call(one, "transcription", response_format="verbose_json")
    assert one.closed.cost.nano == 250_000
    assert not one.closed.cost.estimated


async def test_what_a_list_has_no_rate_for_is_refused_where_the_operator_wants_it_so():
    one = House(pricing=sold_by_the_minute(UnknownPrice.REFUSE))
    sink, _ = await call(one, "generation")
    assert sink.json["error"]["code"] == Code.PRICE_UNKNOWN
    assert one.upstream.sent == []


@pytest.mark.parametrize("name", CALLS)
async def test_a_model_that_the_key_may_not_use_is_denied(name):
    one = house()
    sink, _ = await call(one, name, "secretive")
    assert (sink.status, sink.json["error"]["code"]) == (403, Code.POLICY_MODEL_NOT_ALLOWED)
    assert one.upstream.sent == []
    assert len(one.journal.of(Kind.DENIED)) == 1


@pytest.mark.parametrize("name", CALLS)
async def test_regulated_data_reaches_private_targets_only(name):
    one = house()
    regulated = {b"x-ostiary-sensitivity": b"regulated"}
    sink, _ = await call(one, name, headers=regulated)
    assert sink.json["error"]["code"] == Code.POLICY_SENSITIVITY
    sink, _ = await call(one, name, "mixed", headers=regulated)
    assert sink.status == 200
    assert [sent.origin.host for sent in one.upstream.sent] == ["onsite.test"]


@pytest.mark.parametrize("name", CALLS)
async def test_a_model_whose_providers_offer_no_such_thing_is_unsuitable(name):
    one = house()
    sink, _ = await call(one, name, "claude")
    assert sink.json["error"]["code"] == Code.MODEL_UNSUITABLE
    assert one.upstream.sent == []


@pytest.mark.parametrize("name", CALLS)
async def test_the_model_must_be_named(name):
    one = house()
    sink, _ = await call(one, name, None)
    assert (sink.status, sink.json["error"]["param"]) == (400, "model")
    assert one.upstream.sent == []


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.media_type is not MediaType.ANY], ids=lambda r: r.path.decode()
)
async def test_a_body_of_another_type_is_refused_on_the_head(route):
    one = house()
    other = b"application/json" if route.media_type is MediaType.FORM else b"multipart/form-data; boundary=x"
    path = example(route, b"gpt")
    for given in (other, b"text/plain", b""):
        sink = await one.post(path, b"{}", headers={b"content-type": given})
        assert sink.status == 415
    assert one.upstream.sent == []


LIMITS = {
    "moderation": [{"input": ["x"] * 1_025}, {"input": []}, {"input": 1}],
    "generation": [{"n": 17}, {"n": "2"}, {"prompt": ""}, {"prompt": "x" * 64_001}, {"stream": "true"}, {"user": 1}],
    "edit": [{"n": 17}, {"n": "two"}, {"stream": "yes"}, {"model": "x" * 300}],
    "speech": [{"input": ""}, {"input": 3}, {"input": "x" * 100_001}],
    "rerank": [
        {"documents": []},
        {"documents": "one"},
        {"documents": [1]},
        {"documents": ["x"] * 10_001},
        {"documents": ["x" * (1 << 20)]},
        {"query": "x" * (1 << 16)},
        {"query": None},
        {"top_n": 0},
        {"top_n": True},
    ],
}


@pytest.mark.parametrize(("name", "fields"), [(name, one) for name, many in LIMITS.items() for one in many])
async def test_what_is_beyond_a_bound_or_of_another_type_is_refused_by_its_name(name, fields):
    one = house()
    sink, _ = await call(one, name, **fields)
    assert sink.status in (400, 413), sink.body
    assert sink.json["error"]["param"].split("[")[0] == next(iter(fields))
    assert one.upstream.sent == []


@pytest.mark.parametrize("name", ["edit", "transcription"])
async def test_a_form_without_its_file_is_refused(name):
    one = house()
    path, given, _ = CALLS[name]
    headers = {b"content-type": b"multipart/form-data; boundary=a-boundary"}
    sink = await one.post(path, form({**given, "model": "gpt"}, ()), headers=headers)
    assert (sink.status, sink.json["error"]["param"]) == (400, "image" if name == "edit" else "file")
    twice = form({"model": "gpt"}, CALLS[name][2]).replace(
        b"--a-boundary\r\n",
        b'--a-boundary\r\nContent-Disposition: form-data; name="model"\r\n\r\nsecretive\r\n--a-boundary\r\n',
        1,
    )
    sink = await one.post(path, twice, headers=headers)
    assert (sink.json["error"]["code"], sink.json["error"]["param"]) == (Code.REQUEST_MALFORMED, "model")
    assert one.upstream.sent == []


async def test_a_stream_that_was_asked_for_may_be_answered_whole():
    # whisper-1 ignores the wish to stream.
    one = house()

    class Whole:
        status = 200
        headers = ((b"content-type", b"application/json"),)

        def __init__(self):
            self.left = [b'{"text":"x",', b'"usage":{"type":"duration","seconds":3}}']

        async def chunk(self):
            return self.left.pop(0) if self.left else b""

        async def pour(self, take):
            while take(self.left.pop(0) if self.left else b""):
                pass

        def close(self):
            pass

    async def send(request):
        return Whole()

    one.world.upstream = type("Up", (), {"send": staticmethod(send)})()
    sink, _ = await call(one, "transcription", stream="true")
    assert sink.json["text"] == "x"
    assert sink.headers[b"content-type"] == b"application/json"
    assert one.closed.usage == Usage(audio_milliseconds=3_000)


async def test_a_client_that_leaves_while_sound_is_made_is_charged():
    one = house()
    sink = RecordingSink(one.journal)

    async def leave():
        sink.gone = True
        raise asyncio.CancelledError

    sink.pause = leave
    await call(one, "speech", sink=sink)
    assert one.outcome is Outcome.CANCELLED
    assert one.closed.cost.nano > 0
