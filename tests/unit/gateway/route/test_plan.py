"""The short way to a plan gives what the whole way gives, or nothing."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.call import DialectName, Operation
from ostiary.core.capability import Capability, Need
from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Origin
from ostiary.core.label import Sensitivity
from ostiary.core.usage import Usage
from ostiary.gateway.route.health import Health
from ostiary.gateway.route.plan import Plan, Scene, open_to, plan
from ostiary.snapshot.index import Target
from ostiary.snapshot.tables import ModelRow, ProviderRow, TimeoutsRow, TraitsRow

MODEL = ModelRow("m", (), TimeoutsRow(1, 1, 1, 1), strategy="priority")
NOW = 100.0


class Offered:
    """Look-ups of which only the targets are asked for."""

    def __init__(self, targets):
        self._targets = targets

    def targets(self, model, operation):
        del model, operation
        return self._targets


def target(name, traits=None, when=""):
    row = ProviderRow(name, DialectName.OPENAI, Origin("http", "x", 1), "/v1")
    return Target(row, MODEL, "m", 1, f"{name}/m", b"/v1", b"", (), traits, when)


traits = st.sampled_from([None, TraitsRow(cannot=(Capability.TOOLS,)), TraitsRow(context_window=10)])
needs = st.sampled_from([Need(), Need((Capability.TOOLS,)), Need(input_tokens=11)])
offers = st.lists(st.tuples(traits, st.sampled_from(["", "false"])), max_size=2).map(
    lambda rows: tuple(target(f"t{place}", *row) for place, row in enumerate(rows))
)


@given(offers, needs, st.booleans(), st.booleans(), st.booleans())
def test_what_the_short_way_gives_is_what_the_whole_way_would(offered, need, troubled, bound, itself):
    model = msgspec.structs.replace(MODEL, regions=("eu",) if bound else ())
    health, index = Health(), Offered(offered)
    if troubled:
        error = UpstreamError(Code.UPSTREAM_RATE_LIMITED, "", retry_after_seconds=60.0)
        health.failed("t0/m" if itself else "other/m", NOW, error)
    short = open_to(index, model, Operation.CHAT, health, lambda: need)
    scene = Scene(None, NOW, 0, health, Usage(), "", lambda: need, lambda _: False)
    whole = plan(
        index,
        model,
        (),
        operation=Operation.CHAT,
        label=Sensitivity.INTERNAL,
        strategies={model.strategy: lambda targets, scene: targets},
        scene=scene,
    )
    assert short == () or Plan(short, len(short)) == whole
    if not (troubled or bound) and len(whole.targets) == len(offered):
        assert short == offered
