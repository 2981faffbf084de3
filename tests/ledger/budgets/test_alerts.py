"""What an alert says."""

from __future__ import annotations

import dataclasses

import pytest

from aideon_agents.ledger.budgets.alerts import Alert

DAY = Alert(
    scope="day",
    window="2026-11-21",
    run_id="01JRUN",
    percent=80,
    limit_nanousd=5_000_000_000,
    spent_nanousd=4_020_000_000,
    warns=True,
)


def test_an_alert_names_the_budget_its_window_and_the_money_in_one_line():
    assert str(DAY) == "the day budget of $5 (2026-11-21, UTC): 80 % is spent, $4.02"
    assert DAY.title == "Aideon Agents: 80 % of the day budget is spent"


def test_a_spent_budget_that_is_enforced_says_that_calls_are_refused():
    alert = dataclasses.replace(DAY, percent=100, warns=False)
    assert str(alert).endswith(": 100 % is spent, $4.02; calls are refused from here on")


def test_a_spent_budget_that_only_warns_says_that_nothing_is_stopped():
    alert = dataclasses.replace(DAY, percent=100)
    assert str(alert).endswith(": 100 % is spent, $4.02; it only warns, nothing is stopped")


@pytest.mark.parametrize(
    ("nanousd", "said"),
    [
        (5_000_000_000, "$5"),
        (4_020_000_000, "$4.02"),
        (4_500_000_000, "$4.50"),
        (1_234_500, "$0.0012345"),
        (1, "$0.000000001"),
        (0, "$0"),
        (1_000_000_000_000_000_001, "$1000000000.000000001"),
    ],
)
def test_money_is_exact_however_small_or_large(nanousd, said):
    alert = dataclasses.replace(DAY, limit_nanousd=nanousd, spent_nanousd=nanousd)
    assert f"budget of {said} (" in str(alert)
    assert str(alert).endswith(f", {said}")


@pytest.mark.parametrize(
    ("scope", "window", "run_id", "said"),
    [
        ("run", None, "01JRUN", "the run budget of $5 (run 01JRUN): "),
        ("day:run", "2026-11-21", "01JRUN", "budget of $5 (2026-11-21, UTC, run 01JRUN): "),
        ("month:user:run", "2026-11", "01JRUN", "user:run budget of $5 (2026-11, UTC): "),
        ("user:alice", None, "01JRUN", "alice budget of $5 (reached in run 01JRUN): "),
        ("user:alice", None, None, "the user:alice budget of $5: 80 %"),
    ],
)
def test_an_alert_names_the_run_where_the_window_does_not_say_enough(scope, window, run_id, said):
    assert said in str(dataclasses.replace(DAY, scope=scope, window=window, run_id=run_id))


@pytest.mark.parametrize(
    ("percent", "warns", "urgency"),
    [
        (50, False, "info"),
        (80, False, "warning"),
        (95, True, "warning"),
        (100, True, "warning"),
        (100, False, "failure"),
    ],
)
def test_an_alert_is_as_urgent_as_what_it_means(percent, warns, urgency):
    assert dataclasses.replace(DAY, percent=percent, warns=warns).urgency == urgency


def test_a_name_can_neither_break_the_line_nor_bring_a_key_into_it(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-that-nobody-may-see")
    alert = dataclasses.replace(DAY, scope="user:eve\r\nBcc: a-key-that-nobody-may-see")
    assert alert.title == "Aideon Agents: 80 % of the user:eve Bcc: [key] budget is spent"
    assert str(alert).startswith("the user:eve Bcc: [key] budget of $5 (")
