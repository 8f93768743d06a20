"""Bounds on calls in flight as the file says them."""

import pytest

from ostiary.bootstrap.compile import compile_file, snapshot_of
from ostiary.core.error import OperatorError
from ostiary.core.principal import Priority
from ostiary.settings import load
from ostiary.snapshot import codec
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import GateRow, HedgeRow

FILE = """\
server: {{workers: {workers}}}
overload: {{concurrent_requests: 50, waiting_requests: 5, wait_seconds: 2, lag_seconds: 0.5}}
providers:
  onsite: {{dialect: openai, base_url: "http://127.0.0.1:9000/v1", auth: {{scheme: none}}, capacity: {{concurrent_requests: 9, waiting_requests: 10}}}}
  other: {{dialect: openai, base_url: "http://127.0.0.1:9001/v1", auth: {{scheme: none}}}}
models:
  chat:
    targets: [{{provider: onsite, model: {model}{capacity}}}, {{provider: other, model: x}}]
    hedge: {{share: 0.1, cost: "0.02"}}
tenants:
  - name: acme
    teams:
      - {{name: support, models: [chat], priority: interactive, weight: 3, keys: [{{name: k, secret: "a-key-of-more-than-24-characters", priority: batch}}]}}
"""


def declared(tmp_path, workers=1, model="large", capacity="", text=FILE):
    file = tmp_path / "ostiary.yaml"
    file.write_text(text.format(workers=workers, model=model, capacity=capacity))
    return compile_file(load(file), tmp_path / "secrets")


def index_of(found):
    return Index(codec.decode(codec.encode(snapshot_of(found, (), 0))))


def test_what_stands_in_the_file_reaches_the_workers(tmp_path):
    found = declared(tmp_path)
    index = index_of(found)
    assert index.snapshot.overload.gate == GateRow(50, 5, 2.0)
    assert index.snapshot.overload.lag_seconds == 0.5
    assert index.gates == {"onsite": GateRow(9, 10, 5.0)}
    (team,) = index.snapshot.teams
    assert (team.priority, team.weight) == (Priority.INTERACTIVE, 3)
    ((_, key),) = found.keys
    assert key.principal().priority is Priority.BATCH
    assert index.snapshot.models[0].hedge == HedgeRow(None, 0.1, 20_000_000)


@pytest.mark.parametrize(("workers", "places", "waiting"), [(2, 4, 5), (4, 2, 3), (16, 1, 1)])
def test_a_servers_places_are_divided_among_the_workers(tmp_path, workers, places, waiting):
    assert index_of(declared(tmp_path, workers)).gates["onsite"] == GateRow(places, waiting, 5.0)


def test_a_targets_own_bound_goes_before_its_providers(tmp_path):
    index = index_of(declared(tmp_path, capacity=", capacity: {concurrent_requests: 2}"))
    assert index.gates["onsite/large"] == GateRow(2, 100, 5.0)
    own, other = index.targets(index.models["chat"], "chat")
    assert (own.gate, other.gate) == ("onsite/large", "")


def test_many_models_behind_one_target_have_no_bound_together(tmp_path):
    text = FILE.replace("  chat:\n", '  "p/*":\n').replace("models: [chat]", 'models: ["*"]')
    with pytest.raises(OperatorError, match=r"capacity: many models stand behind `\*`"):
        declared(tmp_path, model='"*"', capacity=", capacity: {concurrent_requests: 2}", text=text)


def test_a_race_needs_two_targets(tmp_path):
    text = FILE.replace(", {{provider: other, model: x}}", "")
    with pytest.raises(OperatorError, match=r"models\.chat\.hedge: there is no second target"):
        declared(tmp_path, text=text)
