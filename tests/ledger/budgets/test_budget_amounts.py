"""What people write for money, and what a run's budget says."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aideon_agents import Budget
from aideon_agents.errors import UserError
from aideon_agents.ledger.budgets.limits import nanousd


@pytest.mark.parametrize(
    ("amount", "nanos"),
    [
        ("0.05", 50_000_000),
        ("$5", 5_000_000_000),
        (" $ 1.50 ", 1_500_000_000),
        ("0.000000001", 1),
        ("1e-3", 1_000_000),
        (0, 0),
        (0.1, 100_000_000),
        (Decimal(10**9), 10**18),
        (3, 3_000_000_000),
    ],
)
def test_amounts_are_exact(amount, nanos):
    assert nanousd(amount) == nanos


@pytest.mark.parametrize(
    "amount",
    [
        *("", "free", "-1", "-0.000000001", "0.0000000001", "nan", "sNaN", "inf", "-Infinity"),
        *("1000000000.000000001", "1e999999", "1e-999999", "1.0000000000000000000000000000000001"),
        *(float("nan"), float("inf"), 1e-10, True),
    ],
)
def test_what_is_no_amount_is_refused(amount):
    with pytest.raises(UserError, match="is not a budget: write US dollars such as"):
        nanousd(amount)


@given(st.integers(0, 10**18))
def test_every_amount_comes_back_as_it_was(nanos):
    budget = Budget(Decimal(nanos).scaleb(-9))
    assert budget.total_nanousd == nanos
    assert budget.total.scaleb(9) == nanos


@given(st.text())
def test_any_text_is_an_amount_or_refused(text):
    try:
        found = nanousd(text)
    except UserError:
        return
    assert 0 <= found <= 10**18


def test_a_budget_names_the_accounts_of_its_run():
    budget = Budget("1", nodes={"refine": "0.5"}, providers={"openai": 0.25})
    assert [(account.key, limit) for account, limit in budget.limits("R1")] == [
        ("run:R1", 10**9),
        ("run:R1:node:refine", 5 * 10**8),
        ("run:R1:provider:openai", 25 * 10**7),
    ]


def test_a_budget_can_be_for_a_node_alone():
    budget = Budget(nodes={"refine": 0})
    assert budget.total is None
    assert [account.key for account, _ in budget.limits("R1")] == ["run:R1:node:refine"]
    assert Budget.of(budget) is budget
    assert Budget.of("0.05").total == Decimal("0.05")
