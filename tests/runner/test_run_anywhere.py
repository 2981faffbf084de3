"""From a notebook, from threads, again and again, and on a ledger that gives up midway."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging

import pytest

from aideon_agents import RunEnded, arun, astream, creative, executor, run, sequential
from aideon_agents.errors import LedgerError
from aideon_agents.testing import SimulatedProvider

PUMPS = "Heat pumps move heat."


async def test_a_cell_of_a_notebook_can_run_await_and_watch(ledger, keyed):
    # A notebook runs each cell inside one event loop that never stops.
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        assert run(creative("draft"), PUMPS, **options).output == PUMPS
        assert (await arun(creative("draft"), PUMPS, **options)).output == PUMPS
        events = [event async for event in astream(creative("draft"), PUMPS, **options)]
        assert isinstance(events[-1], RunEnded)
        assert run(creative("draft"), PUMPS, thread="cell", **options).output == PUMPS
    assert [row.status for row in ledger.runs()] == ["completed"] * 4


def test_loops_that_come_and_go_share_nothing_that_dies_with_them(ledger, keyed):
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        for _ in range(3):
            assert asyncio.run(arun(creative("draft"), PUMPS, **options)).error is None
        assert provider.bill.input_tokens == sum(
            call.input_tokens for row in ledger.runs() for call in ledger.calls(row.run_id)
        )


def test_runs_from_many_threads_keep_their_calls_apart(ledger, keyed):
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            tasks = [f"Task {number}." for number in range(8)]
            results = list(pool.map(lambda task: run(creative("draft"), task, **options), tasks))
    assert [result.output for result in results] == tasks
    assert [result.cost.calls for result in results] == [1] * 8


@pytest.fixture
def closes(ledger):
    """A node after which nothing can be written to the ledger, as on a full disk."""

    def closes(state):
        ledger.database._connection.execute("PRAGMA query_only = ON")
        return "closed"

    return closes


@pytest.fixture
def refused(caplog):
    """What LangChain leaves of a refused call: a line in its log, and a coroutine."""
    caplog.set_level(logging.ERROR, "langchain_core.callbacks.manager")
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore:coroutine 'ahandle_event' was never awaited:RuntimeWarning")
@pytest.mark.parametrize("watched", [False, True])
async def test_a_ledger_that_gives_up_midway_makes_the_run_fail_in_one_line(
    ledger, keyed, closes, refused, watched
):
    graph = sequential(executor("facts"), closes, creative("draft"))
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        if watched:
            *_, last = [event async for event in astream(graph, PUMPS, **options)]
            result = last.result
        else:
            result = await arun(graph, PUMPS, **options)
        asked = len(provider.requests)
    assert asked == 1  # what cannot be written down is not called
    assert (result.status, list(result.results)) == ("failed", ["facts", "closes"])
    assert isinstance(result.exception, LedgerError)
    assert result.error.startswith("the ledger ")
    assert "\n" not in result.error
    assert result.cost.calls == 1


async def test_a_result_is_given_back_also_when_its_row_cannot_be_completed(ledger, closes, caplog):
    result = await arun(sequential(closes), PUMPS, ledger=ledger)
    assert (result.status, result.output) == ("completed", "closed")
    (record,) = caplog.records
    assert f"run {result.run_id} stays running" in record.getMessage()


async def test_a_ledger_that_gives_up_before_the_first_call_is_the_callers_to_mend(
    ledger, keyed, closes
):
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        with pytest.raises(LedgerError):
            await arun(sequential(closes, creative("draft")), PUMPS, **options)
        assert provider.requests == []
