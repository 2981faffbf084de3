"""Calls of tools: a row each, its content only where content is recorded."""

from __future__ import annotations

import asyncio

import pytest

from aideon_agents import (
    Context,
    CostHandler,
    Ledger,
    arun,
    executor,
    iterative,
    sequential,
)
from aideon_agents.ledger.tool_calls import tool_calls
from aideon_agents.models import Models
from aideon_agents.settings import Settings
from aideon_agents.state import Verdict
from aideon_agents.testing import SimulatedProvider

PUMPS = "Heat pumps move heat from outdoor air into a house."


def look_up(topic: str) -> str:
    """Look a topic up."""
    return f"All about {topic}"


def fail(topic: str) -> str:
    """Fail."""
    raise ValueError(f"no such topic: {topic}")


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def settings():
    with SimulatedProvider() as provider:
        yield Settings(together_api_key="key-1", together_base_url=provider.base_url, user="ada")


def as_rows(ledger, result):
    return [(one.node_path, one.name, one.status) for one in tool_calls(ledger, result.run_id)]


async def test_each_call_of_a_tool_is_a_row_without_its_content(settings, ledger):
    graph = sequential(executor("work", tools=[look_up]), executor("more", tools=[fail]))
    result = await arun(graph, PUMPS, settings=settings, ledger=ledger)
    assert as_rows(ledger, result) == [("work", "look_up", "ok"), ("more", "fail", "error")]
    worked, failed = tool_calls(ledger, result.run_id)
    assert worked.duration_ms >= 0
    assert (worked.error, worked.arguments, worked.result) == (None, None, None)
    assert failed.error.startswith("ValueError: no such topic: ")


async def test_what_a_tool_was_given_and_returned_is_kept_with_other_content(settings, ledger):
    node = executor(tools=[look_up])
    result = await arun(node, PUMPS, settings=settings, ledger=ledger, record_content=True)
    (one,) = tool_calls(ledger, result.run_id)
    assert "topic" in one.arguments
    assert one.result.startswith("All about ")


async def test_a_tool_in_a_loop_says_its_round(settings, ledger):
    verdicts = iter(
        [Verdict(passed=False, score=0, feedback="no"), Verdict(passed=True, score=1, feedback="")]
    )

    def check(state):
        return {"verdict": next(verdicts)}

    loop = iterative(executor("work", tools=[look_up]), check)
    result = await arun(loop, PUMPS, settings=settings, ledger=ledger)
    assert [one.round for one in tool_calls(ledger, result.run_id)] == [1, 2]


async def test_a_tool_that_runs_when_its_run_is_out_of_time_is_cancelled(settings, ledger):
    async def wait(topic: str) -> str:
        """Wait for ever."""
        await asyncio.Event().wait()
        return topic

    node = executor(tools=[wait])
    result = await arun(node, PUMPS, settings=settings, ledger=ledger, timeout=5)
    assert result.stop_reason == "timeout"
    (one,) = tool_calls(ledger, result.run_id)
    assert (one.status, one.duration_ms) == ("cancelled", None)


async def test_tools_of_a_graph_that_is_called_directly_are_rows_as_well(settings, ledger):
    handler = CostHandler(ledger)
    graph = sequential(executor("work", tools=[look_up]))
    context = Context(models=Models(settings))
    await graph.ainvoke({"task": PUMPS}, {"callbacks": [handler]}, context=context)
    assert [one.name for one in tool_calls(ledger, handler.run_id)] == ["look_up"]
