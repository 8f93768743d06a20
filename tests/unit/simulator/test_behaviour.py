import itertools

import pytest

from ostiary.simulator.behaviour import (
    PRESETS,
    Behaviour,
    Ending,
    Fault,
    Piece,
    Plan,
    UnknownBehaviourError,
    of_header,
    of_model,
    spoiled,
    streamed,
    whole,
)


def test_a_header_reads_like_a_list_of_wishes():
    assert of_header("status=503; delay=0.2; rate=50; fault=cut; after=3; tokens=7; seed=9") == Behaviour(
        status=503,
        first_byte_seconds=0.2,
        tokens_per_second=50,
        fault=Fault.CUT,
        after=3,
        tokens=7,
        seed=9,
    )
    assert of_header("sim-slow") == PRESETS["sim-slow"]


@pytest.mark.parametrize("value", ["nonsense", "status=x", "fault=none-such", "a=b", "status=1;b=2"])
def test_a_wish_that_is_unknown_is_refused(value):
    with pytest.raises(UnknownBehaviourError):
        of_header(value)


def test_every_fault_has_a_model_name():
    for fault in Fault:
        if fault is not Fault.NONE:
            assert of_model(f"sim-{fault.value.replace('_', '-')}") == Behaviour(fault=fault)


@pytest.mark.parametrize("name", ["sim-gpt", "gpt-4o", "sim-error-99", "sim-error-x", "sim-error-200", ""])
def test_other_names_ask_for_nothing(name):
    assert of_model(name) is None


STREAM = streamed(Behaviour(), [])
EVENTS = [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"]


def spoil(fault, after=1):
    behaviour = Behaviour(fault=fault, after=after)
    return spoiled(streamed(behaviour, EVENTS), behaviour)


@pytest.mark.parametrize(
    ("fault", "ending"), [(Fault.CUT, Ending.CUT), (Fault.RESET, Ending.RESET), (Fault.STALL, Ending.STALL)]
)
def test_streams_end_after_so_many_pieces(fault, ending):
    plan = spoil(fault)
    assert ([piece.data for piece in plan.pieces], plan.ending) == (EVENTS[:1], ending)


@pytest.mark.parametrize("fault", [Fault.COMMENTS, Fault.LONG_EVENT])
def test_endless_ones_have_no_end(fault):
    assert len(list(itertools.islice(spoil(fault).pieces, 10_000))) == 10_000


@pytest.mark.parametrize(("fault", "ending"), [(Fault.DROP, Ending.CUT), (Fault.HANG, Ending.STALL)])
def test_some_never_answer(fault, ending):
    plan = spoil(fault)
    assert (plan.status, list(plan.pieces), plan.ending) == (0, [], ending)


def test_a_document_is_cut_in_the_middle():
    behaviour = Behaviour(fault=Fault.CUT)
    plan = spoiled(whole(behaviour, 200, {"a": 1}), behaviour)
    assert ([piece.data for piece in plan.pieces], plan.ending) == ([b'{"a'], Ending.CUT)


def test_malformed_pieces():
    assert [piece.data for piece in spoil(Fault.MALFORMED).pieces][1] == b'data: {"simulated": tru\n\n'
    behaviour = Behaviour(fault=Fault.MALFORMED)
    (piece,) = spoiled(whole(behaviour, 200, {"a": 1}), behaviour).pieces
    assert piece.data == b'{"a":'


def test_a_web_page_and_a_bomb():
    assert (b"content-type", b"text/html") in spoil(Fault.CONTENT_TYPE).headers
    bomb = spoil(Fault.BOMB)
    assert (b"content-encoding", b"gzip") in bomb.headers
    assert sum(len(piece.data) for piece in bomb.pieces) < 100_000


def test_the_rate_is_the_time_between_pieces():
    plan = streamed(Behaviour(tokens_per_second=20), EVENTS)
    assert [piece.delay for piece in plan.pieces] == [0.0, 0.05, 0.05]


def test_no_fault_changes_nothing():
    plan = Plan(200, (), (Piece(b"x"),))
    assert spoiled(plan, Behaviour()) is plan
