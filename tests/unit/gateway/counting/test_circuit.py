"""When shared counters are asked again after they failed."""

import pytest

from ostiary.core.limit import RECONNECT_SECONDS, RECONNECT_SECONDS_MAX
from ostiary.gateway.counting.circuit import Circuit
from tests.exchange.harness import Always


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.5), (1.0, 1.0)])
def test_pauses_grow_to_their_bound_and_are_spread_by_chance(draw, share):
    circuit = Circuit(Always(draw))
    pauses = []
    for _ in range(8):
        circuit.failed(100.0)
        pauses.append(round(circuit.attempt_at - 100.0, 9))
    assert pauses[:3] == [round(RECONNECT_SECONDS * factor * share, 9) for factor in (1, 2, 4)]
    assert pauses[-1] == RECONNECT_SECONDS_MAX * share


def test_one_failure_opens_it_and_one_success_closes_it():
    circuit = Circuit(Always())
    assert not circuit.away
    circuit.failed(0.0)
    assert circuit.away
    assert circuit.succeeded()
    assert not circuit.away
    assert not circuit.succeeded()
    circuit.failed(5.0)
    assert circuit.attempt_at == pytest.approx(5.0 + RECONNECT_SECONDS / 2), "the next time it begins anew"
