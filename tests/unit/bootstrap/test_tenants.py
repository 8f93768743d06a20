"""Tenants, tiers, teams, projects and keys of the file, and which limits and budgets each of them has."""

import pytest

from ostiary.bootstrap.compile import compile_file
from ostiary.core.error import OperatorError
from ostiary.settings import load

TOP = """\
providers:
  onsite: {dialect: openai, base_url: "http://127.0.0.1:9/v1", auth: {scheme: none}}
models: {chat: {targets: [{provider: onsite, model: tiny}]}}
"""
KEY = "a-key-of-more-than-24-characters"


@pytest.fixture
def declared(tmp_path):
    def compiled(text):
        file = tmp_path / "ostiary.yaml"
        file.write_text(TOP + text)
        return compile_file(load(file), tmp_path / "secrets")

    return compiled


def tenant(team, tiers=""):
    return f"{tiers}tenants: [{{name: acme, teams: [{{name: search, models: [chat], {team}}}]}}]\n"


def limits(found):
    return {one.scope: one.limit.requests_per_minute for one in found.limits}


def budgets(found):
    return {one.scope: one.budget.nano for one in found.budgets}


def test_a_project_has_limits_and_a_budget_of_its_own_and_keys_say_which_they_are_for(declared):
    found = declared(
        tenant(
            'projects: [{name: beta, limits: {requests_per_minute: 6}, budget: {amount: "2"}}], '
            f'keys: [{{name: app, secret: "{KEY}", project: beta}}, {{name: other, secret: "{KEY}2"}}]'
        )
    )
    assert limits(found) == {"project/acme/search/beta": 6}
    assert budgets(found) == {"project/acme/search/beta": 2 * 10**9}
    assert [entry.project for _, entry in found.keys] == ["beta", ""]
    assert found.keys[0][1].principal().project == "beta"


TIERS = """\
tiers:
  - name: free
    limits: {requests_per_minute: 600}
    each_team: {limits: {requests_per_minute: 60}, budget: {amount: "5"}}
"""


def test_a_tier_bounds_its_teams_together_and_gives_each_what_it_does_not_say_itself(declared):
    found = declared(tenant("tier: free", TIERS))
    assert limits(found) == {"tier/free": 600, "team/acme/search": 60}
    assert budgets(found) == {"team/acme/search": 5 * 10**9}
    assert [team.tier for team in found.teams] == ["free"]
    own = declared(tenant('tier: free, limits: {requests_per_minute: 7}, budget: {amount: "9"}', TIERS))
    assert limits(own) == {"tier/free": 600, "team/acme/search": 7}
    assert budgets(own) == {"team/acme/search": 9 * 10**9}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (tenant(f'keys: [{{name: app, secret: "{KEY}", project: beta}}]'), "no project `beta` in this team"),
        (
            tenant(f'projects: [{{name: beta}}], keys: [{{name: app, secret: "{KEY}", project: bta}}]'),
            "did you mean `beta`",
        ),
        (tenant("projects: [{name: a}, {name: a}]"), "the project `a` is there twice"),
        (tenant("tier: fre", TIERS), "no tier `fre`; did you mean `free`"),
        (tenant("tier: free", TIERS + "  - {name: free}\n"), "the tier `free` is there twice"),
        (tenant("projects: [{name: a, budget: {}}]"), "a budget needs"),
    ],
)
def test_a_name_that_is_not_there_or_there_twice_is_told_with_its_line(declared, text, reason):
    with pytest.raises(OperatorError, match=r"ostiary\.yaml:\d+: ") as caught:
        declared(text)
    assert reason in caught.value.message
