"""What metering reads off answers that pass as they came."""

import json

import pytest

from ostiary.core.call import DialectName
from ostiary.core.error import Code, UpstreamError
from ostiary.core.usage import Usage
from ostiary.gateway.provider.paths import PATHS
from ostiary.gateway.wire.media import MediaEvents, tap
from ostiary.snapshot.index import Index
from tests.exchange.harness import provider, snapshot


def read(document, **more):
    return tap(json.dumps(document).encode(), **more)


DETAILS = {"cached_tokens": 1, "audio_tokens": 2, "image_tokens": 3}


@pytest.mark.parametrize(
    ("document", "usage"),
    [
        ({}, None),
        ({"usage": None}, None),
        ({"usage": []}, None),
        ({"usage": {}}, None),
        ({"usage": {"input_tokens": 9, "output_tokens": 4}}, Usage(9, 4)),
        ({"usage": {"prompt_tokens": 9, "total_tokens": 9}}, Usage(9)),
        ({"usage": {"total_tokens": 9}}, Usage(9)),
        ({"usage": {"input_tokens": 9.0}}, Usage(9)),
        *(
            (
                {"usage": {"input_tokens": 9, "output_tokens": 4, name: DETAILS}},
                Usage(9, 4, cached_tokens=1, input_audio_tokens=2, input_image_tokens=3),
            )
            for name in ("input_tokens_details", "input_token_details", "prompt_tokens_details")
        ),
        (
            {"usage": {"output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 3}}},
            Usage(0, 4, reasoning_tokens=1, output_audio_tokens=3),
        ),
        ({"usage": {"type": "duration", "seconds": 2.0004}}, Usage(audio_milliseconds=2_001)),
        ({"duration": 3, "text": "x"}, Usage(audio_milliseconds=3_000)),
        ({"duration": "3.5"}, Usage(audio_milliseconds=3_500)),
        ({"duration": "long"}, None),
        ({"duration": -3}, None),
        ({"duration": 1e300}, None),
        ({"duration": 10**400}, None),
        ({"duration": True}, None),
        ({"meta": {"billed_units": {"search_units": 2}}}, Usage(search_units=2)),
        ({"meta": {"billed_units": {"total_tokens": 7}}}, Usage(7)),
        ({"meta": {"tokens": {"input_tokens": 7, "output_tokens": 1}}}, Usage(7, 1)),
        ({"meta": {}}, None),
        ({"meta": {"billed_units": {"search_units": -2}}}, None),
        ({"usage": {"input_tokens": -1}}, None),
        ({"usage": {"input_tokens": 10**15}}, None),
        ({"usage": {"input_tokens": 1, "input_tokens_details": {"image_tokens": 2}}}, None),
        ({"usage": {"output_tokens": 1, "output_tokens_details": {"audio_tokens": 2}}}, None),
        ({"usage": {"input_tokens": "many"}}, None),
    ],
)
def test_usage_is_read_in_every_form_and_lies_are_not(document, usage):
    assert read(document).usage == usage


def test_images_are_counted():
    assert read({"data": [{}, {}]}, images=True).usage == Usage(images=2)
    assert read({"data": [{}], "usage": {"input_tokens": 3}}, images=True).usage == Usage(3, images=1)
    assert read({"data": [{}, {}]}).usage is None
    assert read({"data": {}}, images=True).usage is None
    assert read({"model": "m", "data": []}, images=True).response_model == "m"
    assert read({"model": 3}).response_model == ""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", Code.UPSTREAM_PROTOCOL),
        (b"[]", Code.UPSTREAM_PROTOCOL),
        (b'{"text":"\xff"}', Code.UPSTREAM_PROTOCOL),
        (b'{"error":{"message":"x","type":"server_error"}}', Code.UPSTREAM_ERROR),
        (b'{"error":"x"}', Code.UPSTREAM_ERROR),
    ],
)
def test_what_is_no_answer_is_an_error(body, code):
    with pytest.raises(UpstreamError) as caught:
        tap(body)
    assert caught.value.code is code


def event(kind, **fields):
    return b"data: %b\n\n" % json.dumps({"type": kind, **fields}).encode()


def test_a_stream_of_several_images_ends_with_the_last_of_them():
    stream = MediaEvents(results=2)
    usage = {"input_tokens": 1, "output_tokens": 2}
    first = stream.feed(event("image_generation.partial_image") + event("image_generation.completed", usage=usage))
    assert [frame.terminal for frame in first] == [False, False]
    (last,) = stream.feed(event("image_generation.completed", usage=usage))
    assert last.terminal
    assert last.usage == Usage(2, 4, images=2)
    assert stream.close() == []


def test_fewer_images_than_were_asked_for_are_a_whole_stream_and_none_is_not():
    stream = MediaEvents(results=2)
    stream.feed(event("image_edit.completed"))
    assert stream.close() == []
    stream = MediaEvents()
    stream.feed(event("image_edit.partial_image"))
    with pytest.raises(UpstreamError) as caught:
        stream.close()
    assert caught.value.code is Code.UPSTREAM_CUT


def test_every_operation_with_a_path_is_offered_by_its_dialect_and_no_other():
    index = Index(snapshot())
    for dialect in DialectName:
        row = provider("p", dialect)
        for operation in {one for paths in PATHS.values() for one in paths}:
            assert index.offers(row, operation) == (operation in PATHS.get(dialect, {}))
