"""Advice about models: dear ones, failing ones, second tries and choices, unknown costs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aideon_agents.ledger.advice import advice
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.selection import Selection

SMALL, MEDIUM, LARGE = "openai:gpt-4o-mini", "openai:gpt-4.1", "openai:gpt-4o"
RUNGS = {"small": [SMALL, "openai:nobody-knows"], "medium": [MEDIUM], "large": [LARGE]}
USAGE = Usage(input_tokens=1_000_000, output_tokens=0)
DEAR = 2_500_000_000
"""What USAGE costs at gpt-4o's price, in nano-dollars; 150,000,000 at gpt-4o-mini's."""


@pytest.fixture
def calls(ledger, record):
    """Writes calls that are alike; the model is `provider:model`."""

    def write(number, model, **call):
        provider, _, requested = model.partition(":")
        for _ in range(number):
            record(ledger, "01A", provider=provider, requested_model=requested, **call)

    return write


def given(ledger, kind=None, **selected):
    found = advice(ledger, Selection(**selected), RUNGS)
    return [one for one in found if kind in (None, one.kind)]


def test_there_is_no_advice_about_nothing(ledger):
    assert advice(ledger, Selection(), RUNGS) == ()


@pytest.fixture
def dear(calls):
    """A node on the large rung, and the same role answered by the small one elsewhere."""

    def write(*, own=10, others=10, failures=0, role="creative", model=LARGE):
        calls(own, model, node_path="text", role=role, usage=USAGE, nanousd=DEAR)
        calls(others, SMALL, node_path="draft", role="creative", nanousd=1000)
        calls(failures, SMALL, node_path="draft", role="creative", status="error", nanousd=0)

    return write


def test_a_dear_node_is_told_of_a_cheaper_model_that_answered_its_role(ledger, dear):
    dear()
    (one,) = given(ledger)
    assert (one.kind, one.where) == ("cheaper_model", "text")
    assert one.text == (
        "100 % of the cost, $25.000000 for 10 calls, all on openai:gpt-4o (large)."
        " openai:gpt-4o-mini (small) answered the creative 10 times without a failure."
        " The same tokens at openai:gpt-4o-mini's price: $1.500000. Whether its answers are good"
        " enough only a trial tells: --model creative=openai:gpt-4o-mini"
    )
    assert one.figures == {
        "usd": Decimal(25),
        "complete": True,
        "share": 25 / 25.00001,
        "calls": 10,
        "role": "creative",
        "models": [LARGE],
        "cheaper_model": SMALL,
        "cheaper_model_answers": 10,
        "cheaper_model_failures": 0,
        "against": {"model": SMALL, "usd": Decimal("1.5"), "complete": True},
    }


@pytest.mark.parametrize(
    "written",
    [
        {"own": 9},
        {"others": 9},
        {"failures": 1},
        {"role": ""},
        {"role": "planner"},
        {"model": "openai:gpt-4.1-mini"},
        {"model": SMALL},
    ],
    ids=["few", "little tried", "failed", "no role", "another role", "no rung", "lowest rung"],
)
def test_a_cheaper_model_needs_enough_that_speaks_for_it(ledger, dear, written):
    dear(**written)
    assert given(ledger, "cheaper_model") == []


def test_a_node_with_two_roles_is_left_alone(ledger, dear, calls):
    dear()
    calls(1, LARGE, node_path="text", role="validator", nanousd=DEAR)
    assert given(ledger) == []


@pytest.mark.parametrize(("rest", "told"), [(40, True), (41, False)])
def test_a_node_with_a_small_share_is_left_alone(ledger, dear, calls, rest, told):
    dear(others=0)
    calls(10, SMALL, node_path="draft", nanousd=0)
    calls(rest, MEDIUM, node_path="plan", role="planner", nanousd=DEAR)
    assert bool(given(ledger)) is told


def test_a_model_whose_price_nobody_knows_or_that_is_no_cheaper_is_not_named(ledger, calls):
    calls(10, LARGE, node_path="text", usage=USAGE, nanousd=DEAR)
    calls(10, "openai:nobody-knows", node_path="draft", nanousd=0)
    assert given(ledger, "cheaper_model") == []
    calls(10, MEDIUM, node_path="draft", nanousd=0)
    assert [one.figures["cheaper_model"] for one in given(ledger)] == [MEDIUM]
    calls(10, SMALL, node_path="draft", nanousd=0)
    assert [one.figures["cheaper_model"] for one in given(ledger)] == [SMALL], "the cheapest"


def test_a_cheaper_rung_that_would_cost_more_is_not_named(ledger, calls):
    calls(10, LARGE, node_path="text", usage=USAGE, nanousd=1000)
    calls(10, SMALL, node_path="draft", nanousd=0)
    assert given(ledger, "cheaper_model") == []


def test_what_is_not_known_of_a_dear_node_is_said(ledger, dear, calls):
    dear()
    calls(1, LARGE, node_path="text", role="creative", status="cancelled")
    (one,) = given(ledger, "cheaper_model")
    assert one.figures["complete"] is one.figures["against"]["complete"] is False
    assert "at least $25.000000 for 11 calls" in one.text
    assert "price: at least $1.500000." in one.text


def test_a_model_that_fails_often_is_named_with_its_errors(ledger, calls):
    calls(16, LARGE, nanousd=1)
    calls(3, LARGE, status="error", nanousd=0, end={"error_type": "RateLimited"})
    calls(1, LARGE, status="broken", nanousd=7)
    (one,) = given(ledger)
    assert (one.kind, one.where) == ("failing_model", LARGE)
    assert one.text.startswith(
        "4 of 20 calls failed (20 %): RateLimited 3, broken 1; they cost $0.000000007 and time."
    )
    assert "AIDEON_MODEL_CONCURRENCY" in one.text
    assert one.figures == {
        "calls": 20,
        "failed_calls": 4,
        "failed_share": 0.2,
        "errors": {"RateLimited": 3, "broken": 1},
        "usd": Decimal("7e-9"),
        "complete": True,
    }


@pytest.mark.parametrize(
    ("answered", "failed", "told"), [(0, 9, False), (19, 2, False), (18, 2, True)]
)
def test_a_few_failures_are_left_unsaid(ledger, calls, answered, failed, told):
    calls(answered, LARGE, nanousd=1)
    calls(failed, LARGE, status="error", nanousd=0)
    assert bool(given(ledger, "failing_model")) is told


def test_an_error_that_only_a_change_mends_says_which(ledger, calls):
    for model, error in ((LARGE, "KeyRejected"), (SMALL, "SomethingElse")):
        calls(10, model, status="error", nanousd=0, end={"error_type": error})
    texts = {one.where: one.text for one in given(ledger)}
    assert texts[LARGE].endswith("mend the provider's key: aideon doctor shows which")
    assert texts[SMALL].endswith("put another model first with --model ROLE=provider:model")


@pytest.mark.parametrize(("nanousd", "told"), [(4, False), (5, True)])
def test_retries_are_told_when_they_are_a_notable_share(ledger, calls, nanousd, told):
    calls(1, LARGE, nanousd=100 - nanousd)
    calls(1, LARGE, status="error", nanousd=0, end={"error_type": "Malformed"})
    calls(1, LARGE, attempt=2, nanousd=nanousd)
    found = given(ledger)
    assert [one.kind for one in found] == ["retries"] * told
    for one in found:
        assert one.where == LARGE
        assert one.text.startswith(
            "1 call asked again after a failure (Malformed 1), for $0.000000005, 5 % of the cost."
        )
        assert one.figures == {
            "retry_calls": 1,
            "usd": Decimal("5e-9"),
            "complete": True,
            "share": 0.05,
            "errors": {"Malformed": 1},
        }


def test_retries_and_fallbacks_that_cost_nothing_are_left_unsaid(ledger, calls):
    calls(3, LARGE, attempt=2, candidate=1, nanousd=0)
    assert given(ledger) == []


@pytest.fixture
def fallen_back(calls):
    """A node whose first model failed twice, and whose second one answered."""

    def write(*, nanousd=DEAR, first=SMALL, **fallback):
        failed = {"status": "error", "nanousd": 0, "end": {"error_type": "Transient"}}
        calls(2, first, node_path="text", **failed)
        calls(2, LARGE, node_path="text", candidate=1, usage=USAGE, nanousd=nanousd, **fallback)
        calls(1, MEDIUM, node_path="plan", nanousd=95)

    return write


def test_fallbacks_are_told_with_the_first_models_price(ledger, fallen_back, calls):
    fallen_back()
    calls(1, SMALL, node_path="text", usage=USAGE, nanousd=0)
    (one,) = given(ledger)
    assert (one.kind, one.where) == ("fallbacks", "text")
    assert one.text.startswith(
        "2 calls went to a fallback (openai:gpt-4o), for $5.000000, 100 % of the cost, after"
        " openai:gpt-4o-mini failed (Transient 2)."
        " The same tokens at openai:gpt-4o-mini's price: $0.300000."
    )
    assert one.figures["against"] == {"model": SMALL, "usd": Decimal("0.3"), "complete": True}
    assert (one.figures["first_models"], one.figures["fallback_models"]) == ([SMALL], [LARGE])


def test_a_model_preferred_near_a_budget_is_no_fallback(ledger, fallen_back):
    fallen_back(economized=True)
    assert given(ledger) == []


def test_fallbacks_of_a_trifling_share_are_left_unsaid(ledger, fallen_back):
    fallen_back(nanousd=2)
    assert given(ledger) == []


def test_what_nobody_knows_of_second_tries_and_choices_is_said(ledger, calls):
    calls(1, LARGE, status="error", attempt=2, candidate=1, end={"error_type": "Transient"})
    calls(1, LARGE, attempt=2, candidate=1, nanousd=5)
    for one in (*given(ledger, "retries"), *given(ledger, "fallbacks")):
        assert "at least $0.000000005" in one.text
        assert one.figures["complete"] is False
    assert "after the first model failed" in one.text, "it was never asked, its breaker was open"
    assert "against" not in one.figures


def test_without_an_error_a_later_choice_is_a_budgets_matter(ledger, calls):
    calls(1, LARGE, candidate=1, nanousd=5)
    assert given(ledger) == []


def test_fallbacks_are_compared_with_one_first_model_alone(ledger, fallen_back, calls):
    fallen_back()
    calls(1, MEDIUM, node_path="text", nanousd=0)
    (one,) = given(ledger)
    assert "against" not in one.figures
    assert "The same tokens" not in one.text


def test_fallbacks_are_not_compared_with_a_model_without_a_price(ledger, fallen_back):
    fallen_back(first="openai:nobody-knows")
    (one,) = given(ledger)
    assert "against" not in one.figures


def test_unknown_costs_come_first_each_with_its_reason(ledger, calls):
    calls(1, LARGE, attempt=2, nanousd=5)
    calls(1, LARGE, status="started")
    calls(1, LARGE, status="cancelled")
    calls(2, LARGE, usage=USAGE)
    calls(1, SMALL, nanousd=0)
    first, *rest = given(ledger)
    assert (first.kind, first.where) == ("unknown_cost", LARGE)
    assert [one.kind for one in rest] == ["retries"]
    assert first.text.startswith(
        "the cost of 4 calls of 6 is unknown, and every total with them a lower bound: 1 call"
        " whose end is unknown"
    )
    assert "; 1 call without a count of tokens" in first.text
    assert "; 2 calls whose model has no known price" in first.text
    assert first.figures == {
        "calls": 6,
        "unknown_calls": 4,
        "unknown_share": 4 / 6,
        "started_calls": 1,
        "calls_without_usage": 1,
        "calls_without_price": 2,
    }


def test_only_the_reasons_that_there_are_are_given(ledger, calls):
    calls(1, LARGE, usage=USAGE)
    (one,) = given(ledger)
    assert one.text.endswith(
        "a lower bound: 1 call whose model has no known price: name one that the price list has,"
        " or no budget can hold it"
    )


def test_advice_is_about_the_calls_that_are_asked_for(ledger, calls):
    calls(10, LARGE, status="error", nanousd=0, at="2026-11-01T00:00:00.000Z")
    calls(10, SMALL, status="error", nanousd=0, rehearsed=True)
    assert [one.where for one in given(ledger)] == [LARGE]
    assert {one.where for one in given(ledger, rehearsed=True)} == {SMALL, LARGE}
    assert given(ledger, run_id="01B") == []
