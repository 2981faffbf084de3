"""Advice about nodes and workflows: answers cut short, last rounds, prompts sent again."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aideon_agents.ledger.advice import advice
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.selection import Selection


def given(ledger):
    return list(advice(ledger, Selection(), {}))


@pytest.fixture
def answers(ledger, record):
    def write(number, reason, **call):
        for _ in range(number):
            record(ledger, "01A", nanousd=5, end={"finish_reason": reason}, **call)

    return write


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS"])
def test_answers_that_meet_their_limit_are_told(ledger, answers, reason):
    answers(18, "stop")
    answers(1, None)
    answers(1, reason)
    (one,) = given(ledger)
    assert (one.kind, one.where) == ("cut_short", "draft")
    assert one.text.startswith("1 of 20 answers (5 %) ended at their max_tokens")
    assert one.figures == {
        "answers": 20,
        "cut_answers": 1,
        "cut_share": 0.05,
        "usd": Decimal("5e-9"),
        "complete": True,
    }


def test_few_answers_and_few_that_are_cut_are_left_unsaid(ledger, answers):
    answers(9, "length")
    answers(20, "stop", node_path="b")
    answers(1, "length", node_path="b")
    assert given(ledger) == []


def test_an_answer_that_a_budget_shortened_is_the_budgets_matter(ledger, answers):
    answers(10, "stop")
    answers(10, "length", shortened=True)
    assert given(ledger) == []


def test_a_call_outside_a_graph_is_called_so(ledger, answers):
    answers(10, "length", node_path="")
    assert [one.where for one in given(ledger)] == ["(outside a graph)"]


@pytest.fixture
def looped(ledger, record):
    """Runs of a workflow that go round so often, each round for 10 nano-dollars."""

    def write(number, rounds, stop_reason, *, workflow="refine", status="completed"):
        for _ in range(number):
            run_id = ledger.start_run(Run(workflow=workflow))
            for turn in range(1, rounds + 1):
                record(ledger, run_id, round=turn, nanousd=10)
            ledger.finish_run(run_id, status, stop_reason=stop_reason)

    return write


def test_runs_that_mostly_go_to_the_last_round_are_told(ledger, looped):
    looped(5, 1, "passed")
    looped(3, 3, "passed")
    looped(2, 3, "max_rounds")
    (one,) = given(ledger)
    assert (one.kind, one.where) == ("last_round", "refine")
    assert one.text.startswith(
        "5 of 10 runs (50 %) went to round 3, the last that any went to, where 3 passed and 2 did"
        " not. Rounds after the first cost $0.0000001 of $0.0000002."
    )
    assert one.figures == {
        "runs": 10,
        "last_round": 3,
        "runs_at_last_round": 5,
        "share": 0.5,
        "passed_at_last_round": 3,
        "not_passed_at_last_round": 2,
        "later_rounds_usd": Decimal("100e-9"),
        "usd": Decimal("200e-9"),
        "complete": True,
    }


def test_a_loop_inside_a_run_tells_no_reason(ledger, looped):
    looped(10, 2, None)
    (one,) = given(ledger)
    assert "went to round 2, the last that any went to. Rounds" in one.text
    assert one.figures["complete"] is True


def test_rounds_whose_cost_is_not_known_are_a_lower_bound(ledger, looped):
    looped(10, 2, None)
    ledger.database.write("UPDATE calls SET cost_nanousd = NULL WHERE call_id LIKE '%1'", {})
    (one,) = given(ledger)[-1:]
    assert "Rounds after the first cost at least $" in one.text
    assert one.figures["complete"] is False


def test_loops_that_mostly_pass_before_or_do_not_go_round_are_left_alone(ledger, looped):
    looped(6, 2, "passed")
    looped(5, 3, "passed")
    looped(12, 1, "passed", workflow="once")
    looped(9, 2, "passed", workflow="few")
    looped(20, 2, "passed", workflow="failed", status="failed")
    assert given(ledger) == []


@pytest.fixture
def prompts(ledger, record):
    """Runs of a node that asks one model with prompts of so many tokens."""

    def write(runs, *tokens, cached=0, model="gpt-4o", nanousd=1_000_000):
        for number in range(runs):
            for sent in tokens:
                usage = Usage(input_tokens=sent, output_tokens=1, cache_read_tokens=cached)
                record(
                    ledger,
                    f"01{number}",
                    provider="openai",
                    requested_model=model,
                    usage=usage,
                    nanousd=nanousd,
                )

    return write


def test_prompts_that_only_grow_and_are_never_cached_are_told(ledger, prompts):
    prompts(5, 2000, 3000, 3000)
    (one,) = given(ledger)
    assert (one.kind, one.where) == ("repeated_input", "draft")
    assert one.text.startswith(
        "15 calls of openai:gpt-4o in 5 runs sent prompts that only grew, and no cache read was"
        " reported: up to 25,000 of 40,000 input tokens (62 %) had been sent before. Read from the"
        " provider's cache, the same tokens cost up to $0.031250 less."
    )
    assert one.figures == {
        "model": "openai:gpt-4o",
        "runs": 5,
        "calls": 15,
        "input_tokens": 40_000,
        "repeated_tokens_at_most": 25_000,
        "cache_read_tokens": 0,
        "cache_discount_usd": Decimal("0.03125"),
    }


@pytest.mark.parametrize(
    ("runs", "tokens", "other"),
    [
        (5, (3000, 2000, 3000), {}),
        (4, (2000, 3000, 3000), {}),
        (5, (1000, 1000, 3000), {}),
        (5, (2000, 3000, 3000), {"cached": 1}),
        (5, (2000, 3000, 3000), {"nanousd": 10**9}),
        (5, (2000, 3000, 3000), {"model": "nobody-knows"}),
        (5, (2000, 3000, 3000), {"model": "gpt-4"}),
        (20, (3000,), {}),
    ],
    ids=["shrinks", "few", "short", "cached", "trifle", "no price", "no cache", "once a run"],
)
def test_prompts_that_are_no_dear_repetition_are_left_unsaid(ledger, prompts, runs, tokens, other):
    prompts(runs, *tokens, **other)
    assert given(ledger) == []


def test_the_weightiest_advice_comes_first(ledger, looped, answers):
    looped(10, 2, None)
    answers(30, "length")
    assert [one.kind for one in given(ledger)] == ["cut_short", "last_round"]
    answers(1, "stop", attempt=2, node_path="b")
    looped(30, 2, None, workflow="b")
    kinds = [(one.kind, one.where) for one in given(ledger)]
    assert kinds == [("last_round", "b"), ("cut_short", "draft"), ("last_round", "refine")]
