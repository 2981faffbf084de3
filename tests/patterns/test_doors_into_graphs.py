"""A graph gives the same rows whichever way it is called, and from wherever."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from aideon_agents import (
    Context,
    CostHandler,
    Ledger,
    Settings,
    arun,
    creative,
    executor,
    iterative,
    parallel,
    planner,
    run,
    sequential,
    validator,
)
from aideon_agents.testing import SimulatedProvider

COMPARED = (
    "node_path",
    "role",
    "round",
    "candidate",
    "attempt",
    "provider",
    "requested_model",
    "status",
    "input_tokens",
    "output_tokens",
    "cost_nanousd",
    "rehearsed",
)


def brief():
    return sequential(
        planner(),
        parallel(executor("facts"), creative("angle"), name="gather"),
        iterative(creative("draft"), validator("check"), max_rounds=2, name="refine"),
        lambda state: f"{len(state['results'])} results",
        name="brief",
    )


REHEARSED = Context(rehearse=True)
ENTRY = {"task": "Heat pumps move heat. They need power."}


def compared(ledger, run_id):
    rows = [tuple(getattr(row, name) for name in COMPARED) for row in ledger.calls(run_id)]
    return sorted(rows, key=repr)


@pytest.fixture
def invoked(ledger):
    """The rows of the plain way: from synchronous code, without an event loop."""
    handler = CostHandler(ledger)
    brief().invoke(ENTRY, {"callbacks": [handler]}, context=REHEARSED)
    return compared(ledger, handler.run_id)


def test_every_node_leaves_rows(invoked):
    assert {row[0] for row in invoked} == {
        "planner",
        "gather/facts",
        "gather/angle",
        "refine/draft",
        "refine/check",
    }
    assert {row[7] for row in invoked} == {"ok"}


async def test_an_awaited_graph_leaves_the_same_rows(ledger, invoked):
    handler = CostHandler(ledger)
    await brief().ainvoke(ENTRY, {"callbacks": [handler]}, context=REHEARSED)
    assert compared(ledger, handler.run_id) == invoked


@pytest.mark.parametrize("mode", ["values", "updates", "messages"])
async def test_watching_a_graph_changes_no_row(ledger, invoked, mode):
    handler = CostHandler(ledger)
    config = {"callbacks": [handler]}
    async for _ in brief().astream(
        ENTRY, config, context=REHEARSED, stream_mode=mode, subgraphs=True
    ):
        pass
    assert compared(ledger, handler.run_id) == invoked
    for _ in brief().stream(ENTRY, config, context=REHEARSED, stream_mode=mode, subgraphs=True):
        pass
    assert compared(ledger, handler.run_id) == invoked


def test_running_a_graph_leaves_the_same_rows(ledger, invoked):
    result = run(brief(), ENTRY["task"], rehearse=True, ledger=ledger)
    assert result.status == "completed"
    assert compared(ledger, result.run_id) == invoked


async def test_synchronous_calls_work_inside_a_running_event_loop(ledger, invoked):
    asyncio.get_running_loop()  # as in a notebook
    handler = CostHandler(ledger)
    brief().invoke(ENTRY, {"callbacks": [handler]}, context=REHEARSED)
    assert compared(ledger, handler.run_id) == invoked
    result = run(brief(), ENTRY["task"], rehearse=True, ledger=ledger)
    assert compared(ledger, result.run_id) == invoked


def test_a_context_may_be_given_as_a_mapping_as_servers_do(ledger, invoked):
    handler = CostHandler(ledger)
    brief().invoke(ENTRY, {"callbacks": [handler]}, context={"rehearse": True})
    assert compared(ledger, handler.run_id) == invoked


def test_a_graph_can_be_used_in_one_event_loop_after_another(tmp_path):
    graph = brief()
    with SimulatedProvider() as provider, Ledger(tmp_path / "ledger.db") as ledger:
        settings = Settings(together_api_key="any", together_base_url=provider.base_url)

        async def once():
            return await arun(graph, ENTRY["task"], settings=settings, ledger=ledger)

        results = [
            asyncio.run(once()),
            asyncio.run(once()),
            run(graph, ENTRY["task"], settings=settings, ledger=ledger),
        ]
        first, *others = [compared(ledger, result.run_id) for result in results]
        billed = provider.bill.output_tokens
    assert [result.status for result in results] == ["completed"] * 3
    assert others == [first, first]
    assert sum(result.cost.output_tokens for result in results) == billed
    assert sum(result.cost.failed_calls for result in results) == 0


def test_a_context_can_be_changed_for_one_call(ledger):
    handler = CostHandler(ledger)
    context = dataclasses.replace(REHEARSED, model={"creative": ("openai:gpt-4o-mini",)})
    sequential(creative()).invoke(ENTRY, {"callbacks": [handler]}, context=context)
    (row,) = ledger.calls(handler.run_id)
    assert (row.provider, row.requested_model) == ("openai", "gpt-4o-mini")
