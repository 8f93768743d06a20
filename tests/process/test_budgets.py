"""Budgets through restarts and deaths: what was spent stays spent, and equals what the journal says."""

import pytest

from tests.process.house import House, until

KEY = "a-key-of-the-budgeted-team-0123456789"
TEAM = """\
      - name: thrifty
        models: ["*"]
        budget: {amount: "0.0002", alerts: [0.5]}
        keys: [{name: app, secret: "${env:THRIFTY_KEY}"}]
"""


@pytest.fixture
def thrifty(tmp_path, provider):
    with House(tmp_path, provider.port, tenants=TEAM, environment={"THRIFTY_KEY": KEY}) as house:
        yield house


def spend(house):
    """Calls until the budget is used up; how many were answered."""
    answered = 0
    for _ in range(60):
        answer = house.chat(key=KEY, max_tokens=100)
        if answer.status == 402:
            return answered
        assert answer.status == 200
        answered += 1
    raise AssertionError("the budget was never used up")


def recorded(house):
    calls = [one["record"] for one in house.records("closed")]
    return sum(call["cost"]["nano"] for call in calls if call["team"] == "thrifty" and "cost" in call)


@pytest.mark.parametrize("how", ["stopped", "killed", "checkpoint lost", "checkpoint damaged"])
def test_at25_what_was_spent_stays_spent_through_a_restart(thrifty, how):
    assert spend(thrifty) > 3
    assert thrifty.chat().status == 200, "another team's calls go on"
    ledger = thrifty.data / "ledger.json"
    if how == "stopped":
        thrifty.stop()
        assert ledger.exists()
    else:
        if how != "killed":
            until(ledger.exists, 15, "the checkpoint")
        thrifty.kill()
        if how == "checkpoint lost":
            ledger.unlink()
        elif how == "checkpoint damaged":
            ledger.write_bytes(b'{"places":')
    thrifty.start()
    assert thrifty.chat(key=KEY, max_tokens=100).status == 402
    assert thrifty.chat().status == 200
    until(lambda: recorded(thrifty) > 0, what="the records")
    assert recorded(thrifty) <= 200_000


def test_a_share_of_a_budget_is_logged_and_counted(thrifty):
    spend(thrifty)
    until(lambda: thrifty.logged("budget_share_reached"), what="the alert's line")
    until(lambda: thrifty.metric('ostiary_budget_alerts_total{scope="team"}') == 1.0, what="the alert's count")


def test_limits_with_several_workers_are_refused_at_load(tmp_path, provider):
    house = House(tmp_path, provider.port, workers=2, tenants=TEAM, environment={"THRIFTY_KEY": KEY})
    told = house.command("check", code=1)
    assert "server.workers" in str(told)
    assert "workers: 1" in str(told)
