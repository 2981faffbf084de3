from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from aideon_agents.ledger.pricing import RunningTotal, Usage, answered_from_cache, usage_of


def reporting(input_tokens, output_tokens, **details):
    total = input_tokens + output_tokens
    counts = {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total}
    return AIMessage("", usage_metadata=counts | details)


def heard(*reports):
    total = RunningTotal()
    for counts in reports:
        total.hear(AIMessage("") if counts is None else reporting(*counts))
    return total.usage


def test_all_five_counts_are_read():
    message = reporting(
        100,
        50,
        input_token_details={"cache_read": 60, "cache_creation": 10},
        output_token_details={"reasoning": 20},
    )
    assert usage_of(message) == Usage(
        input_tokens=100,
        output_tokens=50,
        cache_read_tokens=60,
        cache_creation_tokens=10,
        reasoning_tokens=20,
    )


def test_a_detail_nobody_reported_is_unknown_and_a_zero_is_a_value():
    usage = usage_of(reporting(0, 0, input_token_details={"cache_read": 0}))
    assert (usage.input_tokens, usage.output_tokens) == (0, 0)
    assert (usage.cache_read_tokens, usage.cache_creation_tokens) == (0, None)


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("no usage"),
        None,
        SimpleNamespace(usage_metadata={"output_tokens": 3}),
        SimpleNamespace(usage_metadata={"input_tokens": None, "output_tokens": 3}),
        SimpleNamespace(usage_metadata={"input_tokens": -1, "output_tokens": 3}),
        SimpleNamespace(usage_metadata={"input_tokens": True, "output_tokens": 3}),
        SimpleNamespace(usage_metadata="free"),
    ],
)
def test_usage_that_is_missing_or_makes_no_sense_is_unknown(message):
    assert usage_of(message) is None


def test_an_answer_from_langchains_cache_is_known_by_its_zero_cost():
    stored = SimpleNamespace(
        usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_cost": 0}
    )
    assert answered_from_cache(stored)
    assert not answered_from_cache(reporting(1, 1))
    assert not answered_from_cache(AIMessage(""))


def test_chunks_that_repeat_the_total_are_not_added_up():
    assert heard((7, 1), (7, 2), (7, 3)) == Usage(input_tokens=7, output_tokens=3)


@pytest.mark.parametrize(
    "reports",
    [
        [],
        [None, None],
        [None, (7, 3)],
        [(7, 0), (0, 2), (0, 1)],
    ],
)
def test_chunks_that_report_parts_are_left_to_langchain(reports):
    assert heard(*reports) is None


@given(st.integers(1, 10**6), st.lists(st.integers(0, 10**6), min_size=2))
def test_the_last_running_total_always_stands(input_tokens, outputs):
    total = heard(*((input_tokens, output) for output in outputs))
    assert total == Usage(input_tokens=input_tokens, output_tokens=outputs[-1])
