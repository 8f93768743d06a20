"""What is learnt of a call stands in its records under the same names."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.call import DialectName, Operation
from ostiary.core.error import Code, UpstreamError
from ostiary.core.event import Attempt, Closed, Doubt, Opened, Outcome, Skipped, Timings
from ostiary.core.label import Sensitivity
from ostiary.core.principal import Deployment, Principal
from ostiary.core.usage import Cost, Nano, Usage
from ostiary.gateway.audit.draft import Draft, milliseconds

PRINCIPAL = Principal("tenant", "team", "environment", "key_id", "key_name", project="project")


def told(draft, cls):
    """Every text a field of its own, so that no two can be taken for each other."""
    for name in cls.__struct_fields__:
        if type(getattr(draft, name, None)) is str:
            setattr(draft, name, name)
    return draft


@pytest.fixture
def draft():
    draft = Draft("request_id", PRINCIPAL, Operation.CHAT, DialectName.ANTHROPIC, "snapshot")
    draft.label = Sensitivity.REGULATED
    draft.stream = True
    return draft


def test_the_opening_record_has_each_thing_under_its_name(draft):
    opened = told(draft, Opened).opened(7, "target")
    for name in Opened.__struct_fields__:
        value = getattr(opened, name)
        if name not in ("at_ns", "operation", "client_dialect", "stream", "label"):
            assert value == name
    assert (opened.at_ns, opened.operation, opened.client_dialect) == (7, Operation.CHAT, DialectName.ANTHROPIC)
    assert (opened.stream, opened.label) == (True, Sensitivity.REGULATED)


def test_the_closing_record_has_each_thing_under_its_name(draft):
    told(draft, Closed)
    draft.status, draft.degraded, draft.usage_estimated = 418, True, True
    draft.usage, draft.cost = Usage(input_tokens=3), Cost(Nano(5))
    draft.dropped_fields, draft.route = ("a",), (Skipped("t", "r"),)
    draft.deployment, draft.doubts = Deployment(service="s"), (Doubt.MODEL,)
    draft.started_at, draft.received_at, draft.sent_at, draft.first_byte_at = 1.0, 2.0, 3.0, 4.0
    draft.attempted("t", 2.0, 3.0, 4.5, error=None, credential="c")
    draft.attempted("u", 2.0, 0.0, 4.0, error=UpstreamError(Code.UPSTREAM_CUT, "cut"), credential="")
    closed = draft.closed(Outcome.FAILED, 9, 8, 6.0)
    other = {
        "at_ns": 8,
        "opened": 9,
        "outcome": Outcome.FAILED,
        "operation": Operation.CHAT,
        "client_dialect": DialectName.ANTHROPIC,
        "stream": True,
        "label": Sensitivity.REGULATED,
        "guard_version": "",
        "policy_version": "",
        "status": 418,
        "timings": Timings(1000.0, 2000.0, 3000.0, 0.0, 5000.0),
        "attempts": (
            Attempt("t", 200, "", 0.0, 1000.0, 2500.0, "", "c"),
            Attempt("u", UpstreamError(Code.UPSTREAM_CUT, "").status, Code.UPSTREAM_CUT, 0.0, 0.0, 2000.0),
        ),
        "usage": Usage(input_tokens=3),
        "usage_estimated": True,
        "cost": Cost(Nano(5)),
        "deployment": Deployment(service="s"),
        "dropped_fields": ("a",),
        "degraded": True,
        "route": (Skipped("t", "r"),),
        "doubts": (Doubt.MODEL,),
    }
    found = {name: getattr(closed, name) for name in Closed.__struct_fields__}
    assert found == {name: other.get(name, name) for name in Closed.__struct_fields__}


def test_a_call_that_names_no_deployment_is_recorded_with_its_keys():
    principal = msgspec.structs.replace(PRINCIPAL, deployment=Deployment(service="of the key"))
    draft = Draft("r", principal, Operation.CHAT, DialectName.OPENAI, "s")
    assert draft.closed(Outcome.SUCCEEDED, 0, 0, 0.0).deployment == Deployment(service="of the key")


def test_two_drafts_share_nothing():
    one, two = (Draft("r", PRINCIPAL, Operation.CHAT, DialectName.OPENAI, "s") for _ in range(2))
    one.attempted("t", 0.0, 0.0, 1.0, error=None, credential="")
    assert two.attempts == ()


@given(st.lists(st.floats(0, 5_000), min_size=6, max_size=6).map(sorted), st.floats(0, 1e7))
def test_times_are_kept_in_milliseconds_with_three_decimals(after, started):
    received, sent, began, first, content, now = (started + one for one in after)
    draft = Draft("r", PRINCIPAL, Operation.CHAT, DialectName.OPENAI, "s", started_at=started)
    draft.received_at, draft.sent_at, draft.first_byte_at, draft.first_content_at = received, sent, first, content
    draft.attempted("t", began, first, now, error=None, credential="")
    closed = draft.closed(Outcome.SUCCEEDED, 0, 0, now)
    assert msgspec.structs.astuple(closed.timings) == tuple(
        milliseconds(at - started) if at else 0.0 for at in (received, sent, first, content, now)
    )
    (attempt,) = closed.attempts
    assert attempt.first_byte_ms == milliseconds(max(first - began, 0.0))
    assert attempt.total_ms == milliseconds(now - began)
