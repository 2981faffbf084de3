from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk

from aideon_agents.errors import Partial, Transient
from aideon_agents.ledger.calls import (
    OpenCall,
    RunningTotal,
    answered_from_cache,
    call_start,
    failed,
    usage_of,
)
from aideon_agents.ledger.pricing import Usage


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


def test_counts_that_are_named_after_a_service_tier_are_read():
    message = reporting(
        100_000,
        500,
        input_token_details={"flex_cache_read": 90_000, "flex": 10_000},
        output_token_details={"flex_reasoning": 200, "flex": 300},
    )
    assert usage_of(message) == Usage(
        input_tokens=100_000,
        output_tokens=500,
        cache_read_tokens=90_000,
        reasoning_tokens=200,
        tier="flex",
    )


@pytest.mark.parametrize(
    "metadata",
    [
        {"service_tier": "Priority"},
        {"usage": {"service_tier": "priority"}},
        {"token_usage": {"service_tier": "priority"}},
    ],
)
def test_the_service_tier_is_read_wherever_it_is_named(metadata):
    message = reporting(1, 1)
    message.response_metadata = metadata
    assert usage_of(message).tier == "priority"


def test_tokens_of_other_kinds_are_kept_by_the_names_of_the_price_list():
    message = reporting(
        100,
        50,
        input_token_details={"audio": 60, "image": 0, "text": 40, "ephemeral_1h_input_tokens": 9},
        output_token_details={"audio": 20, "rejected_prediction": 8},
    )
    usage = usage_of(message)
    assert dict(usage.others) == {
        "input_audio_tokens": 60,
        "output_audio_tokens": 20,
        "cache_write_1h_tokens": 9,
    }
    assert usage.cache_creation_tokens == 9


@pytest.mark.parametrize(
    ("reports", "total"),
    [
        ([(10, 1), (10, 2), (12, 50)], (12, 50)),
        ([(10, 0), (12, 50)], (12, 50)),
        ([(10, 0), None, (10, 3), None], (10, 3)),
        ([(7, 0), (0, 3)], None),
        ([(7, 3)], None),
    ],
)
def test_the_last_total_of_a_stream_counts_and_parts_are_no_totals(reports, total):
    usage = heard(*reports)
    assert (usage and (usage.input_tokens, usage.output_tokens)) == total


def a_call(*chunks):
    """A streamed call of a model that is not ours; each chunk is its text, usage and reason."""
    call = OpenCall(call_start("1", "r", {"ls_provider": "openai", "ls_model_name": "gpt-4o-mini"}))
    for text, counts, reason in chunks:
        usage = counts and UsageMetadata(
            input_tokens=counts[0], output_tokens=counts[1], total_tokens=sum(counts)
        )
        message = AIMessageChunk(text, usage_metadata=usage)
        info = {"finish_reason": reason} if reason else None
        call.add_chunk(ChatGenerationChunk(message=message, generation_info=info))
    return call


@pytest.mark.parametrize(
    "chunks",
    [
        [("", (10, 0), None)],
        [("", (10, 0), None), ("Heat", (10, 1), None), (" pumps", (10, 2), None)],
        [("Heat", None, None), ("", (10, 1), None), (" pumps", None, None)],
    ],
)
@pytest.mark.parametrize("error", [Partial("it broke off"), asyncio.CancelledError()])
def test_usage_before_the_end_of_a_stream_is_not_what_it_costs(chunks, error):
    end = failed(a_call(*chunks), error)
    assert (end.usage, end.usage_source, end.cost_nanousd) == (None, "none", None)


@pytest.mark.parametrize(
    "chunks",
    [
        [("Heat", None, None), ("", (10, 5), "stop")],
        [("Heat", None, None), ("", None, "stop"), ("", (10, 5), None)],
        [("Heat", (10, 1), None), ("", (10, 2), "stop"), ("", (10, 5), None)],
    ],
)
def test_usage_with_or_after_the_end_of_a_stream_is(chunks):
    end = failed(a_call(*chunks), asyncio.CancelledError())
    assert end.usage == Usage(input_tokens=10, output_tokens=5)
    assert end.usage_source == "reported"
    assert end.cost_nanousd


def test_what_was_reported_before_the_end_is_kept_by_the_errors_that_follow():
    begun = call_start("c1", "r1", {"ls_provider": "together", "ls_model_name": "org/name"})
    counted = Usage(input_tokens=1000, output_tokens=7)
    lost, error = ConnectionResetError("lost"), Partial("it broke off in the middle")
    lost.usage, lost.response_model = counted, "openai/gpt-oss-120b"
    error.__cause__ = Transient("it broke the connection off")
    error.__cause__.__cause__ = lost
    end = failed(OpenCall(begun), error)
    assert (end.status, end.usage, end.usage_source) == ("broken", counted, "reported")
    assert (end.response_model, end.cost_nanousd) == ("openai/gpt-oss-120b", 154_200)
    without = failed(OpenCall(begun), Partial("it broke off"))
    assert (without.usage, without.usage_source, without.cost_nanousd) == (None, "none", None)
