"""Callers make up names behind a wildcard; none of them may lead to another path of the provider than a model's."""

import pytest

from ostiary.snapshot.tables import TargetRow, TeamRow
from tests.exchange.harness import House, model

DIALECTS = {"goo": b"/v1beta/models/", "oai": b"/v1/chat/completions"}


def house():
    team = TeamRow(tenant="acme", name="search", environment="production", models=("*",))
    return House(models=tuple(model(f"{name}/*", TargetRow(name, "*")) for name in DIALECTS), teams=(team,))


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize(
    "name",
    ["..", ".", "../x", "x/..", "x/../../secrets", "a/./b", "//evil.test/x", "/x", "x/", "a//b", "../../v1/files"],
)
async def test_dots_and_empty_segments_name_no_model(provider, name):
    one = house()
    sink = await one.chat(f"{provider}/{name}")
    assert (sink.status, sink.json["error"]["code"]) == (404, "model.not_found")
    assert one.upstream.sent == []


@pytest.mark.parametrize("name", ["x?key=1", "x#y", "x y", "x%2e%2e", "x:delete", "x\r\nhost: evil", "..x", "é"])
async def test_no_other_character_leads_out_of_the_models_path(name):
    one = house()
    await one.chat(f"goo/{name}")
    for sent in one.upstream.sent:
        path, question, query = sent.target.partition(b"?")
        assert path.startswith(DIALECTS["goo"])
        assert path.endswith(b":generateContent")
        assert path.count(b"/") == DIALECTS["goo"].count(b"/")
        assert not question or query == b"alt=sse"
        assert not {*b"#\r\n "} & {*path}
